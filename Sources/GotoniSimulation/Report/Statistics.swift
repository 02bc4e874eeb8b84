import GotoniCore

/// A figure and its 95 % interval.
public struct Estimate: Codable, Equatable, Sendable {
    public var value: Double
    public var low: Double
    public var high: Double
}

/// The usual figures of a sample, each with an interval.
public struct Distribution: Codable, Equatable, Sendable {
    public var mean: Estimate
    public var p50: Estimate
    public var p95: Estimate
    public var p99: Estimate
}

/// Intervals by block bootstrap: neighbouring requests share queues, so whole runs of them are drawn, not single ones
/// (Künsch, 1989). The requests, in the order of their arrival, are cut into 50 blocks; 50 are drawn with replacement, 400
/// times; the interval is from the 2.5th to the 97.5th percentile of the figure over the draws.
struct BlockBootstrap {
    static let blocks = 50
    static let draws = 400

    /// How often each block was drawn, for each draw.
    private let counts: [[Double]]
    private let requests: Int

    init(requests: Int, seed: UInt64) {
        var chance = SplitMix64.stream(seed, 0xB007)
        self.requests = requests
        counts = (0..<Self.draws).map { _ in
            var drawn = [Double](repeating: 0, count: Self.blocks)
            for _ in 0..<Self.blocks { drawn[chance.next(below: Self.blocks)] += 1 }
            return drawn
        }
    }

    private func block(_ place: Int) -> Int { place * Self.blocks / max(requests, 1) }

    /// `values`: by place in the order of arrival, nil where there is none. Nil if there is none at all.
    func distribution(_ values: [Double?]) -> Distribution? {
        let sorted = values.enumerated().compactMap { place, value in value.map { (value: $0, block: block(place)) } }
            .sorted { ($0.value, $0.block) < ($1.value, $1.block) }
        guard let mean = mean(values) else { return nil }
        let sample = SortedSample(sorted, blocks: Self.blocks)
        func estimate(_ share: Double) -> Estimate {
            interval(percentile(sample.values, share), counts.compactMap { sample.percentile(share, weights: $0) })
        }
        return Distribution(mean: mean, p50: estimate(0.5), p95: estimate(0.95), p99: estimate(0.99))
    }

    func mean(_ values: [Double?]) -> Estimate? {
        var sums = [Double](repeating: 0, count: Self.blocks)
        var sizes = sums
        for (place, value) in values.enumerated() {
            guard let value else { continue }
            sums[block(place)] += value
            sizes[block(place)] += 1
        }
        func mean(_ weights: [Double]) -> Double? {
            let size = zip(weights, sizes).reduce(0) { $0 + $1.0 * $1.1 }
            return size > 0 ? zip(weights, sums).reduce(0) { $0 + $1.0 * $1.1 } / size : nil
        }
        guard let all = mean([Double](repeating: 1, count: Self.blocks)) else { return nil }
        return interval(all, counts.compactMap(mean))
    }

    private func interval(_ value: Double, _ drawn: [Double]) -> Estimate {
        let sorted = drawn.sorted()
        return Estimate(value: value, low: percentile(sorted, 0.025), high: percentile(sorted, 0.975))
    }
}

/// A sorted sample of which each value belongs to a block, for percentiles under many weightings of the blocks.
struct SortedSample {
    let values: [Double]
    private let blockOf: [UInt8]
    /// How many values of each block come before every `stride`-th value: a percentile looks there first.
    private let before: [[Double]]
    private let all: [Double]
    private static let stride = 256

    init(_ sorted: [(value: Double, block: Int)], blocks: Int) {
        values = sorted.map(\.value)
        blockOf = sorted.map { UInt8($0.block) }
        var count = [Double](repeating: 0, count: blocks)
        var before: [[Double]] = []
        for (place, block) in blockOf.enumerated() {
            if place % Self.stride == 0 { before.append(count) }
            count[Int(block)] += 1
        }
        self.before = before
        all = count
    }

    /// The smallest value that `share` of the weighted sample does not pass; nil if the weights leave nothing.
    func percentile(_ share: Double, weights: [Double]) -> Double? {
        func weigh(_ counts: [Double]) -> Double {
            var sum = 0.0
            for block in counts.indices { sum += counts[block] * weights[block] }
            return sum
        }
        let total = weigh(all)
        guard total > 0 else { return nil }
        let target = share * total
        var (low, high) = (0, before.count - 1)
        while low < high {
            let middle = (low + high + 1) / 2
            if weigh(before[middle]) < target { low = middle } else { high = middle - 1 }
        }
        var sum = weigh(before[low])
        for place in low * Self.stride..<values.count {
            sum += weights[Int(blockOf[place])]
            if sum >= target { return values[place] }
        }
        return values.last
    }
}

/// Of sorted values, between the two nearest ranks: position share · (n - 1).
func percentile(_ sorted: [Double], _ share: Double) -> Double {
    guard let last = sorted.last else { return .nan }
    let position = share * Double(sorted.count - 1)
    let below = Int(position)
    guard below + 1 < sorted.count else { return last }
    return sorted[below] + (position - Double(below)) * (sorted[below + 1] - sorted[below])
}

/// Jain's index: 1 if all are equal, 1/n if one has everything (Jain, Chiu, Hawe, 1984).
func jainIndex(_ values: [Double]) -> Double {
    let squares = values.reduce(0) { $0 + $1 * $1 }
    guard squares > 0 else { return 1 }
    let sum = values.reduce(0, +)
    return sum * sum / (Double(values.count) * squares)
}
