@testable import GotoniTokenizer

// What works on memory of its own, as arrays for tests.

extension Array where Element == UInt8 {
    func normalized(_ form: Normalizer) throws(TokenizerError) -> [UInt8] {
        try withUnsafeBufferPointer { (text) throws(TokenizerError) in
            var out: List<UInt8> = try List()
            return Array(try form.normalize(text, into: &out))
        }
    }

    /// Nothing had to be looked at closely.
    func isNormalized(_ form: Normalizer) throws(TokenizerError) -> Bool {
        try withUnsafeBufferPointer { (text) throws(TokenizerError) in
            var out: List<UInt8> = try List()
            return try form.normalize(text, into: &out).baseAddress == text.baseAddress
        }
    }

    func rendered(_ template: ChatTemplate, _ thinking: ChatTemplate.Thinking) throws(TokenizerError) -> [UInt8]? {
        try withUnsafeBufferPointer { (text) throws(TokenizerError) -> [UInt8]? in
            var out: List<UInt8> = try List()
            return try template.render(Conversation(text), thinking, into: &out) ? Array(out.elements) : nil
        }
    }

    /// Texts, and tokens as `#id`.
    func parts(_ tokens: [AddedTokens.Token]) throws(TokenizerError) -> [String] {
        try withUnsafeBufferPointer { (text) throws(TokenizerError) in
            let added = try AddedTokens(tokens)
            var result: [String] = []
            try added.parts(
                text,
                plain: { (part: Bytes) throws(TokenizerError) in result.append(String(decoding: part, as: UTF8.self)) },
                token: { (id: UInt32) throws(TokenizerError) in result.append("#\(id)") })
            return result
        }
    }
}

final class PlainSectionCache {
    private var cache: SectionCache

    init(budget: Int, entries: Int) throws(TokenizerError) {
        cache = try SectionCache.make(budget: budget, entries: entries)
    }

    func find(_ text: [UInt8], _ hash: UInt64) throws(TokenizerError) -> [UInt32]? {
        try text.withUnsafeBufferPointer { (text) throws(TokenizerError) -> [UInt32]? in
            var out: List<UInt32> = try List()
            return try cache.find(text, hash, into: &out) ? Array(out.elements) : nil
        }
    }

    func insert(_ text: [UInt8], _ hash: UInt64, _ ids: [UInt32]) {
        text.withUnsafeBufferPointer { text in ids.withUnsafeBufferPointer { cache.insert(text, hash, $0) } }
    }

    var count: Int { cache.count }
    var bytes: Int { cache.bytes }
    var hits: UInt64 { cache.hits }
    var misses: UInt64 { cache.misses }
}
