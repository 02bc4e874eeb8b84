import GotoniCore

/// Knows the true caches, the true queues and the length of the answer, and takes the server with the least own time to the
/// last token plus `others` times the delay of those already there.
///
/// A greedy choice with perfect knowledge of the present, none of the future: a reference to measure regret from. What
/// would be best over all requests cannot be computed, and a policy may beat this one.
struct Oracle: RivalPolicy {
    var others = 0.5
    /// Its own time to the first token instead of that to the last.
    var firstTokenOnly = false
    var index: PrefixIndex { .bounded }
    var needsForecast: Bool { true }

    mutating func choose(_ rows: [Row], _ ask: Ask, _ chance: inout SplitMix64) -> Int? {
        rows.smallest(&chance) { row -> Double in
            guard let forecast = row.forecast else { return .infinity }
            return (firstTokenOnly ? forecast.firstToken : forecast.last) + others * forecast.delayOfOthers
        }
    }
}
