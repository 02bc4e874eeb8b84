/// A round trip time in two parts: the distance, and the congestion of the moment.
///
///     estimate = smallest sample of the last `window` + EWMA(sample - smallest)
///
/// The minimum is kept exactly enough with three samples (Kathleen Nichols' windowed filter, as in Linux'
/// `lib/win_minmax.c`, used by BBR). When the minimum leaves the window and a larger one takes over, the excess shrinks
/// by the difference, so that a lasting step in distance is not counted twice.
struct RTTFilter: BitwiseCopyable {
    private struct Sample: BitwiseCopyable {
        var time: UInt64 = 0
        var rtt: UInt64 = 0
    }

    /// The best, second and third best of the window, each younger than the one before.
    private var best = Sample()
    private var second = Sample()
    private var third = Sample()
    private var excess = 0.0
    /// No sample yet: the round trip time is unknown, which is not zero.
    private(set) var isKnown = false

    init() {}

    /// In nanoseconds; nil while unknown.
    var estimate: UInt64? { isKnown ? best.rtt + UInt64(excess) : nil }

    /// `window` in nanoseconds; `alpha` is the weight of the newest excess, 0 to 1.
    mutating func observe(_ rtt: UInt64, now: Nanoseconds, window: Nanoseconds, alpha: Double) {
        let sample = Sample(time: now.rawValue, rtt: rtt)
        guard isKnown else {
            (best, second, third, excess, isKnown) = (sample, sample, sample, 0, true)
            return
        }
        let before = best.rtt
        updateMinimum(sample, window.rawValue)
        if best.rtt > before { excess = max(0, excess - Double(best.rtt - before)) }
        excess += alpha * (Double(rtt - best.rtt) - excess)
    }

    private mutating func updateMinimum(_ sample: Sample, _ window: UInt64) {
        if sample.rtt <= best.rtt || sample.time &- third.time > window {
            // A new minimum, or nothing left in the window.
            (best, second, third) = (sample, sample, sample)
            return
        }
        if sample.rtt <= second.rtt {
            (second, third) = (sample, sample)
        } else if sample.rtt <= third.rtt {
            third = sample
        }
        advance(sample, window)
    }

    /// Drops what left the window, and makes sure that the second and third stand for later quarters and halves of it.
    private mutating func advance(_ sample: Sample, _ window: UInt64) {
        let age = sample.time &- best.time
        if age > window {
            (best, second, third) = (second, third, sample)
            if sample.time &- best.time > window { (best, second) = (second, third) }
        } else if second.time == best.time && age > window / 4 {
            (second, third) = (sample, sample)
        } else if third.time == second.time && age > window / 2 {
            third = sample
        }
    }

    // MARK: Snapshot

    /// What survives a restart: the minimum and the excess, in nanoseconds. Times do not: the next process has another
    /// clock.
    var saved: (minimum: UInt64, excess: Double) { (best.rtt, excess) }

    init(minimum: UInt64, excess: Double, now: Nanoseconds) {
        let sample = Sample(time: now.rawValue, rtt: minimum)
        (best, second, third) = (sample, sample, sample)
        self.excess = excess
        isKnown = true
    }
}
