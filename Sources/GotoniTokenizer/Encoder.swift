internal import GotoniCore

/// What encoding changes: memory to work in, and the words lately seen. One thread at a time; `Tokenizer` keeps some.
final class Encoder {
    private let matcher: Matcher
    private var words: WordCache
    private var longWords: LongWordCache
    private var work: BytePairs.Workspace
    private var normalized: List<UInt8>
    private var spaced: List<UInt8>
    private(set) var out: List<UInt32>

    init() throws(TokenizerError) {
        matcher = try Matcher()
        words = try WordCache()
        longWords = try LongWordCache.make()
        work = try BytePairs.Workspace.make()
        normalized = try List()
        spaced = try List()
        out = try List()
    }

    /// The tokens of `text` are in `out` afterwards.
    func encode(
        _ text: Bytes, _ model: borrowing TokenizerModel, _ gap: Pattern, _ sections: borrowing Locked<SectionCache>,
        addSpecialTokens: Bool
    ) throws(TokenizerError) {
        out.clear()
        defer { work.shrink() }
        if addSpecialTokens { for id in model.prefix { try out.append(id) } }
        try model.added.parts(
            text, plain: { (part) throws(TokenizerError) in try section(part, model, gap, sections) },
            token: { (id) throws(TokenizerError) in try out.append(id) })
        if addSpecialTokens { for id in model.suffix { try out.append(id) } }
    }

    /// A text without special tokens.
    private func section(
        _ text: Bytes, _ model: borrowing TokenizerModel, _ gap: Pattern, _ sections: borrowing Locked<SectionCache>
    ) throws(TokenizerError) {
        guard text.count >= SectionCache.shortest else { return try encode(text, model, gap) }
        let hash = SectionCache.hash(text)
        let isKnown = try sections.withLock { (cache) throws(TokenizerError) in try cache.find(text, hash, into: &out) }
        guard !isKnown else { return }
        let start = out.count
        try encode(text, model, gap)
        let tokens = UnsafeBufferPointer(rebasing: UnsafeBufferPointer(out.elements)[start...])
        sections.withLock { $0.insert(text, hash, tokens) }
    }

    private func encode(_ text: Bytes, _ model: borrowing TokenizerModel, _ gap: Pattern) throws(TokenizerError) {
        let text = try model.normalizer?.normalize(text, into: &normalized) ?? text
        try encodeNormalized(text, model, gap)
    }

    private func encodeNormalized(
        _ text: Bytes, _ model: borrowing TokenizerModel, _ gap: Pattern
    ) throws(TokenizerError) {
        guard !model.addedNormalized.isEmpty else { return try encodePlain(text, model, gap) }
        try model.addedNormalized.parts(
            text, plain: { (part) throws(TokenizerError) in try encodePlain(part, model, gap) },
            token: { (id) throws(TokenizerError) in try out.append(id) })
    }

    /// A text without any added token.
    private func encodePlain(_ text: Bytes, _ model: borrowing TokenizerModel, _ gap: Pattern) throws(TokenizerError) {
        guard text.count > 0 else { return }
        var text = text
        if model.prefixesSpace, text[0] != UInt8(ascii: " ") {
            spaced.clear()
            try spaced.append(UInt8(ascii: " "))
            try spaced.append(text)
            text = Bytes(spaced.elements)
        }
        let isWide = try gap.finder(isWide: false, matcher).next(in: text, from: 0) != nil
        let end = text.count
        guard let base = text.baseAddress else { return }
        try model.splits.pieces(text, isWide: isWide, matcher) { (word) throws(TokenizerError) in
            guard let start = word.baseAddress else { return }
            try encode(word, after: end - (start - base) - word.count, model)
        }
    }

    /// `after`: bytes of the text behind the word.
    @inline(__always) private func encode(
        _ word: Bytes, after: Int, _ model: borrowing TokenizerModel
    ) throws(TokenizerError) {
        guard let key = WordCache.key(word, after: after) else { return try encodeLong(word, model) }
        if try words.find(key, word.count, into: &out) { return }
        let start = out.count
        try encodeLong(word, model)
        words.insert(key, word.count, UnsafeBufferPointer(rebasing: UnsafeBufferPointer(out.elements)[start...]))
    }

    /// A word that is not among the short ones.
    @inline(never) private func encodeLong(_ word: Bytes, _ model: borrowing TokenizerModel) throws(TokenizerError) {
        guard word.count <= Tokenizer.longestWord else { throw .tooLong }
        guard word.count > WordCache.mostTokens, let hash = LongWordCache.hash(word) else {
            return try merge(word, model)
        }
        if try longWords.find(word, hash, into: &out) { return }
        let start = out.count
        try merge(word, model)
        let ids = UnsafeBufferPointer(rebasing: UnsafeBufferPointer(out.elements)[start...])
        // Others are in the cache of short words now.
        if word.count > WordCache.longestWord || ids.count > WordCache.mostTokens { longWords.insert(word, hash, ids) }
    }

    private func merge(_ word: Bytes, _ model: borrowing TokenizerModel) throws(TokenizerError) {
        if let id = model.wholeWord(word) { return try out.append(id) }
        try model.pairs.encode(word, &work, into: &out)
    }
}
