/// SplitMix64: small, fast, passes BigCrush, and the same everywhere.
///
/// Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. The state is one word, so a
/// snapshot carries it and a seed reproduces every decision.
public struct SplitMix64: Sendable, BitwiseCopyable {
    public var state: UInt64

    public init(seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// A number in `0 ..< bound`, by Lemire's multiplication; the bias is below `bound / 2^64`. `bound` > 0.
    public mutating func next(below bound: Int) -> Int {
        Int(next().multipliedFullWidth(by: UInt64(bound)).high)
    }
}
