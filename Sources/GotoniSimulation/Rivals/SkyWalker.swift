import GotoniCore

/// SkyWalker's selective pushing: a request goes to a server that was not seen with waiting requests at the last probe,
/// in its own region while there is one, and otherwise in another; of these to the longest match, then the fewest in
/// flight, then at random. If none is available it waits at the balancer, in order.
///
/// Source: SkyWalker, EuroSys 2026, arXiv 2505.24095, and its code on SkyPilot (prefix_tree.py). Between two probes a
/// server stays available, as there, so bursts overshoot; there they come every 100 ms, here at the scenario's
/// interval. `threshold` 0 is the paper; with 0.5, as the authors' launch scripts leave it, a match of half the prompt
/// or less counts as none. `tau`: waiting requests that are tolerated in other regions, 0 as for any server. The
/// paper's τ bounds the queue of another region's balancer; here a forwarded request passes that queue by. Simplified:
/// a request is forwarded to a server and not to its region's balancer. Servers as near as the nearest, give or take
/// half of that and 1 ms, are its region. Its tries keep 2^24 characters per server; here everything is kept.
struct SkyWalker: RivalPolicy {
    var threshold = 0.0
    var tau = 0.0
    var index: PrefixIndex { .unbounded }

    mutating func choose(_ rows: [Row], _ ask: Ask, _ chance: inout SplitMix64) -> Int? {
        let near = (rows.map(\.rtt).min() ?? 0) * 1.5 + 1
        let local = rows.indices.filter { rows[$0].rtt <= near && rows[$0].reported.waiting == 0 }
        let remote = rows.indices.filter { rows[$0].rtt > near && Double(rows[$0].reported.waiting) <= tau }
        let available = local.isEmpty ? remote : local
        let longest = available.map { rows[$0].matchedTokens }.max() ?? 0
        let counts = Double(longest) > threshold * Double(ask.tokens.count)
        let best = available.smallest(&chance) { place in
            InOrder(counts ? -rows[place].matchedTokens : 0, rows[place].inFlight)
        }
        return best.map { available[$0] }
    }
}
