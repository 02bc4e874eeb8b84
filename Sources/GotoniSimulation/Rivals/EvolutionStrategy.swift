import Glibc
import GotoniCore

/// The (1+1) evolution strategy that GORGO's later versions tune their weights with, as published (constants: v3 and its
/// public code): every 32 first tokens the last 128 are scored by their p95, whoever was routed with which weights; a
/// candidate that scores no more than half a percent worse than the best score ever seen becomes the parent; the best is never measured
/// again. Here as what `Tuner` is compared with.
struct EvolutionStrategy {
    private let knobs: [Knob]
    private let bounds: [ClosedRange<Double>]
    private var best: [Double]
    private var candidate: [Double]
    private var bestScore: Double?
    private var sigma = 0.5
    private var successes: [Bool] = []
    private var samples: [Double] = []
    private var sinceReport = 0
    private var isOver = false
    private var chance: SplitMix64

    private static let window = 128
    private static let hop = 32
    private static let leastSigma = 0.05
    private static let decay = 0.817
    private static let outcomes = 8
    private static let tolerance = 0.005

    /// Weights in force, each searched between a sixteenth and sixteen times of it.
    init(_ weights: [(knob: Knob, value: Double)], seed: UInt64) {
        knobs = weights.map(\.knob)
        best = weights.map(\.value)
        bounds = weights.map { $0.value / 16...$0.value * 16 }
        candidate = best
        chance = .stream(seed, 0xE5)
    }

    /// A first token came after so many milliseconds. Gives weights to set, when there are others.
    mutating func observe(firstToken: Double) -> [(knob: Knob, value: Double)]? {
        guard !isOver else { return nil }
        samples.append(firstToken)
        if samples.count > Self.window { samples.removeFirst() }
        sinceReport += 1
        guard samples.count == Self.window, sinceReport >= Self.hop else { return nil }
        sinceReport = 0
        report(-samples.sorted()[Int((0.95 * Double(Self.window - 1)).rounded())] / 1_000)
        return zip(knobs, candidate).map { ($0, $1) }
    }

    private mutating func report(_ score: Double) {
        guard let bestScore else {
            self.bestScore = score
            return propose()
        }
        // Scores are negative, so this lets through what is a little worse.
        let isBetter = score > bestScore * (1 + Self.tolerance)
        if isBetter { (best, self.bestScore) = (candidate, score) }
        successes.append(isBetter)
        if successes.count > Self.outcomes { successes.removeFirst() }
        if successes.count == Self.outcomes {
            sigma *= successes.count(where: { $0 }) * 5 > Self.outcomes ? 1 / Self.decay : Self.decay
        }
        if sigma < Self.leastSigma {
            (isOver, candidate) = (true, best)
        } else {
            propose()
        }
    }

    private mutating func propose() {
        candidate = zip(best, bounds).map { value, bounds in
            min(max(value * exp(sigma * chance.normal()), bounds.lowerBound), bounds.upperBound)
        }
    }
}
