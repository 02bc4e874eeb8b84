/// Whether the mean of differences is above or below zero, asked after each of them: a mixture sequential probability ratio
/// test (Robbins 1970; Johari, Pekelis and Walsh, "Always valid inference", 2015), which may be looked at any time.
///
/// After k differences with mean d and variance v, where effects worth finding have variance τ², it says yes when
///
///     (k·d)² ≥ v · (v + k·τ²) / τ² · ( 2·ln(1 / α) + ln((v + k·τ²) / v) )
struct SequentialTest: BitwiseCopyable {
    enum Verdict: UInt8, BitwiseCopyable { case worse, better }

    private(set) var count: UInt32 = 0
    private(set) var mean = 0.0
    private var squares = 0.0
    private var badInARow: UInt32 = 0

    /// Differences before a verdict: the variance must be known.
    private static let fewest: UInt32 = 8
    /// 2·ln(1/α) for α = 0.02.
    private static let evidence = 7.824
    /// τ: two points of goodput.
    private static let effect = 0.02
    /// A loss of so much in so many differences in a row is no accident.
    private static let disaster = -0.1
    private static let disasterLength: UInt32 = 3

    mutating func add(_ difference: Double) {
        count += 1
        let delta = difference - mean
        mean += delta / Double(count)
        squares += delta * (difference - mean)
        badInARow = difference < Self.disaster ? badInARow + 1 : 0
    }

    var isDisaster: Bool { badInARow >= Self.disasterLength }

    private var error: Double {
        let k = Double(count)
        return (squares / (k - 1) / k).squareRoot()
    }

    /// Whatever there is, it is too little to go on for.
    var isFutile: Bool { count >= 2 * Self.fewest && mean.magnitude + 2 * error < Self.effect }

    /// It will hardly turn out better: the longer it takes, the more must be seen.
    var isHopeless: Bool {
        guard count >= Self.disasterLength else { return false }
        return mean <= (count >= 2 * Self.fewest ? error : count >= Self.fewest ? 0 : -error)
    }

    /// Nil: not known yet.
    var verdict: Verdict? {
        guard count >= Self.fewest else { return nil }
        let k = Double(count)
        let variance = max(squares / (k - 1), 1e-6)
        let effects = Self.effect * Self.effect
        let spread = variance + k * effects
        let bound = variance * spread / effects * (Self.evidence + Self.logarithm(spread / variance))
        guard k * k * mean * mean >= bound else { return nil }
        return mean > 0 ? .better : .worse
    }

    /// The natural logarithm of a number from 1 on, or up to 0.06 more: the same on every machine, without a library.
    private static func logarithm(_ x: Double) -> Double {
        (Double(x.exponent) + (x.significand - 1) + 0.0861) * 0.693_147_180_559_945_3
    }
}
