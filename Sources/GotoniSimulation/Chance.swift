import Glibc
import GotoniCore

// Draws of the distributions that workloads and networks need. Seeded, so a run can be repeated.

extension SplitMix64 {
    /// Uniform in (0, 1].
    mutating func uniform() -> Double { (Double(next() >> 11) + 1) * 0x1p-53 }

    /// Exponential, mean 1.
    mutating func exponential() -> Double { -log(uniform()) }

    /// Normal, mean 0, deviation 1 (Box and Muller, 1958).
    mutating func normal() -> Double {
        let radius = (-2 * log(uniform())).squareRoot()
        return radius * cos(2 * .pi * uniform())
    }

    /// Log-normal with this mean and deviation of the logarithm.
    mutating func logNormal(median: Double, sigma: Double) -> Double { median * exp(sigma * normal()) }

    /// A generator of its own for `purpose`: what one part draws changes nothing for another.
    static func stream(_ seed: UInt64, _ purpose: UInt64) -> SplitMix64 {
        var mix = SplitMix64(seed: seed &+ purpose &* 0x2545_F491_4F6C_DD1D)
        return SplitMix64(seed: mix.next())
    }
}
