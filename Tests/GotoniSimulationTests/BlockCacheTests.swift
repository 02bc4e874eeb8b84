import GotoniCore
import TestSupport
import Testing

@testable import GotoniSimulation

@Suite struct BlockCacheTests {
    /// Random use, storing, release and eviction over a tree of blocks, against a plain list of what is held.
    @Test func itHoldsWhatAPlainListHolds() {
        for seed in Seeds.sequence(500) {
            var chance = SplitMix64(seed: seed)
            var cache = BlockCache()
            var naive = NaiveCache()
            var using: [(prompt: [Segment], used: Int)] = []
            for step in 0..<200 {
                switch chance.next(below: 4) {
                case 0, 1:
                    let prompt = randomPrompt(&chance)
                    let held = cache.match(prompt[...])
                    #expect(held == naive.match(prompt), "seed \(seed), step \(step)")
                    let used = cache.use(prompt[...], tokens: held)
                    naive.use(prompt, count: used)
                    let stored = cache.store(prompt[...], behind: used)
                    #expect(stored == naive.store(prompt, behind: used), "seed \(seed), step \(step)")
                    #expect(cache.match(prompt[...]) == prompt.reduce(0) { $0 + Int($1.tokens) })
                    using.append((prompt, prompt.count))
                case 2 where !using.isEmpty:
                    let gone = using.remove(at: chance.next(below: using.count))
                    cache.release(gone.prompt[...], gone.used)
                    naive.release(gone.prompt)
                default:
                    let tokens = chance.next(below: 120)
                    var evicted: [UInt32] = []
                    let freed = cache.evict(tokens) { evicted.append($0) }
                    #expect(evicted == naive.evict(tokens), "seed \(seed), step \(step)")
                    #expect(freed >= tokens || cache.idleTokens == 0, "seed \(seed), step \(step)")
                }
                #expect(cache.violation() == nil, "seed \(seed), step \(step)")
                #expect(cache.heldTokens == naive.heldTokens, "seed \(seed), step \(step)")
            }
        }
    }

    @Test func theEndOfAPromptIsEvictedBeforeItsBeginning() {
        var cache = BlockCache()
        let prompt = (0..<4).map { Segment(block: UInt32($0), tokens: 10) }
        _ = cache.store(prompt[...], behind: 0)
        cache.release(prompt[...], 4)
        var order: [UInt32] = []
        for _ in 0..<4 { _ = cache.evict(1) { order.append($0) } }
        #expect(order == [3, 2, 1, 0])
    }

    @Test func whatIsInUseStays() {
        var cache = BlockCache()
        let prompt = [Segment(block: 0, tokens: 10), Segment(block: 1, tokens: 10)]
        _ = cache.store(prompt[...], behind: 0)
        #expect(cache.evict(5) { _ in Issue.record("evicted what is in use") } == 0)
        #expect(cache.match(prompt[...]) == 20)
    }

    /// Blocks of 10 tokens in a tree with two children each; the last one may be shorter.
    private func randomPrompt(_ chance: inout SplitMix64) -> [Segment] {
        var block: UInt32 = 0
        var prompt = [Segment(block: 0, tokens: 10)]
        for _ in 0..<chance.next(below: 5) {
            block = block * 2 + 1 + UInt32(chance.next(below: 2))
            prompt.append(Segment(block: block, tokens: 10))
        }
        prompt[prompt.count - 1].tokens = UInt32(1 + chance.next(below: 10))
        return prompt
    }
}

private struct NaiveCache {
    private var tokens: [UInt32: UInt32] = [:]
    private var users: [UInt32: Int] = [:]
    /// The first is evicted first.
    private var idle: [UInt32] = []

    var heldTokens: Int { tokens.values.reduce(0) { $0 + Int($1) } }

    func match(_ prompt: [Segment]) -> Int {
        var sum = 0
        for segment in prompt {
            let held = tokens[segment.block] ?? 0
            sum += Int(min(held, segment.tokens))
            if held < segment.tokens { break }
        }
        return sum
    }

    mutating func use(_ prompt: [Segment], count: Int) {
        for segment in prompt.prefix(count) {
            users[segment.block, default: 0] += 1
            idle.removeAll { $0 == segment.block }
        }
    }

    mutating func store(_ prompt: [Segment], behind used: Int) -> Int {
        let before = heldTokens
        use(Array(prompt.dropFirst(used)), count: prompt.count)
        for segment in prompt { tokens[segment.block] = max(tokens[segment.block] ?? 0, segment.tokens) }
        return heldTokens - before
    }

    mutating func release(_ prompt: [Segment]) {
        for segment in prompt.reversed() {
            users[segment.block, default: 0] -= 1
            if users[segment.block] == 0 { idle.append(segment.block) }
        }
    }

    mutating func evict(_ wanted: Int) -> [UInt32] {
        var (freed, gone) = (0, [UInt32]())
        while freed < wanted, !idle.isEmpty {
            let block = idle.removeFirst()
            freed += Int(tokens[block] ?? 0)
            tokens[block] = nil
            gone.append(block)
        }
        return gone
    }
}
