import TestSupport
import Testing

@testable import GotoniCore

/// Least squares that forget, doubt outliers and hold to a prior.
@Suite struct RegressionTests {
    private static let little: InlineArray<3, Double> = [1e-6, 1e-6, 1e-6]
    private static let nothing: InlineArray<3, Double> = [0, 0, 0]

    private func close(_ a: InlineArray<3, Double>, _ b: InlineArray<3, Double>, within: Double) -> Bool {
        (0..<3).allSatisfy { (a[$0] - b[$0]).magnitude <= within }
    }

    @Test func nothingSeenIsThePrior() {
        let prior: InlineArray<3, Double> = [3, -1, 7]
        #expect(close(Regression<3>().solution(prior: prior, trust: [1, 5, 100]), prior, within: 1e-12))
    }

    /// What generated the observations is found, whatever the noise's spread, and more exactly than a tenth of it.
    @Test func coefficientsAreFound() {
        for seed in Seeds.sequence(200) {
            var random = SplitMix64(seed: seed)
            func uniform() -> Double { Double(random.next() >> 11) / 9_007_199_254_740_992 }
            let truth: InlineArray<3, Double> = [10 * uniform(), 10 * uniform(), 10 * uniform()]
            var regression = Regression<3>()
            for _ in 0..<1_000 {
                let x: InlineArray<3, Double> = [1, 4 * uniform(), 4 * uniform()]
                let y = truth[0] + truth[1] * x[1] + truth[2] * x[2]
                regression.observe(x, y + 2 * uniform() - 1, predicted: y)
            }
            let found = regression.solution(prior: Self.nothing, trust: Self.little)
            #expect(close(found, truth, within: 0.2), "seed \(seed)")
        }
    }

    /// Half of it is believed after as many observations as the prior is worth.
    @Test func thePriorIsWorthAsManyObservationsAsItSays() {
        var regression = Regression<3>()
        for _ in 0..<50 { regression.observe([1, 0, 0], 10, predicted: 10) }
        let found = regression.solution(prior: [0, 5, 5], trust: [50, 1, 1])
        #expect((found[0] - 5).magnitude < 0.2 && found[1] == 5 && found[2] == 5)
    }

    @Test func whatHasChangedIsFollowed() {
        var regression = Regression<3>()
        for _ in 0..<2_000 { regression.observe([1, 0, 0], 1, predicted: 1) }
        for _ in 0..<3_000 {
            regression.observe(
                [1, 0, 0], 5, predicted: regression.solution(prior: Self.nothing, trust: Self.little)[0])
        }
        #expect((regression.solution(prior: Self.nothing, trust: Self.little)[0] - 5).magnitude < 0.3)
    }

    /// One in twenty a thousand times too long: without Huber's weight the mean would be fifty times too long.
    @Test func outliersCountLittle() {
        for seed in Seeds.sequence(50) {
            var random = SplitMix64(seed: seed)
            var regression = Regression<3>()
            for count in 0..<1_000 {
                let isOutlier = count > 50 && random.chance(5)
                let y = isOutlier ? 10_000 : 10 + Double(random.next(below: 3)) - 1
                let predicted = regression.solution(prior: [10, 0, 0], trust: [1, 1, 1])[0]
                regression.observe([1, 0, 0], y, predicted: predicted)
            }
            #expect(regression.solution(prior: Self.nothing, trust: Self.little)[0] < 15, "seed \(seed)")
        }
    }

    /// Features that never change, or always change together, leave the prior's say to the prior: nothing runs away.
    @Test func whatIsNotSeenDoesNotDrift() {
        var regression = Regression<3>()
        for _ in 0..<100_000 { regression.observe([1, 1, 0], 6, predicted: 6) }
        let found = regression.solution(prior: [2, 2, 9], trust: [1, 1, 1])
        #expect((found[0] + found[1] - 6).magnitude < 0.01 && (found[0] - found[1]).magnitude < 0.01 && found[2] == 9)
    }

    /// Two features that mean nearly the same, of which the prior expects too much: the free solution makes up for one by
    /// the other below zero. Without that there is nothing better nearby.
    @Test func noCoefficientIsNegative() {
        for seed in Seeds.sequence(200) {
            var random = SplitMix64(seed: seed)
            func uniform() -> Double { Double(random.next() >> 11) / 9_007_199_254_740_992 }
            let (prior, trust): (InlineArray<3, Double>, InlineArray<3, Double>) = ([0, 10, 0], [5, 4, 25])
            var regression = Regression<3>()
            var observed: [(InlineArray<3, Double>, Double)] = []
            for _ in 0..<12 {
                let work = 1 + 0.1 * uniform()
                observed.append(([1, work, work + 0.01 * uniform()], 0.1 * work))
                regression.observe(observed.last!.0, observed.last!.1, predicted: 0.1)
            }
            func loss(_ theta: InlineArray<3, Double>) -> Double {
                var sum = 0.0
                for (age, (x, y)) in observed.reversed().enumerated() {
                    var off = y
                    for i in 0..<3 { off -= theta[i] * x[i] }
                    var weight = 1.0
                    for _ in 0..<age { weight *= 0.999 }
                    sum += weight * off * off
                }
                for i in 0..<3 { sum += trust[i] * (theta[i] - prior[i]) * (theta[i] - prior[i]) }
                return sum
            }
            let found = regression.nonNegativeSolution(prior: prior, trust: trust)
            let free = regression.solution(prior: prior, trust: trust)
            #expect((0..<3).contains { free[$0] < 0 } && (0..<3).allSatisfy { found[$0] >= 0 }, "seed \(seed)")
            for i in 0..<3 {
                for step in [-0.01, 0.01] where found[i] + step >= 0 {
                    var other = found
                    other[i] += step
                    #expect(loss(other) >= loss(found), "seed \(seed)")
                }
            }
        }
    }

    @Test func whatIsNoNumberIsNotTaken() {
        var regression = Regression<3>()
        for y in [Double.nan, .infinity, -.infinity] { regression.observe([1, 0, 0], y, predicted: 0) }
        #expect(regression.weight == 0)
    }
}
