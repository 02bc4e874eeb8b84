import GotoniCore

/// GORGO v3: the lowest score, in which a token counts 1 and a millisecond of round trip `rttWeight`:
///
///     rttWeight · rtt + uncached + queueWeight · tokens in flight
///
/// Source: GORGO v3 (arXiv 2602.11688), its code and its tuned weights. In flight are all prompt tokens, cached ones too, from
/// dispatch to the last byte; its trie has no bound.
struct GorgoV3: RivalPolicy {
    var rttWeight = 0.276
    var queueWeight = 0.5
    var index: PrefixIndex { .unbounded }

    mutating func choose(_ rows: [Row], _ ask: Ask, _ chance: inout SplitMix64) -> Int? {
        rows.smallest(&chance) {
            rttWeight * $0.rtt + Double($0.promptTokens - $0.matchedTokens) + queueWeight * Double($0.own.tokens)
        }
    }
}
