/// The GORGO cost of sending a request to a server: the time its user is expected to wait for the first token.
///
///     cost = rtt_weight · rtt
///          + ms_per_token · ( uncached + queued_weight · queued + running_cost_factor · running )      tokens
///
/// GORGO, arXiv 2602.11688 (v1, section 3), with the weights of its later versions. This is the only place where the
/// formula stands. Whole nanoseconds, saturating, so the same everywhere.
public struct GorgoCost: Equatable, Sendable, BitwiseCopyable {
    /// The four terms, in nanoseconds.
    public var rtt: Int64
    public var prefill: Int64
    public var queued: Int64
    public var running: Int64

    /// Their sum.
    @inlinable public var total: Int64 { plus(plus(plus(rtt, prefill), queued), running) }

    @inlinable func plus(_ a: Int64, _ b: Int64) -> Int64 {
        let (sum, overflow) = a.addingReportingOverflow(b)
        return overflow ? .max : sum
    }

    /// `rtt` in nanoseconds, nil if unknown; the others in tokens.
    @inline(__always)
    init(rtt: UInt64?, uncached: Int, queued: UInt64, running: UInt64, rates: CostRates) {
        let known = rtt.map { Int64(clamping: $0) } ?? rates.rttPrior
        let (high, low) = known.multipliedFullWidth(by: rates.rttPartsPerMillion)
        // An hour times the largest weight fits: both factors are bounded where they enter.
        self.rtt = Int64(1_000_000).dividingFullWidth((high, low)).quotient
        prefill = Self.times(UInt64(uncached), rates.prefill)
        self.queued = Self.times(queued, rates.queued)
        self.running = Self.times(running, rates.running)
    }

    @inline(__always) private static func times(_ tokens: UInt64, _ rate: Int64) -> Int64 {
        let (product, overflow) = Int64(clamping: tokens).multipliedReportingOverflow(by: rate)
        return overflow ? .max : product
    }
}

/// What the cost is computed with, derived from the knobs: nanoseconds per token, and the round trip's weight.
struct CostRates: BitwiseCopyable {
    var prefill: Int64 = 0
    var queued: Int64 = 0
    var running: Int64 = 0
    var rttPartsPerMillion: Int64 = 0
    var rttPrior: Int64 = 0
}
