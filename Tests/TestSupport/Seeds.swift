import Foundation
public import GotoniCore

/// Seeds of property tests. Each failure prints its seed; GOTONI_TEST_SEED=<seed> runs that one alone.
public enum Seeds {
    /// `count` seeds, fewer where a sanitizer or a debug build makes them slow (GOTONI_TEST_SCALE, such as 0.02).
    public static func sequence(_ count: Int) -> [UInt64] {
        if let text = ProcessInfo.processInfo.environment["GOTONI_TEST_SEED"], let seed = UInt64(text) { return [seed] }
        return (0..<UInt64(scaled(count))).map { $0 &+ 1 }
    }

    public static func scaled(_ count: Int) -> Int {
        let text = ProcessInfo.processInfo.environment["GOTONI_TEST_SCALE"] ?? "1"
        return max(1, Int(Double(count) * (Double(text) ?? 1)))
    }
}

extension SplitMix64 {
    /// A number in `range`.
    public mutating func pick(_ range: ClosedRange<Int>) -> Int { range.lowerBound + next(below: range.count) }
    public mutating func chance(_ percent: Int) -> Bool { next(below: 100) < percent }
}
