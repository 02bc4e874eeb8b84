public import CGotoni
internal import GotoniCore

@c @implementation public func gotoni_stats_get(
    _ handle: OpaquePointer?, _ stats: UnsafeMutablePointer<gotoni_stats>?
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        let target = try required(stats)
        try write(gotoni_stats(router.statistics()), to: target)
    }
}

extension gotoni_stats {
    init(_ statistics: Statistics) {
        self.init()
        servers = UInt32(statistics.servers)
        open_tickets = UInt64(statistics.openTickets)
        routed = statistics.routed
        refused = statistics.refused
        committed = statistics.committed
        finished_ok = statistics.finishedOK
        finished_failed = statistics.finishedFailed
        finished_cancelled = statistics.finishedCancelled
        finished_not_sent = statistics.finishedNotSent
        expired = statistics.expired
        orphaned = statistics.orphaned
        prompt_tokens = statistics.promptTokens
        matched_tokens = statistics.matchedTokens
        evicted_tokens_capacity = statistics.evictedTokensCapacity
        evicted_tokens_budget = statistics.evictedTokensBudget
        truncated_inserts = statistics.truncatedInserts
        bytes = UInt64(statistics.bytes)
        budget_bytes = UInt64(statistics.budgetBytes)
        random_draws = statistics.randomDraws
    }
}
