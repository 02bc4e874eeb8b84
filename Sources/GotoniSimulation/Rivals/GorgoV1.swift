import GotoniCore

/// GORGO v1, distributed: a balancer beside every engine. While the own engine has KV usage below 0.95 and fewer than 5
/// requests, it serves here; the cost is not asked. Otherwise it forwards, once, to the peer with the lowest cost if
/// that is strictly below the own, and if not it queues:
///
///     own    ms_per_token · (q · running + queued + uncached)            tokens; uncached by its prefix tree
///     peer   round trip + ms_per_token · uncached                        the peer's queue is not in it
///
/// Source: GORGO, arXiv 2602.11688v1, and the numbers of its code. As described, with prefix trees that work; the ones
/// it was measured with lose owners. Running and queued are prompt tokens after and before the first token. For
/// `gorgo-v1@nodes`; under a central proxy the nearest server stands for the own. An engine that is down or full has no
/// row: then it forwards. Its queue is tried again every 20 ms, here when anything changes.
struct GorgoV1: RivalPolicy {
    var msPerToken = 0.094
    var runningShare = 0.5
    var runningThreshold = 5.0
    var index: PrefixIndex { .unbounded }

    private static let fullUsage = 0.95

    mutating func choose(_ rows: [Row], _ ask: Ask, _ chance: inout SplitMix64) -> Int? {
        let nearest = rows.smallest(&chance) { InOrder($0.rtt, $0.server) }
        let own = ask.home == nil ? nearest : rows.firstIndex { $0.server == ask.home }
        if let own, hasRoom(rows[own]) { return own }
        let peers = rows.indices.filter { $0 != own }
        let best = peers.smallest(&chance) { InOrder(peerCost(rows[$0]), rows[$0].server) }
        guard let peer = best.map({ peers[$0] }) else { return nil }
        guard let own else { return peer }
        return peerCost(rows[peer]) < ownCost(rows[own]) ? peer : nil
    }

    private func hasRoom(_ row: Row) -> Bool {
        let usage = Double(row.reported.usedTokens) / Double(max(row.reported.kvTokens, 1))
        return usage < Self.fullUsage && Double(row.inFlight) < runningThreshold
    }

    private func ownCost(_ row: Row) -> Double {
        let waiting = runningShare * Double(row.own.runningTokens) + Double(row.own.queuedTokens)
        return msPerToken * (waiting + Double(row.promptTokens - row.matchedTokens))
    }

    private func peerCost(_ row: Row) -> Double {
        row.rtt + msPerToken * Double(row.promptTokens - row.matchedTokens)
    }
}
