/// A hash table of item numbers that grows one bucket at a time (Litwin, "Linear hashing", VLDB 1980).
///
/// Growing by doubling would stop a router of a million prefixes for milliseconds while it rehashes; this table splits
/// one bucket per insertion, so every insertion costs the same, and only the buckets in use are ever touched.
///
/// It holds no items: an item is a number from 1, and its link to the next in the bucket and its hash are kept by the
/// owner and reached through two closures. `Dictionary` would also pull a symbol newer than glibc 2.35.
///
///     buckets 0 ..< low + split exist; those below `split` are already divided:
///     bucket(h) = h mod low, or h mod 2·low where that is below split
struct LinearHash: ~Copyable {
    private let heads: Buffer<UInt32>
    private var low = 64
    private var split = 0
    private(set) var items = 0

    /// `capacity`: the most items it will ever hold.
    init(capacity: Int) throws(RouterError) {
        heads = try Buffer(count: max(capacity, 64))
    }

    /// Buckets in use; each takes four bytes.
    var buckets: Int { low + split }

    @inline(__always) private func bucket(_ hash: UInt64) -> Int {
        let narrow = Int(truncatingIfNeeded: hash) & (low - 1)
        return narrow < split ? Int(truncatingIfNeeded: hash) & (2 * low - 1) : narrow
    }

    /// The first item of the bucket for `hash`, 0 if it is empty. Follow the owner's links for the rest.
    @inline(__always) func first(_ hash: UInt64) -> UInt32 { heads[bucket(hash)] }

    mutating func insert(
        _ item: UInt32, hash: UInt64, link: (UInt32) -> UnsafeMutablePointer<UInt32>, hashOf: (UInt32) -> UInt64
    ) {
        if items >= buckets && buckets < heads.count { splitOne(link: link, hashOf: hashOf) }
        let bucket = bucket(hash)
        link(item).pointee = heads[bucket]
        heads[bucket] = item
        items += 1
    }

    /// Removes `item`, which must be there.
    mutating func remove(_ item: UInt32, hash: UInt64, link: (UInt32) -> UnsafeMutablePointer<UInt32>) {
        var place = heads.base + bucket(hash)
        while place.pointee != item {
            assert(place.pointee != 0)
            place = link(place.pointee)
        }
        place.pointee = link(item).pointee
        items -= 1
    }

    private mutating func splitOne(link: (UInt32) -> UnsafeMutablePointer<UInt32>, hashOf: (UInt32) -> UInt64) {
        let old = split
        var item = heads[old]
        heads[old] = 0
        split += 1
        if split == low {
            low *= 2
            split = 0
        }
        while item != 0 {
            let next = link(item).pointee
            let bucket = bucket(hashOf(item))
            link(item).pointee = heads[bucket]
            heads[bucket] = item
            item = next
        }
    }
}
