import GotoniCore

/// SGLang's `cache_aware`: the owner of the longest match, if that is more than 0.3 of the prompt, whatever its load;
/// otherwise the fewest requests in flight. If in flight the most exceeds the least by more than 64 and 1.5 times, the
/// least, whatever it has cached. Ties to the first server.
///
/// Source: sgl-project/sglang, sgl-router 0.3 and sgl-model-gateway, policies/cache_aware.rs, with the defaults of its
/// command line; SMG up to 1.9.0 has the same rule. Simplified: the owner of a node is the server that got it first; no
/// tree is kept here that would tell, so of several with the longest match it is the first. Its tree matches
/// single characters and keeps 2^26 of them per server; here whole blocks of 16 tokens, and all of them.
struct SGLangCacheAware: RivalPolicy {
    var threshold = 0.3
    var absolute = 64.0
    var relative = 1.5
    var index: PrefixIndex { .unbounded }

    mutating func choose(_ rows: [Row], _ ask: Ask, _ chance: inout SplitMix64) -> Int? {
        let inFlight = rows.map { Double($0.inFlight) }
        guard let least = inFlight.min(), let most = inFlight.max() else { return nil }
        let isUneven = most - least > absolute && most > relative * least
        if !isUneven, longestShare(rows) > threshold {
            return rows.smallest(&chance) { InOrder(-$0.matchedTokens, $0.server) }
        }
        return rows.smallest(&chance) { InOrder($0.inFlight, $0.server) }
    }
}

/// SMG's `cache_aware` since August 2026: if the longest match is more than 0.3 of the prompt, the fewest in flight of
/// at most 8 servers that hold it, at random among equals; but the fewest in flight of all if that one has more than
/// 1.5 times the mean in flight and more than the mean and 64, so that a prefix in demand gets another holder.
/// Otherwise the fewest in flight, then those that got fewest requests so far, then the first.
///
/// Source: smg-project/smg f8daa883 (after 1.9.0; pull requests 2117, 2161, 2213), model_gateway/src/policies/
/// cache_aware.rs, defaults. Simplified: which 8 is not specified, so the first; blocks and memory as above. Left out:
/// the options that are off by default, and the load figure of pull request 2341, which was not read in source.
struct SMGCacheAware: RivalPolicy {
    var threshold = 0.3
    var absolute = 64.0
    var relative = 1.5
    var index: PrefixIndex { .unbounded }
    /// Requests placed so far, by server.
    private var processed: [Int] = []

    private static let mostHolders = 8

    init() {}

    mutating func choose(_ rows: [Row], _ ask: Ask, _ chance: inout SplitMix64) -> Int? {
        if longestShare(rows) > threshold {
            let longest = rows.map(\.matchedTokens).max()
            let holders = rows.indices.filter { rows[$0].matchedTokens == longest }.prefix(Self.mostHolders)
            if let best = holders.smallest(&chance, { rows[$0].inFlight }) {
                let mean = rows.reduce(0) { $0 + Double($1.inFlight) } / Double(rows.count)
                let load = Double(rows[holders[best]].inFlight)
                if load <= relative * mean || load <= mean + absolute { return holders[best] }
            }
        }
        return rows.smallest(&chance) { row in
            let before = processed.indices.contains(row.server) ? processed[row.server] : 0
            return InOrder(row.inFlight, InOrder(before, row.server))
        }
    }

    mutating func placed(_ placement: Balancer.Placement, _ tokens: [UInt32], now: Nanoseconds) {
        while processed.count <= placement.server { processed.append(0) }
        processed[placement.server] += 1
    }
}

/// How much of the prompt the server with the longest match holds.
private func longestShare(_ rows: [Row]) -> Double {
    rows.map { Double($0.matchedTokens) / Double(max($0.promptTokens, 1)) }.max() ?? 0
}
