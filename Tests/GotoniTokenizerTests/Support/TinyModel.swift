import Foundation
import GotoniCore
import TestSupport

@testable import GotoniTokenizer

/// A byte-level model of random merges, and the same rules done slowly: the words are runs of a to z, everything else is a
/// word of one character.
struct TinyModel {
    var merges: [(left: [UInt8], right: [UInt8])] = []
    var ids: [[UInt8]: UInt32] = [:]
    let ignoresMerges: Bool

    init(seed: UInt64, merges count: Int = 60, ignoresMerges: Bool = false) {
        self.ignoresMerges = ignoresMerges
        for byte in 0..<256 { ids[[UInt8(byte)]] = UInt32(byte) }
        var random = SplitMix64(seed: seed)
        var pieces = "abcde".utf8.map { [$0] }
        while merges.count < count {
            let (left, right) = (pieces[random.pick(0...pieces.count - 1)], pieces[random.pick(0...pieces.count - 1)])
            guard ids[left + right] == nil, left.count + right.count < 12 else { continue }
            ids[left + right] = UInt32(ids.count)
            pieces.append(left + right)
            merges.append((left, right))
        }
    }

    static let special = "<|end|>"
    static let longer = "<|end|>>"
    var specialID: UInt32 { UInt32(ids.count) }

    /// As a byte-level vocabulary writes bytes.
    static func text(_ bytes: [UInt8]) -> String {
        var others = 0x100
        var characters: [UInt8: Character] = [:]
        for byte in 0...255 {
            switch byte {
            case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: characters[UInt8(byte)] = Character(UnicodeScalar(byte)!)
            default:
                characters[UInt8(byte)] = Character(UnicodeScalar(others)!)
                others += 1
            }
        }
        return String(bytes.compactMap { characters[$0] })
    }

    func json(more: [String: Any] = [:]) throws -> [UInt8] {
        var vocabulary: [String: Any] = [:]
        for (bytes, id) in ids { vocabulary[Self.text(bytes)] = Int(id) }
        var document: [String: Any] = [
            "model": [
                "type": "BPE", "vocab": vocabulary, "ignore_merges": ignoresMerges,
                "merges": merges.map { "\(Self.text($0.left)) \(Self.text($0.right))" },
            ],
            "added_tokens": [
                ["content": Self.special, "special": true, "normalized": false],
                ["content": Self.longer, "special": true, "normalized": false],
            ],
            "pre_tokenizer": [
                "type": "Sequence",
                "pretokenizers": [
                    ["type": "Split", "pattern": ["Regex": "[a-z]+|[^a-z]"], "behavior": "Isolated", "invert": false],
                    ["type": "ByteLevel", "add_prefix_space": false, "use_regex": false],
                ],
            ],
        ]
        for (key, value) in more { document[key] = value }
        return Array(try JSONSerialization.data(withJSONObject: document))
    }

    func tokenizer(cacheBytes: Int = 1 << 20, more: [String: Any] = [:]) throws -> Tokenizer {
        // Of a temporary Swift 6.3.1 makes broken code.
        let bytes = try json(more: more)
        return try Tokenizer(bytes.span, .huggingFace, cacheBytes: cacheBytes)
    }

    /// The tokens of a text, slowly.
    func encode(_ text: String) -> [UInt32] {
        var result: [UInt32] = []
        var rest = Substring(text)
        var plain = ""
        while !rest.isEmpty {
            if rest.utf8.starts(with: Self.longer.utf8) || rest.utf8.starts(with: Self.special.utf8) {
                result += words(plain)
                plain = ""
                let isLonger = rest.utf8.starts(with: Self.longer.utf8)
                result.append(specialID + (isLonger ? 1 : 0))
                rest = rest.dropFirst((isLonger ? Self.longer : Self.special).count)
            } else {
                plain.append(rest.removeFirst())
            }
        }
        return result + words(plain)
    }

    private func words(_ text: String) -> [UInt32] {
        var result: [UInt32] = []
        var word: [UInt8] = []
        for scalar in text.unicodeScalars {
            if (97...122).contains(scalar.value) {
                word.append(UInt8(scalar.value))
            } else {
                result += merge(word) + merge(Array(String(scalar).utf8))
                word = []
            }
        }
        return result + merge(word)
    }

    private func merge(_ word: [UInt8]) -> [UInt32] {
        if ignoresMerges, let id = ids[word] { return [id] }
        var parts = word.map { [$0] }
        while true {
            var best: (rank: Int, place: Int)?
            for place in parts.indices.dropLast() {
                let rank = merges.firstIndex { $0.left == parts[place] && $0.right == parts[place + 1] }
                if let rank, rank < best?.rank ?? .max { best = (rank, place) }
            }
            guard let best else { return parts.compactMap { ids[$0] } }
            parts[best.place] += parts.remove(at: best.place + 1)
        }
    }
}

extension Tokenizer {
    func ids(_ text: String, addSpecialTokens: Bool = false) throws(TokenizerError) -> [UInt32] {
        var ids: [UInt32] = []
        let bytes = Array(text.utf8)
        try encode(bytes.span, addSpecialTokens: addSpecialTokens, into: &ids)
        return ids
    }
}

/// Texts of words that merge, other characters and special tokens; some words are long.
func randomText(_ random: inout SplitMix64) -> String {
    var text = ""
    for _ in 0..<random.pick(0...12) {
        switch random.pick(0...9) {
        case 0: text += TinyModel.special
        case 1: text += TinyModel.longer
        case 2: text += ["<|en", " ", "\n", "é", "日本", "😀", "<", "A1"][random.pick(0...7)]
        default:
            let length = random.chance(5) ? random.pick(90...400) : random.pick(1...30)
            text += String((0..<length).map { _ in Array("abcde")[random.pick(0...4)] })
        }
    }
    return text
}
