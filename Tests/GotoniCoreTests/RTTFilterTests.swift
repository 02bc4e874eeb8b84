import TestSupport
import Testing

@testable import GotoniCore

@Suite struct RTTFilterTests {
    private let window = Nanoseconds(60_000_000_000)

    private func feed(
        _ filter: inout RTTFilter, _ milliseconds: [Double], every step: UInt64 = 1_000_000_000, from start: UInt64 = 0
    ) {
        for (index, value) in milliseconds.enumerated() {
            filter.observe(
                UInt64(value * 1_000_000), now: Nanoseconds(start + UInt64(index) * step), window: window, alpha: 0.3)
        }
    }

    @Test func unknownIsNotZero() {
        #expect(RTTFilter().estimate == nil)
    }

    @Test func aSteadyPathIsItsRoundTrip() {
        var filter = RTTFilter()
        feed(&filter, Array(repeating: 37, count: 10))
        #expect(filter.estimate == 37_000_000)
    }

    @Test func zeroIsAFineValue() {
        var filter = RTTFilter()
        feed(&filter, [0])
        #expect(filter.estimate == 0)
    }

    /// By hand: minimum 10; the excess is 0.3 · 20 = 6.
    @Test func excessIsAMovingAverage() {
        var filter = RTTFilter()
        feed(&filter, [10, 30])
        #expect(filter.estimate == 16_000_000)
    }

    /// One outlier moves the estimate by its share only, and is forgotten.
    @Test func anOutlierFades() {
        var filter = RTTFilter()
        feed(&filter, [37, 37, 37, 1_037] + Array(repeating: 37, count: 20))
        #expect(filter.estimate! < 38_000_000)
    }

    /// A route that became longer is believed at once through the excess, and is not counted twice when the old minimum
    /// leaves the window.
    @Test func aLastingStepIsCountedOnce() {
        var filter = RTTFilter()
        feed(&filter, Array(repeating: 37, count: 10))
        feed(&filter, Array(repeating: 137, count: 20), from: 10_000_000_000)
        for second in UInt64(30)...150 {
            feed(&filter, [137], from: second * 1_000_000_000)
            #expect(filter.estimate! > 136_000_000 && filter.estimate! < 138_000_000, "after \(second) s")
        }
    }

    /// The estimate never leaves the range of the samples seen, over random sequences.
    @Test func theEstimateStaysAmongTheSamples() {
        for seed in Seeds.sequence(2_000) {
            var random = SplitMix64(seed: seed)
            var filter = RTTFilter()
            var (lowest, highest, time) = (UInt64.max, UInt64(0), UInt64(0))
            for _ in 0..<100 {
                let sample = UInt64(random.pick(1...1_000)) * 1_000_000
                time += UInt64(random.next(below: 20)) * 1_000_000_000
                (lowest, highest) = (min(lowest, sample), max(highest, sample))
                filter.observe(sample, now: Nanoseconds(time), window: window, alpha: 0.3)
                // The minimum may be up to the highest, and the excess up to the spread.
                let most = highest + (highest - lowest)
                if filter.estimate! < lowest || filter.estimate! > most {
                    Issue.record("GOTONI_TEST_SEED=\(seed): \(filter.estimate!) outside \(lowest)...\(most)")
                    return
                }
            }
        }
    }
}
