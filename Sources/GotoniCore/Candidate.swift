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
    /// Ours and, as far as metrics tell, that of other routers.
    public var load: Load
    /// Nanoseconds; nil: unknown.
    public var rtt: UInt64?
    /// False: the foreign part of `load` is the mean of the servers that report theirs.
    public var metricsKnown: Bool
    public var cost: GorgoCost
}

/// The rows for one request, computed when they are read: a decision over ten thousand servers writes no table.
struct CandidateTable: ~Copyable {
    let servers: UnsafePointer<ServerRow>
    /// Matched blocks by slot.
    let matched: UnsafePointer<UInt32>
    /// Slots of the eligible rows.
    let eligible: UnsafePointer<Slot>
    let count: Int
    let promptTokens: Int
    let blockTokens: Int
    let rates: CostRates
    let foreignPrior: Load
    let sessionKey: UInt64

    /// The eligible row number `index`.
    @inline(__always) subscript(index: Int) -> Candidate { row(eligible[index], .eligible) }

    @inline(__always) func row(_ slot: Slot, _ verdict: Verdict) -> Candidate {
        let server = servers + Int(slot)
        // A match is of whole blocks, so it never passes the prompt.
        let matchedTokens = Int(matched[Int(slot)]) &* blockTokens
        let load = server.pointee.own + (server.pointee.metricsKnown ? server.pointee.foreign : foreignPrior)
        let rtt = server.pointee.rtt == ServerRow.unknownRTT ? nil : server.pointee.rtt
        return Candidate(
            server: server.pointee.id, verdict: verdict, matchedTokens: matchedTokens,
            uncachedTokens: promptTokens &- matchedTokens, load: load, rtt: rtt,
            metricsKnown: server.pointee.metricsKnown,
            cost: GorgoCost(
                rtt: rtt, uncached: promptTokens &- matchedTokens, queued: load.queuedTokens,
                running: load.runningTokens, rates: rates))
    }

    /// The row with the smallest key; among equals each with the same chance. The table must not be empty.
    @inline(__always) func smallest<Key: Comparable>(_ chance: inout Chance, _ key: (Candidate) -> Key) -> Int {
        var best = 0
        var bestKey = key(self[0])
        var equals = 1
        for index in 1..<max(count, 1) {
            let candidate = key(self[index])
            if candidate < bestKey {
                (best, bestKey, equals) = (index, candidate, 1)
            } else if candidate == bestKey {
                // Reservoir sampling: the n-th equal row replaces the choice with chance 1/n.
                equals += 1
                if chance.draw(below: equals) == 0 { best = index }
            }
        }
        return best
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

/// Compared first by `first`, then by `second`, then by `third`.
struct Lexicographic: Comparable, BitwiseCopyable {
    var first: Int64
    var second: UInt64
    var third: UInt64 = 0

    @inline(__always) static func < (a: Self, b: Self) -> Bool {
        if a.first != b.first { return a.first < b.first }
        if a.second != b.second { return a.second < b.second }
        return a.third < b.third
    }
}
