import CXXHash
import Testing

@testable import GotoniCore

@Suite struct BlockDigestTests {
    @Test func digestsAreTheChainOfXXH3() throws {
        let prompt: [UInt32] = Array(0..<10)
        var digests = try PromptDigests(expectedBlocks: 1)
        try digests.compute(prompt.span, blockTokens: 4, seed: 99)
        let first = prompt.withUnsafeBytes { XXH3_64bits_withSeed($0.baseAddress, 16, 99) }
        let second = prompt.withUnsafeBytes { XXH3_64bits_withSeed($0.baseAddress! + 16, 16, first) }
        #expect(digests.blocks == 2 && digests.tokens == 10)
        #expect(digests.digest(at: 0) == first && digests.digest(at: 1) == second)
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
