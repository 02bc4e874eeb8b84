@testable import GotoniCore

/// A `PrefixTrie` driven by tokens.
final class TrieUnderTest {
    var trie: PrefixTrie
    var prompt: PromptDigests

    init(blockTokens: Int, budget: Int = 1 << 20, servers: Int, capacity: Int = .max) throws {
        trie = try PrefixTrie(blockTokens: blockTokens, budget: budget, slots: servers)
        prompt = try PromptDigests()
        for server in 0..<servers { trie.setCapacity(Slot(server), blocks: capacity) }
    }

    private func digest(_ tokens: [UInt32], _ namespace: UInt64) throws {
        try prompt.compute(tokens.span, blockTokens: trie.blockTokens, seed: namespace)
    }

    @discardableResult
    func claim(_ server: Int, _ tokens: [UInt32], namespace: UInt64 = 0) throws -> PrefixTrie.Claim {
        try digest(tokens, namespace)
        return trie.claim(Slot(server), prompt.values, prompt.blocks)
    }

    func disclaim(_ server: Int, _ tokens: [UInt32], keep: Int, namespace: UInt64 = 0) throws {
        try digest(tokens, namespace)
        trie.disclaim(Slot(server), prompt.values, prompt.blocks, keep: keep)
    }

    /// Matched blocks by server.
    func match(_ tokens: [UInt32], namespace: UInt64 = 0) throws -> [UInt32] {
        try digest(tokens, namespace)
        var matches = try Matches(limit: trie.holders.count)
        trie.match(prompt.values, prompt.blocks, into: &matches)
        return (0..<trie.holders.count).map { matches.blocks[$0] }
    }

    func violation() throws -> StaticString? { try trie.violation(otherCells: 0) }
}

/// One token per character, so that examples read as text.
func tokens(_ text: String) -> [UInt32] { text.unicodeScalars.map(\.value) }
