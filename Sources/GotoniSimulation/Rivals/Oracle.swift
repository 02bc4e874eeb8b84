import GotoniCore

/// Knows the true caches, the true queues and the length of the answer, and takes the server where the request and those
/// it would delay lose the least time together: its own time to the last token, plus `others` times the delay of others.
///
/// A greedy choice with perfect knowledge of the present, none of the future: a reference to measure regret from. What
/// would be best over all requests cannot be computed, and a policy may beat this one.
struct Oracle: RivalPolicy {
    var others = 0.5
    /// 1: minimises the time to the first token alone.
    var firstTokenOnly = 0.0
    var index: PrefixIndex { .bounded }
    var needsForecast: Bool { true }

    mutating func choose(_ rows: [Row], _ ask: Ask, _ chance: inout SplitMix64) -> Int? {
        rows.smallest(&chance) { row -> Double in
            guard let forecast = row.forecast else { return .infinity }
            return (firstTokenOnly == 1 ? forecast.firstToken : forecast.last) + others * forecast.delayOfOthers
        }
    }
}
