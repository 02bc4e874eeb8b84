import GotoniCore

/// AIBrix's `prefix-cache`: the longest match, in whole percent of the prompt's blocks, among servers that are not
/// above the mean of running requests by more than k sample deviations; ties to fewer running, then at random. If the
/// most and the least loaded differ by more than 16 running requests, only the least loaded are looked at. Without a
/// match: the fewest running, at random.
///
/// Source: vllm-project/aibrix e3e10f9e (August 2026), pkg/plugins/gateway/algorithms/prefix_cache.go; the constants
/// are those of its manifests (16 and 2; the bare code has 8 and 1). A deviation of k = 2 cannot be exceeded by one of
/// fewer than six servers. Simplified: its index is 200,000 blocks of 128 characters for all servers together and
/// forgets after 20 minutes; here blocks are 16 tokens and nothing is forgotten.
struct AIBrixPrefixCache: RivalPolicy {
    var imbalance = 16.0
    var deviations = 2.0
    var index: PrefixIndex { .unbounded }

    mutating func choose(_ rows: [Row], _ ask: Ask, _ chance: inout SplitMix64) -> Int? {
        let running = rows.map { Double($0.inFlight) }
        guard let least = running.min(), let most = running.max() else { return nil }
        let isUneven = most - least > imbalance
        let limit = Self.limit(running, deviations)
        let holders = rows.indices.filter {
            rows[$0].matchedTokens > 0 && running[$0] <= limit && (!isUneven || running[$0] == least)
        }
        let best = holders.smallest(&chance) { InOrder(-Self.percent(rows[$0]), running[$0]) }
        return best.map { holders[$0] } ?? rows.smallest(&chance) { $0.inFlight }
    }

    /// The mean and so many sample deviations; one server has none.
    private static func limit(_ running: [Double], _ deviations: Double) -> Double {
        let count = Double(running.count)
        let mean = running.reduce(0, +) / count
        guard running.count > 1 else { return mean }
        let squares = running.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        return mean + deviations * (squares / (count - 1)).squareRoot()
    }

    private static func percent(_ row: Row) -> Int {
        let size = PrefixIndex.blockTokens
        return row.matchedTokens / size * 100 / max(row.promptTokens / size, 1)
    }
}
