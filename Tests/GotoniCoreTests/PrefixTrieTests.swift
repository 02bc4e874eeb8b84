import TestSupport
import Testing

@testable import GotoniCore

@Suite struct PrefixTrieTests {
    /// The original lost the holders of the shared beginning when a second prompt split it.
    @Test func thirdPromptBehindASharedSystemPromptMatches() throws {
        let trie = try TrieUnderTest(blockTokens: 1, servers: 2)
        try trie.claim(0, tokens("SYSTEM:first question"))
        try trie.claim(0, tokens("SYSTEM:second question"))
        #expect(try trie.match(tokens("SYSTEM:third")) == [7, 0])
        #expect(try trie.violation() == nil)
    }

    @Test func aSplitKeepsTheHoldersOfBothHalves() throws {
        let trie = try TrieUnderTest(blockTokens: 1, servers: 20)
        for server in 0..<19 { try trie.claim(server, tokens("SYS:aaa")) }
        try trie.claim(19, tokens("SYS:bbb"))
        #expect(try trie.match(tokens("SYS:zzz")) == Array(repeating: 4, count: 20))
        #expect(try trie.match(tokens("SYS:aaa")) == Array(repeating: 7, count: 19) + [4])
        #expect(try trie.violation() == nil)
    }

    @Test func anExactRepeatMatchesWhole() throws {
        let trie = try TrieUnderTest(blockTokens: 1, servers: 1)
        try trie.claim(0, tokens("the same prompt"))
        #expect(try trie.match(tokens("the same prompt")) == [15])
        #expect(try trie.match(tokens("the same prompt, longer")) == [15])
        #expect(try trie.match(tokens("the same")) == [8])
    }

    @Test func onlyWholeBlocksMatch() throws {
        let trie = try TrieUnderTest(blockTokens: 4, servers: 1)
        try trie.claim(0, tokens("abcdefghij"))
        #expect(try trie.match(tokens("abcdefghij")) == [2])
        #expect(try trie.match(tokens("abcdefgX")) == [1])
        #expect(try trie.match(tokens("abc")) == [0])
    }

    @Test func namespacesNeverShare() throws {
        let trie = try TrieUnderTest(blockTokens: 2, servers: 1)
        try trie.claim(0, tokens("secret prompt"), namespace: 1)
        #expect(try trie.match(tokens("secret prompt"), namespace: 1) == [6])
        #expect(try trie.match(tokens("secret prompt"), namespace: 2) == [0])
        #expect(try trie.match(tokens("secret prompt"), namespace: 0) == [0])
    }

    @Test func aServerForgetsItsOldestLeafFirst() throws {
        let trie = try TrieUnderTest(blockTokens: 1, servers: 1, capacity: 6)
        try trie.claim(0, tokens("sysA"))
        try trie.claim(0, tokens("sysBB"))  // sys, A, BB: six blocks
        try trie.claim(0, tokens("sysC"))
        #expect(try trie.match(tokens("sysA")) == [3], "A was the oldest leaf")
        #expect(try trie.match(tokens("sysBB")) == [5])
        try trie.claim(0, tokens("sysD"))
        #expect(try trie.match(tokens("sysBB")) == [4], "the tail of the next oldest goes, not all of it")
        #expect(trie.trie.counts.evictedByCapacity == 2)
    }

    @Test func oneServersEvictionLeavesTheOthersAlone() throws {
        let trie = try TrieUnderTest(blockTokens: 1, servers: 2)
        trie.trie.setCapacity(0, blocks: 5)
        try trie.claim(0, tokens("hello"))
        try trie.claim(1, tokens("hello"))
        try trie.claim(0, tokens("abc"))
        #expect(try trie.match(tokens("hello")) == [2, 5])
        #expect(try trie.violation() == nil)
    }

    @Test func aPromptLargerThanTheCacheIsClaimedUpToIt() throws {
        let trie = try TrieUnderTest(blockTokens: 1, servers: 1, capacity: 4)
        try trie.claim(0, tokens("abcdefgh"))
        #expect(try trie.match(tokens("abcdefgh")) == [4])
    }

    /// The original's vector; its references counted the end nodes only (5), ours every node that is held (10).
    @Test func statisticsHaveTheOriginalsFigures() throws {
        let trie = try TrieUnderTest(blockTokens: 1, servers: 3)
        try trie.claim(0, tokens("hello world"))
        try trie.claim(1, tokens("hello there"))
        try trie.claim(0, tokens("hello"))
        try trie.claim(1, tokens("help me"))
        try trie.claim(2, tokens("zebra"))
        let statistics = trie.trie.statistics()
        #expect(statistics.nodes == 8)
        #expect(statistics.leaves == 4)
        #expect(statistics.maxDepth == 11)
        #expect(statistics.averageDepth == 8.5)
        #expect(statistics.averageBranching == 1.75)
        #expect(statistics.averagePrefixLength == 3.125)
        #expect(statistics.totalServerReferences == 10)
        #expect(statistics.uniqueServers == 3)
        #expect(statistics.heldTokens == 25)
    }

    @Test func anEmptyTrieIsARootThatIsALeaf() throws {
        let trie = try TrieUnderTest(blockTokens: 16, servers: 1)
        let statistics = trie.trie.statistics()
        #expect(statistics.nodes == 1 && statistics.leaves == 1 && statistics.averageBranching == 0)
    }

    /// No operation recurses or takes memory by the prompt's length outside the budget.
    @Test func tenMillionTokensAtBlockOne() throws {
        let count = 10_000_000
        let trie = try TrieUnderTest(blockTokens: 1, budget: 256 << 20, servers: 2)
        var prompt = (0..<count).map { UInt32(truncatingIfNeeded: $0) }
        try trie.claim(0, prompt)
        #expect(try trie.match(prompt) == [UInt32(count), 0])
        prompt[count / 2] = .max
        try trie.claim(1, prompt)
        #expect(try trie.match(prompt) == [UInt32(count / 2), UInt32(count)])
        #expect(try trie.violation() == nil)
    }

    /// A path of a million nodes: one per token, as if every prefix of the prompt had been claimed by itself.
    @Test func aMillionNodesDeepIsNoStackOverflow() throws {
        let count = Seeds.scaled(1_000_000)
        let trie = try TrieUnderTest(blockTokens: 1, budget: 256 << 20, servers: 1)
        let prompt = (0..<count).map { UInt32(truncatingIfNeeded: $0) }
        try trie.claim(0, prompt)
        // The lower half keeps its number, so this cuts one block after the other off its top.
        let node = trie.trie.newest
        for _ in 1..<count { _ = trie.trie.split(node, at: 1) }
        #expect(trie.trie.counts.nodes == count)
        #expect(try trie.match(prompt) == [UInt32(count)])
        #expect(try trie.violation() == nil)
        try trie.disclaim(0, prompt, keep: 0)
        #expect(trie.trie.counts.nodes == 0)
    }

    /// Ten times the budget in one go: never over it, and what is left is the newest.
    @Test func theBudgetIsHard() throws {
        let budget = 1 << 16
        let trie = try TrieUnderTest(blockTokens: 1, budget: budget, servers: 3)
        var random = SplitMix64(seed: 7)
        var last: [UInt32] = []
        for index in 0..<2_000 {
            last = (0..<random.pick(1...60)).map { _ in UInt32(truncatingIfNeeded: random.next()) }
            try trie.claim(index % 3, last)
            #expect(trie.trie.bytes <= budget)
            #expect(try trie.match(last)[index % 3] == UInt32(last.count))
        }
        #expect(trie.trie.counts.evictedByBudget > 0)
        #expect(try trie.violation() == nil)
    }

    /// With a budget that is always full the trie may forget, but never invents: a match is never longer than that of a
    /// trie which forgets nothing.
    @Test func underABudgetNothingIsInvented() throws {
        for seed in Seeds.sequence(300) {
            var random = SplitMix64(seed: seed)
            let blockTokens = [1, 4][random.next(below: 2)]
            let real = try TrieUnderTest(blockTokens: blockTokens, budget: 1 << 13, servers: 12)
            var naive = NaiveTrie(blockTokens: blockTokens, servers: 12)
            for server in 0..<12 { naive.setCapacity(server, .max) }
            var prompts = Prompts(blockTokens: blockTokens)
            for _ in 0..<120 {
                let (server, prompt) = (random.next(below: 12), prompts.next(&random))
                if random.chance(85) {
                    try real.claim(server, prompt)
                    naive.claim(server, 0, prompt)
                } else {
                    let keep = random.next(below: 5)
                    try real.disclaim(server, prompt, keep: keep)
                    naive.disclaim(server, 0, prompt, keep: keep)
                }
                let asked = prompts.next(&random)
                let (got, most) = (try real.match(asked), naive.match(0, asked))
                let invented = zip(got, most).contains { $0 > $1 }
                let broken = try real.violation()
                if invented || broken != nil {
                    Issue.record("GOTONI_TEST_SEED=\(seed): \(invented ? "a match was invented" : "\(broken!)")")
                    return
                }
            }
        }
    }

    @Test func cellsHaveTheirSize() {
        #expect(MemoryLayout<Node>.stride <= Cells.size)
        #expect(MemoryLayout<HolderCell>.stride <= Cells.size)
        #expect(MemoryLayout<ExternalBlock>.stride <= Cells.size)
    }
}
