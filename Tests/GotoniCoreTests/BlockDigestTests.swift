import CXXHash
import Testing

@testable import GotoniCore

@Suite struct BlockDigestTests {
    @Test func digestsAreTheChainOfXXH3() throws {
        let prompt: [UInt32] = Array(0..<10)
        var digests = try PromptDigests(expectedBlocks: 1)
        try digests.compute(prompt.span, blockTokens: 4, seed: 99)
        func folded(_ digest: UInt64, _ hash: UInt64) -> UInt64 {
            let product = UInt128(digest ^ hash) * 0x9E37_79B9_7F4A_7C15
            return UInt64(truncatingIfNeeded: product >> 64) ^ UInt64(truncatingIfNeeded: product)
        }
        let first = folded(99, prompt.withUnsafeBytes { XXH3_64bits($0.baseAddress, 16) })
        let second = folded(first, prompt.withUnsafeBytes { XXH3_64bits($0.baseAddress! + 16, 16) })
        #expect(digests.blocks == 2 && digests.tokens == 10)
        #expect(digests.digest(at: 0) == first && digests.digest(at: 1) == second)
    }

    /// What the trie relies on: 48 bits tell any two prompts apart, also those of equal blocks in another order or
    /// number, and of blocks with few bits set.
    @Test func differentPromptsHaveDifferentDigests() throws {
        let mask = Cells.digestMask
        var seen = Set<UInt64>()
        var digests = try PromptDigests()
        var prompts = 0
        // All prompts of up to eight blocks over four blocks of one token: their ends are the nodes of a tree.
        for seed in [0, 1, 2] as [UInt64] {
            for count in 1...8 {
                for number in 0..<(1 << (2 * count)) {
                    let prompt = (0..<count).map { UInt32(1) << UInt32(number >> (2 * $0) & 3) }
                    try digests.compute(prompt.span, blockTokens: 1, seed: seed)
                    seen.insert(digests.digest(at: count - 1) & mask)
                    prompts += 1
                }
            }
        }
        // 262,140 prompts: a collision among 48 random bits has a chance of 1 in 8,000.
        #expect(prompts == 262_140 && seen.count == prompts)
        // A block repeated does not return to where it was.
        try digests.compute([UInt32](repeating: 7, count: 100_000).span, blockTokens: 1, seed: 0)
        #expect(Set((0..<100_000).map { digests.digest(at: $0) & mask }).count == 100_000)
    }

    @Test func namespacePartsAreKeptApart() {
        func key(_ model: String, _ adapter: String, _ salt: String) -> UInt64 {
            let (model, adapter, salt) = (Array(model.utf8), Array(adapter.utf8), Array(salt.utf8))
            return Key.namespace(model: model.span.bytes, adapter: adapter.span.bytes, salt: salt.span.bytes)
        }
        let keys = [key("ab", "c", ""), key("a", "bc", ""), key("a", "b", "c"), key("abc", "", ""), key("", "", "abc")]
        #expect(Set(keys).count == keys.count)
        #expect(key("m", "a", "s") == key("m", "a", "s"))
    }
}
