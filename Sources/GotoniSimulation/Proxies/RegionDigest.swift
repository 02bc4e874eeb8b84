/// What a region tells the others of its caches: which beginnings of prompts are somewhere in it, every few blocks, in a filter.
///
/// A block's digest stands for all before it, so how much of a prompt is there is searched for by halves. A yes counts only if the
/// mark before it is there too, so two false ones must meet.
///
/// What engines evict cannot be taken out of a filter. So there are two, of which the younger is filled and both are asked; when
/// it has as many marks as the region's caches can hold, the older one goes: what was not used since is taken for evicted.
public struct RegionDigest: Sendable {
    /// Of so many blocks one is marked.
    public let every: Int
    private let capacity: Int
    private let bitsPerMark: Double
    private var younger: BlockFilter
    private var older: BlockFilter?

    /// `blocks`: what all caches of the region hold together.
    public init(blocks: Int, every: Int, bitsPerMark: Double) {
        self.every = max(every, 1)
        capacity = max(blocks / self.every, 1)
        self.bitsPerMark = bitsPerMark
        younger = BlockFilter(keys: capacity, bitsPerKey: bitsPerMark)
    }

    /// A prompt is there now. `chain`: digests of its blocks, from the first on.
    public mutating func insert(_ chain: [UInt64]) {
        for mark in stride(from: every, through: chain.count, by: every) { younger.insert(chain[mark - 1]) }
        guard younger.count >= capacity else { return }
        older = younger
        younger = BlockFilter(keys: capacity, bitsPerKey: bitsPerMark)
    }

    /// Blocks of a prompt that are there, from its beginning, rounded down to marks.
    public func match(_ chain: [UInt64]) -> Int {
        var (low, high) = (0, chain.count / every)
        while low < high {
            let middle = (low + high + 1) / 2
            if holds(chain, middle), middle == 1 || holds(chain, middle - 1) { low = middle } else { high = middle - 1 }
        }
        return low * every
    }

    private func holds(_ chain: [UInt64], _ mark: Int) -> Bool {
        let digest = chain[mark * every - 1]
        return younger.contains(digest) || older?.contains(digest) ?? false
    }

    /// Of one filter; there are at most two.
    public var filterBytes: Int { younger.bytes }
}
