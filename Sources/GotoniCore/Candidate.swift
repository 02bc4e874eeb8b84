/// Whether a server could be chosen for a request, and if not, why.
public enum Verdict: UInt32, Sendable, BitwiseCopyable {
    case eligible = 0
    /// Draining or down.
    case notUp = 1
    /// At its `maxRequests`.
    case atLimit = 2
    /// Named in the request's `excluded`.
    case excluded = 3
}

/// What is known about one server for one request: a row of the table that a policy reads, that `explain` returns and
/// that a trace writes.
public struct Candidate: Sendable, BitwiseCopyable {
    public var server: ServerID
    public var verdict: Verdict
    /// Prompt tokens believed cached there, and the rest.
    public var matchedTokens: Int
    public var uncachedTokens: Int
    /// Tokens that this prompt would drive out of its cache.
    public var evictedTokens: Int
    /// Ours and, as far as metrics tell, that of other routers.
    public var load: Load
    /// Nanoseconds; nil: unknown.
    public var rtt: UInt64?
    /// False: the foreign part of `load` is the mean of the servers that report theirs.
    public var metricsKnown: Bool
    public var cost: GorgoCost
    public var prediction: Prediction
    /// What the prediction was made from.
    var situation: Situation
}

/// The rows for one request, computed when they are read: a decision over ten thousand servers writes no table.
struct CandidateTable: ~Copyable {
    let rows: UnsafePointer<ServerRow>
    /// `ServerTable.standing`, `least`, `tokenCost`, `leastTokenCost` and `unknown`.
    let standing: UnsafePointer<Int64>
    let least: UnsafePointer<Int64>
    let tokenCost: UnsafePointer<Int64>
    let leastTokenCost: UnsafePointer<Int64>
    let unknown: UnsafePointer<UInt8>
    /// By slot: what the trie believes it to hold, and how much it may.
    let holders: UnsafePointer<PrefixTrie.Holder>
    /// From `Matches`: blocks by slot, the slots that hold more than `wideDepth`.
    let matched: UnsafePointer<UInt32>
    let listed: UnsafePointer<Slot>
    let listedCount: Int
    let wideDepth: UInt32
    let slots: Int
    /// Rows that may be chosen.
    let count: Int
    let promptTokens: Int
    let promptBlocks: Int
    let blockTokens: Int
    let rates: CostRates
    let foreignPrior: Load
    let priorCost: Int64
    let sessionKey: UInt64
    let now: Nanoseconds
    /// What each server's answers have taught, by slot, and those of all together.
    let models: UnsafePointer<LearnedSpeed>
    let fleet: LearnedSpeed
    let weights: PredictionWeights
    /// Costs are predicted times, not the GORGO cost.
    let predicts: Bool
    /// Nil: standing costs are those of these weights. Else a cost with these weights is at least so much of them.
    let leastShare: Double?
    let doubtSeed: UInt64

    @inline(__always) func isEligible(_ slot: Int) -> Bool {
        standing[slot] != ServerTable.notEligible && matched[slot] != Matches.excluded
    }

    /// The cost of an eligible row, from its parts: what `self[slot].cost.total` is, or `self[slot].prediction.cost`; nil if it
    /// is more than `best`. What the prompt drives out is looked up last, because few rows come near the best without it.
    @inline(__always) func cost(_ slot: Int, unlessAbove best: Int64?) -> Int64? {
        // A match is of whole blocks, so it never passes the prompt.
        let uncached = promptTokens &- Int(matched[slot]) &* blockTokens
        var cost = saturatingSum(standing[slot], GorgoCost.times(UInt64(uncached), tokenCost[slot]))
        if unknown[slot] != 0 { cost = saturatingSum(cost, priorCost) }
        if let best, bound(cost) > best { return nil }
        if predicts { return prediction(slot, situation(slot)).cost }
        if leastShare != nil { return gorgoCost(slot).total }
        let evicted = evictedTokens(slot)
        return evicted == 0 ? cost : saturatingSum(cost, GorgoCost.prefill(0, evicted: evicted, rates))
    }

    /// What a cost is at least that is at least `standing` with the weights that standing costs are of.
    @inline(__always) private func bound(_ standing: Int64) -> Int64 {
        guard let leastShare else { return standing }
        // Doubt is taken off, and no weight makes it less.
        let doubt = predicts ? (1 - leastShare) * weights.doubt * LearnedSpeed.mostDoubt : 0
        // A microsecond for sums in another order.
        return Int64(min(Double(standing) * leastShare - doubt * 1e6, 6e18)) - 1_000
    }

    @inline(__always) private func gorgoCost(_ slot: Int) -> GorgoCost {
        GorgoCost(
            rtt: rows[slot].rtt, uncached: promptTokens - heldBlocks(slot) * blockTokens, evicted: evictedTokens(slot),
            load: load(slot), rates: rates)
    }

    /// Blocks of this prompt that it holds, as far as that was looked at.
    @inline(__always) func heldBlocks(_ slot: Int) -> Int {
        matched[slot] == Matches.excluded ? 0 : Int(matched[slot])
    }

    /// What the other blocks of this prompt would drive out.
    @inline(__always) func evictedTokens(_ slot: Int) -> Int {
        let room = max(holders[slot].capacity &- holders[slot].blocks, 0)
        return max(promptBlocks &- heldBlocks(slot) &- room, 0) &* blockTokens
    }

    func load(_ slot: Int) -> Load { rows[slot].load(prior: foreignPrior) }

    subscript(slot: Int) -> Candidate {
        let row = rows[slot]
        let isExcluded = matched[slot] == Matches.excluded
        let matchedTokens = heldBlocks(slot) * blockTokens
        let evictedTokens = evictedTokens(slot)
        let situation = situation(slot)
        let load = load(slot)
        let atLimit = row.own.requests >= UInt64(row.maxRequests)
        return Candidate(
            server: row.id,
            verdict: row.state != .up ? .notUp : isExcluded ? .excluded : atLimit ? .atLimit : .eligible,
            matchedTokens: matchedTokens, uncachedTokens: promptTokens - matchedTokens,
            evictedTokens: evictedTokens, load: load, rtt: row.rtt,
            metricsKnown: row.metricsKnown,
            cost: gorgoCost(slot),
            prediction: prediction(slot, situation), situation: situation)
    }

    /// The eligible slot with the smallest key; among equals each with the same chance. There must be one.
    @inline(__always) func smallest<Key: Comparable>(_ chance: inout Chance, _ key: (Int) -> Key) -> Int {
        var best = Best<Key>()
        for slot in 0..<slots where isEligible(slot) { best.consider(slot, key(slot), &chance) }
        return best.slot
    }

    /// The eligible slot with the lowest cost; among equals each with the same chance. There must be one.
    ///
    /// First those that hold more of the prompt than everybody does. All others pay for the rest at least, so a group of
    /// them is looked into only if its least standing cost can still win.
    func cheapest(_ chance: inout Chance) -> Int {
        var best = Best<Int64>()
        for index in 0..<listedCount {
            let slot = Int(listed[index])
            if isEligible(slot), let cost = cost(slot, unlessAbove: best.key) { best.consider(slot, cost, &chance) }
        }
        let rest = UInt64(promptTokens &- Int(wideDepth) &* blockTokens)
        for first in stride(from: 0, to: slots, by: ServerTable.slotsPerLeast) {
            let group = first / ServerTable.slotsPerLeast
            guard least[group] != ServerTable.notEligible else { continue }
            let bound = bound(saturatingSum(least[group], GorgoCost.times(rest, leastTokenCost[group])))
            if let key = best.key, bound > key { continue }
            for slot in first..<min(first + ServerTable.slotsPerLeast, slots)
            where matched[slot] <= wideDepth && isEligible(slot) {
                if let cost = cost(slot, unlessAbove: best.key) { best.consider(slot, cost, &chance) }
            }
        }
        return best.slot
    }

    /// The eligible slot number `index`, counted from 0.
    func eligible(_ index: Int) -> Int {
        var left = index
        for slot in 0..<slots where isEligible(slot) {
            if left == 0 { return slot }
            left -= 1
        }
        return 0
    }
}

/// The smallest key seen so far. Of equal ones each is kept with the same chance.
private struct Best<Key: Comparable> {
    var slot = 0
    var key: Key?
    private var equals = 1

    @inline(__always) mutating func consider(_ slot: Int, _ candidate: Key, _ chance: inout Chance) {
        guard let smallest = key, candidate >= smallest else {
            (self.slot, key, equals) = (slot, candidate, 1)
            return
        }
        if candidate == smallest {
            // Reservoir sampling: the n-th equal row replaces the choice with chance 1/n.
            equals += 1
            if chance.draw(below: equals) == 0 { self.slot = slot }
        }
    }
}

/// What a policy may use besides the table: the generator, and the turn of round-robin. Kept by the router.
struct Chance: BitwiseCopyable {
    var random: SplitMix64
    var turn: UInt64 = 0
    var draws: UInt64 = 0

    mutating func draw(below bound: Int) -> Int {
        draws += 1
        return random.next(below: bound)
    }
}

/// Load in the order in which policies compare it: tokens, then requests; behind a first key of the policy's own.
struct LoadOrder: Comparable, BitwiseCopyable {
    var first: Int64
    var tokens: UInt64
    var requests: UInt64

    @inline(__always) init(_ load: Load, after first: Int64 = 0) {
        self.first = first
        tokens = load.tokens
        requests = load.requests
    }

    @inline(__always) static func < (a: Self, b: Self) -> Bool {
        if a.first != b.first { return a.first < b.first }
        if a.tokens != b.tokens { return a.tokens < b.tokens }
        return a.requests < b.requests
    }
}
