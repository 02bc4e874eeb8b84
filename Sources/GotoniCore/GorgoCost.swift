/// The GORGO cost of sending a request to a server: the time its user is expected to wait for the first token.
///
///     cost = rtt_weight · rtt
///          + ms_per_token · ( uncached + eviction_weight · evicted + queued_weight · owed + running_cost_factor · in flight )
///
/// in tokens. uncached: of this prompt; evicted: what it drives out of a full cache, which others will prefill again; owed:
/// uncached ones of the requests that wait there, which are prefilled before it; in flight: prompts of all requests there,
/// waiting or running, which decode beside it.
///
/// GORGO, arXiv 2602.11688 (v1, section 3), with the weights of its later versions, but for two things: there a token of a
/// prompt that waits counts in full, also if it is cached and nobody waits for it (benchmark/simulation/README.md says what
/// that costs), and evictions are free. This is the only place where the formula stands. Whole nanoseconds, saturating, so
/// the same everywhere.
public struct GorgoCost: Equatable, Sendable, BitwiseCopyable {
    /// The four terms, in nanoseconds; prefill is that of this prompt and of what it drives out.
    public var rtt: Int64
    public var prefill: Int64
    public var queued: Int64
    public var running: Int64

    /// Their sum, below `Int64.max`, which stands for "not to be had".
    public var total: Int64 {
        min(saturatingSum(saturatingSum(saturatingSum(rtt, prefill), queued), running), .max - 1)
    }

    /// `rtt` in nanoseconds, nil if unknown; `uncached` and `evicted` in tokens.
    init(rtt: UInt64?, uncached: Int, evicted: Int, load: Load, rates: CostRates) {
        let known = rtt.map { Int64(clamping: $0) } ?? rates.rttPrior
        // Whole weights and millionths apart: an hour (`Router.longestRTT`) times either fits.
        self.rtt = known &* rates.rttWhole &+ known &* rates.rttMillionths / 1_000_000
        prefill = Self.prefill(uncached, evicted: evicted, rates)
        queued = Self.times(load.owedTokens, rates.queued)
        running = Self.times(load.tokens, rates.running)
    }

    /// The prefill term by itself.
    @inline(__always) static func prefill(_ uncached: Int, evicted: Int, _ rates: CostRates) -> Int64 {
        let own = times(UInt64(truncatingIfNeeded: uncached), rates.prefill)
        return evicted == 0 ? own : saturatingSum(own, times(UInt64(truncatingIfNeeded: evicted), rates.evicted))
    }

    @inline(__always) static func times(_ tokens: UInt64, _ rate: Int64) -> Int64 {
        let (product, overflow) = Int64(clamping: tokens).multipliedReportingOverflow(by: rate)
        return overflow ? .max - 1 : product
    }
}

/// The sum of two numbers that are not negative, at most `Int64.max - 1`.
@inline(__always) func saturatingSum(_ a: Int64, _ b: Int64) -> Int64 {
    let (sum, overflow) = a.addingReportingOverflow(b)
    return overflow ? .max - 1 : sum
}

/// What the cost is computed with, derived from the knobs: nanoseconds per token, and the round trip's weight.
struct CostRates: BitwiseCopyable {
    var prefill: Int64 = 0
    var evicted: Int64 = 0
    var queued: Int64 = 0
    var running: Int64 = 0
    var rttWhole: Int64 = 0
    var rttMillionths: Int64 = 0
    var rttPrior: Int64 = 0
}
