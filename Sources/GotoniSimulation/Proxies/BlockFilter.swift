import GotoniCore

/// A set of block digests in a few bits each, which may say yes of one that it has not, and never no of one that it has.
///
/// A split block Bloom filter (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007; the one of Apache
/// Parquet): a digest's eight bits stand in the eight words of one block of 32 bytes, so a lookup reads one line of memory.
public struct BlockFilter: Sendable {
    private var blocks: [SIMD8<UInt32>]
    /// Digests that were added, and not held already as far as it knew.
    public private(set) var count = 0

    /// Parquet's; any odd numbers do.
    private static let salts = SIMD8<UInt32>(
        0x47B6_137B, 0x4497_4D91, 0x8824_AD5B, 0xA2B7_289D, 0x7054_95C7, 0x2DF1_424B, 0x9EFC_4947, 0x5C6B_FB31)

    /// `bitsPerKey`: so many bits for each of `keys` digests, rounded up to 32 bytes altogether.
    public init(keys: Int, bitsPerKey: Double) {
        let bits = max(Double(keys) * bitsPerKey, 1)
        blocks = Array(repeating: .zero, count: Int((bits / 256).rounded(.up)))
    }

    public var bytes: Int { blocks.count * MemoryLayout<SIMD8<UInt32>>.stride }

    public mutating func insert(_ digest: UInt64) {
        let (block, mask) = place(digest)
        guard blocks[block] & mask != mask else { return }
        blocks[block] |= mask
        count += 1
    }

    public func contains(_ digest: UInt64) -> Bool {
        let (block, mask) = place(digest)
        return blocks[block] & mask == mask
    }

    /// 48 bits of a digest are told, so no more of them count.
    @inline(__always) private func place(_ digest: UInt64) -> (block: Int, mask: SIMD8<UInt32>) {
        var mix = SplitMix64(seed: digest & 0xFFFF_FFFF_FFFF)
        let hash = mix.next()
        let block = Int((hash >> 32).multipliedFullWidth(by: UInt64(blocks.count) << 32).high)
        let key = SIMD8<UInt32>(repeating: UInt32(truncatingIfNeeded: hash))
        return (block, SIMD8<UInt32>(repeating: 1) &<< ((key &* Self.salts) &>> 27))
    }
}
