import TestSupport
import Testing

@testable import GotoniCore

/// The trie does exactly what `NaiveTrie` does, over random sequences of operations, and keeps its promises after each.
@Suite struct PrefixTrieModelTests {
    @Test func randomSequencesAgreeWithTheNaiveTrie() throws {
        let seeds = Seeds.sequence(100_000)
        print("model test: \(seeds.count) sequences, seeds \(seeds.first!) to \(seeds.last!)")
        for seed in seeds {
            if let difference = try runSequence(seed) {
                Issue.record("GOTONI_TEST_SEED=\(seed): \(difference)")
                return
            }
        }
    }

    /// Runs one sequence; nil, or the first difference.
    private func runSequence(_ seed: UInt64) throws -> String? {
        var random = SplitMix64(seed: seed)
        let blockTokens = [1, 2, 3, 16][random.next(below: 4)]
        let servers = random.pick(1...8)
        let real = try TrieUnderTest(blockTokens: blockTokens, budget: 1 << 16, servers: servers)
        var naive = NaiveTrie(blockTokens: blockTokens, servers: servers)
        for server in 0..<servers {
            let capacity = random.chance(30) ? 1_000_000 : random.pick(0...30)
            real.trie.setCapacity(Slot(server), blocks: capacity)
            naive.setCapacity(server, capacity)
        }
        var prompts = Prompts(blockTokens: blockTokens)
        for step in 0..<random.pick(5...40) {
            let operation = try perform(&random, &prompts, real, &naive)
            if let broken = try real.violation() { return "step \(step), \(operation): \(broken)" }
            if let difference = try compare(&random, &prompts, real, &naive) {
                return "step \(step), \(operation): \(difference)"
            }
        }
        return nil
    }

    private func perform(
        _ random: inout SplitMix64, _ prompts: inout Prompts, _ real: TrieUnderTest, _ naive: inout NaiveTrie
    ) throws -> String {
        let server = random.next(below: naive.capacity.count)
        let namespace = UInt64(random.next(below: 3))
        let prompt = prompts.next(&random)
        switch random.next(below: 100) {
        case ..<65:
            try real.claim(server, prompt, namespace: namespace)
            naive.claim(server, namespace, prompt)
            return "claim"
        case ..<85:
            let keep = random.next(below: prompt.count / prompts.blockTokens + 2)
            try real.disclaim(server, prompt, keep: keep, namespace: namespace)
            naive.disclaim(server, namespace, prompt, keep: keep)
            return "disclaim"
        case ..<93:
            let capacity = random.pick(0...30)
            real.trie.setCapacity(Slot(server), blocks: capacity)
            naive.setCapacity(server, capacity)
            return "capacity"
        case ..<98:
            real.trie.clear(Slot(server))
            naive.clear(server)
            return "clear server"
        default:
            real.trie.clear()
            for server in naive.capacity.indices { naive.clear(server) }
            return "clear all"
        }
    }

    private func compare(
        _ random: inout SplitMix64, _ prompts: inout Prompts, _ real: TrieUnderTest, _ naive: inout NaiveTrie
    ) throws -> String? {
        for _ in 0..<2 {
            let (prompt, namespace) = (prompts.next(&random), UInt64(random.next(below: 3)))
            let (got, expected) = (try real.match(prompt, namespace: namespace), naive.match(namespace, prompt))
            if got != expected { return "match \(got), expected \(expected)" }
        }
        for server in naive.capacity.indices where real.trie.holders[server].blocks != naive.heldBlocks(server) {
            return "server \(server) holds \(real.trie.holders[server].blocks), expected \(naive.heldBlocks(server))"
        }
        if real.trie.counts.blocks != naive.distinctBlocks {
            return "\(real.trie.counts.blocks) distinct blocks, expected \(naive.distinctBlocks)"
        }
        return nil
    }
}

/// Prompts that share beginnings: each is new, or a variation of one before.
struct Prompts {
    let blockTokens: Int
    private var seen: [[UInt32]] = [[]]

    init(blockTokens: Int) { self.blockTokens = blockTokens }

    mutating func next(_ random: inout SplitMix64) -> [UInt32] {
        var prompt = seen[random.next(below: seen.count)]
        if random.chance(50) { prompt.removeLast(random.next(below: prompt.count + 1)) }
        let added = random.pick(0...(random.chance(10) ? 30 : 5) * blockTokens)
        // Three tokens only, so that prompts meet again by chance too.
        prompt += (0..<added).map { _ in UInt32(random.next(below: 3)) }
        if prompt.count > 40 * blockTokens { prompt.removeLast(prompt.count - 40 * blockTokens) }
        if seen.count < 20 { seen.append(prompt) } else { seen[random.next(below: 20)] = prompt }
        return prompt
    }
}
