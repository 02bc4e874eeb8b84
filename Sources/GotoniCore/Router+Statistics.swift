/// Counts since the router was made.
struct Counters: BitwiseCopyable {
    var routed: UInt64 = 0
    var refused: UInt64 = 0
    var committed: UInt64 = 0
    var finished: InlineArray<4, UInt64> = InlineArray(repeating: 0)
    var expired: UInt64 = 0
    var orphaned: UInt64 = 0
    var promptTokens: UInt64 = 0
    var matchedTokens: UInt64 = 0

    mutating func count(_ outcome: Outcome) { finished[Int(outcome.rawValue)] += 1 }
}

/// Counters since the router was made, and a few present values.
public struct Statistics: Sendable {
    public var servers = 0
    public var openTickets = 0
    public var routed: UInt64 = 0
    public var refused: UInt64 = 0
    public var committed: UInt64 = 0
    public var finishedOK: UInt64 = 0
    public var finishedFailed: UInt64 = 0
    public var finishedCancelled: UInt64 = 0
    public var finishedNotSent: UInt64 = 0
    /// Tickets ended for silence, and because their server was removed.
    public var expired: UInt64 = 0
    public var orphaned: UInt64 = 0
    public var promptTokens: UInt64 = 0
    public var matchedTokens: UInt64 = 0
    public var evictedTokensCapacity: UInt64 = 0
    public var evictedTokensBudget: UInt64 = 0
    public var truncatedInserts: UInt64 = 0
    public var bytes = 0
    public var budgetBytes = 0
    public var randomDraws: UInt64 = 0
}

extension Router {
    public func statistics() -> Statistics {
        let block = UInt64(configuration.blockTokens)
        var result = Statistics()
        result.servers = servers.count
        result.openTickets = ledger.open
        result.routed = counters.routed
        result.refused = counters.refused
        result.committed = counters.committed
        result.finishedOK = counters.finished[Int(Outcome.ok.rawValue)]
        result.finishedFailed = counters.finished[Int(Outcome.failed.rawValue)]
        result.finishedCancelled = counters.finished[Int(Outcome.cancelled.rawValue)]
        result.finishedNotSent = counters.finished[Int(Outcome.notSent.rawValue)]
        result.expired = counters.expired
        result.orphaned = counters.orphaned
        result.promptTokens = counters.promptTokens
        result.matchedTokens = counters.matchedTokens
        result.evictedTokensCapacity = trie.counts.evictedByCapacity * block
        result.evictedTokensBudget = trie.counts.evictedByBudget * block
        result.truncatedInserts = trie.counts.truncated
        result.bytes = trie.bytes
        result.budgetBytes = trie.budget
        result.randomDraws = chance.draws
        return result
    }
}
