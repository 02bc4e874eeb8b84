internal import GotoniCore

/// What two neighbouring tokens become, and how early: the lower the rank, the earlier.
struct MergeTable: ~Copyable {
    static let most = 1 << 24
    /// Nothing.
    static let none = UInt32.max

    struct Merge: BitwiseCopyable {
        var rank: UInt32
        var id: UInt32
        static let none = Merge(rank: MergeTable.none, id: MergeTable.none)
    }

    struct Entry: BitwiseCopyable {
        var left: UInt32
        var right: UInt32
        /// Plus one; 0: empty.
        var rank: UInt32
        var id: UInt32
    }

    private var entries: Buffer<Entry>
    private var shift: UInt64
    private(set) var count = 0

    /// For `count` merges.
    init(capacity: Int) throws(TokenizerError) {
        guard capacity <= Self.most else { throw .mergeCount }
        var size = 1 << 10
        while size < capacity * 2 { size *= 2 }
        entries = try makeBuffer(size)
        shift = UInt64(64 - size.trailingZeroBitCount)
    }

    @inline(__always) private func slot(_ left: UInt32, _ right: UInt32) -> Int {
        let key = UInt64(left) << 32 | UInt64(right)
        var hash = key &* 0x9E37_79B9_7F4A_7C15
        hash = (hash ^ (hash >> 32)) &* 0xD6E8_FEB8_6659_FD93
        return Int(truncatingIfNeeded: hash >> shift)
    }

    /// A merge of a pair that is there already takes its place, as Hugging Face's reader has it.
    mutating func insert(_ left: UInt32, _ right: UInt32, _ merge: Merge) throws(TokenizerError) {
        guard merge.rank < UInt32.max - 1 else { throw .mergeCount }
        var slot = slot(left, right)
        while entries[slot].rank != 0 {
            if entries[slot].left == left, entries[slot].right == right { break }
            slot = (slot + 1) & (entries.count - 1)
        }
        if entries[slot].rank == 0 { count += 1 }
        guard count * 2 <= entries.count else { throw .mergeCount }
        entries[slot] = Entry(left: left, right: right, rank: merge.rank + 1, id: merge.id)
    }

    /// `Merge.none` if they stay apart.
    @inline(__always) func merge(_ left: UInt32, _ right: UInt32) -> Merge {
        var slot = slot(left, right)
        while true {
            let entry = entries[slot]
            if entry.left == left, entry.right == right, entry.rank != 0 {
                return Merge(rank: entry.rank - 1, id: entry.id)
            }
            if entry.rank == 0 { return .none }
            slot = (slot + 1) & (entries.count - 1)
        }
    }
}
