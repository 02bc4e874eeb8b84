import Foundation
import GotoniCore
import TestSupport
import Testing

@testable import GotoniTokenizer

@Suite struct EncodingTests {
    /// Against the same rules done slowly: words of all lengths, so the scan and the heap; every text twice, so from memory.
    @Test(arguments: Seeds.sequence(40)) func isWhatTheRulesSay(seed: UInt64) throws {
        let model = TinyModel(seed: seed, ignoresMerges: seed % 2 == 0)
        let tokenizer = try model.tokenizer(cacheBytes: seed % 3 == 0 ? 2_000 : 1 << 20)
        var random = SplitMix64(seed: seed)
        var texts: [String] = []
        for _ in 0..<40 {
            let text =
                random.chance(30) && !texts.isEmpty ? texts[random.pick(0...texts.count - 1)] : randomText(&random)
            texts.append(text)
            #expect(try tokenizer.ids(text) == model.encode(text), "seed \(seed): \(text)")
        }
    }

    /// What one thread remembers changes nothing for another.
    @Test func threadsShareATokenizer() async throws {
        let model = TinyModel(seed: 3)
        let tokenizer = try model.tokenizer(cacheBytes: 20_000)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for thread in 0..<4 {
                group.addTask {
                    var random = SplitMix64(seed: UInt64(thread % 2))
                    for _ in 0..<Seeds.scaled(400) {
                        let text = randomText(&random)
                        let ids = try tokenizer.ids(text)
                        #expect(ids == model.encode(text))
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    @Test func whatGoesAroundAPromptIsThere() throws {
        let model = TinyModel(seed: 1)
        let tokenizer = try model.tokenizer(more: [
            "post_processor": [
                "type": "TemplateProcessing",
                "single": [["SpecialToken": ["id": "first"]], ["Sequence": ["id": "A"]]],
                "special_tokens": ["first": ["id": "first", "ids": [7]]],
            ]
        ])
        #expect(try tokenizer.ids("z", addSpecialTokens: true) == [7, 122])
        #expect(try tokenizer.ids("z") == [122])
        #expect(try tokenizer.ids("", addSpecialTokens: true) == [7])
    }

    @Test func textsHaveLimits() throws {
        let tokenizer = try TinyModel(seed: 1).tokenizer()
        var ids: [UInt32] = [1]
        let broken: [UInt8] = [0x61, 0xFF]
        #expect(throws: TokenizerError.utf8) {
            try tokenizer.encode(broken.span, addSpecialTokens: false, into: &ids)
        }
        let word = [UInt8](repeating: UInt8(ascii: "a"), count: Tokenizer.longestWord + 1)
        #expect(throws: TokenizerError.tooLong) {
            try tokenizer.encode(word.span, addSpecialTokens: false, into: &ids)
        }
        #expect(ids == [1])
        // Still usable, and as long as it may be.
        let longest = Array(word.dropLast())
        try tokenizer.encode(longest.span, addSpecialTokens: false, into: &ids)
        #expect(ids.count > 1)
    }

    /// Whatever could change an id and is not known is refused.
    @Test(arguments: [
        ("pre_tokenizer", #"{"type": "Metaspace"}"#), ("pre_tokenizer", "null"),
        ("normalizer", #"{"type": "Lowercase"}"#), ("normalizer", #"{"type": "Sequence", "normalizers": [1, 2]}"#),
        ("post_processor", #"{"type": "BertProcessing"}"#), ("model", #"{"type": "Unigram", "vocab": []}"#),
        ("model", #"{"type": "BPE", "vocab": {"a": 1}, "merges": []}"#),
        ("model", #"{"type": "BPE", "vocab": {}, "merges": []}"#), ("model", "[]"),
        ("added_tokens", #"[{"content": "x", "single_word": true}]"#),
        ("pre_tokenizer", #"{"type": "Split", "pattern": {"Regex": "a*"}, "behavior": "Isolated"}"#),
        ("pre_tokenizer", #"{"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated"}"#),
        ("pre_tokenizer", #"{"type": "Split", "pattern": {"Regex": "[a&&b]"}, "behavior": "Isolated"}"#),
    ])
    func otherModelsAreRefused(field: String, value: String) throws {
        let other = try JSONSerialization.jsonObject(with: Data(value.utf8), options: .fragmentsAllowed)
        #expect(throws: TokenizerError.self) { try TinyModel(seed: 1).tokenizer(more: [field: other]) }
    }

    @Test func brokenFilesAreErrors() throws {
        let json = try TinyModel(seed: 1).json()
        for end in stride(from: 0, to: json.count, by: 101) {
            let part = Array(json[..<end])
            #expect(throws: TokenizerError.self) { try Tokenizer(part.span, .huggingFace) }
            #expect(throws: TokenizerError.self) { try Tokenizer(part.span, .tekken) }
            #expect(throws: TokenizerError.self) { try Tokenizer(part.span, .qwenTiktoken) }
        }
    }
}
