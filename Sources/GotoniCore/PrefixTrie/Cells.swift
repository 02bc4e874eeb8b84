import CPlatform

/// The memory of the prefix trie: one area of 64-byte cells, each a cache line, addressed by number.
///
///     ┌──────────┬──────────┬──────────┬──────────┬─────
///     │ 0: root  │ 1: node  │ 2: run   │ 3: run   │ ...      a cell is a node, ten digests of an edge,
///     └──────────┴──────────┴──────────┴──────────┴─────     five holders of a node, or one external block
///
/// Why one area: every kind of object comes out of the same hard byte budget, nothing fragments, a cell number is half
/// a pointer, and taking or freeing one is two stores. Why 48-bit digests: ten and a link fill a line exactly.
///
/// This is a handle, copied freely; the trie that allocated it frees it. All unsafe memory of the trie is behind it.
/// Cell 0 is the root, so 0 also says "none" wherever the root cannot stand.
struct Cells: BitwiseCopyable {
    typealias Index = UInt32
    static let size = 64
    /// Digests in a cell; its last four bytes are the number of the next cell of the run.
    static let digestsPerCell = 10

    private let base: UnsafeMutableRawPointer
    let count: Int

    init(count: Int) throws(RouterError) {
        guard let cells = gotoni_platform_reserve(count * Self.size) else { throw .memory }
        base = cells
        self.count = count
    }

    func deallocate() { gotoni_platform_release(base, count * Self.size) }

    // MARK: Typed views

    @inline(__always) func pointer<T>(_ cell: Index, as type: T.Type) -> UnsafeMutablePointer<T> {
        assert(Int(cell) < count && MemoryLayout<T>.stride <= Self.size)
        return (base + Int(cell) &* Self.size).assumingMemoryBound(to: T.self)
    }

    subscript(node cell: Index) -> Node {
        @inline(__always) unsafeAddress { UnsafePointer(pointer(cell, as: Node.self)) }
        @inline(__always) nonmutating unsafeMutableAddress { pointer(cell, as: Node.self) }
    }

    subscript(holders cell: Index) -> HolderCell {
        @inline(__always) unsafeAddress { UnsafePointer(pointer(cell, as: HolderCell.self)) }
        @inline(__always) nonmutating unsafeMutableAddress { pointer(cell, as: HolderCell.self) }
    }

    subscript(external cell: Index) -> ExternalBlock {
        @inline(__always) unsafeAddress { UnsafePointer(pointer(cell, as: ExternalBlock.self)) }
        @inline(__always) nonmutating unsafeMutableAddress { pointer(cell, as: ExternalBlock.self) }
    }

    /// The link to the next item in a bucket of a hash table: the first field of a node or an external block.
    @inline(__always) func hashLink(_ cell: Index) -> UnsafeMutablePointer<UInt32> { pointer(cell, as: UInt32.self) }

    /// The next cell of a run, or of the list of free cells.
    @inline(__always) func next(_ cell: Index) -> Index {
        (base + Int(cell) &* Self.size).load(fromByteOffset: 60, as: UInt32.self)
    }

    @inline(__always) func setNext(_ cell: Index, _ next: Index) {
        (base + Int(cell) &* Self.size).storeBytes(of: next, toByteOffset: 60, as: UInt32.self)
    }

    // MARK: Digests

    /// The low 48 bits: what is stored of a digest.
    static let digestMask: UInt64 = 0xFFFF_FFFF_FFFF

    /// Digest `position` (0 ..< 10) of a run cell, 48 bits.
    @inline(__always) func digest(_ cell: Index, _ position: Int) -> UInt64 {
        UInt64(
            littleEndian: (base + Int(cell) &* Self.size).loadUnaligned(fromByteOffset: position &* 6, as: UInt64.self))
            & Self.digestMask
    }

    @inline(__always) func setDigest(_ cell: Index, _ position: Int, _ digest: UInt64) {
        let address = base + Int(cell) &* Self.size + position &* 6
        address.storeBytes(of: UInt32(truncatingIfNeeded: digest).littleEndian, as: UInt32.self)
        address.storeBytes(of: UInt16(truncatingIfNeeded: digest >> 32).littleEndian, toByteOffset: 4, as: UInt16.self)
    }

    /// Copies the digests of one run cell into another, not the link.
    func copyDigests(from source: Index, to target: Index) {
        (base + Int(target) &* Self.size).copyMemory(from: base + Int(source) &* Self.size, byteCount: 60)
    }
}

/// A run of digests in a chain of cells: the edge above a node, or the prompt of a ticket.
///
/// It may begin inside its first cell: a split leaves the rest of an edge where it is.
struct Run: BitwiseCopyable {
    var first: Cells.Index = 0
    var offset: UInt32 = 0
    var count: UInt32 = 0

    static func cells(for digests: Int, offset: Int = 0) -> Int {
        digests == 0 ? 0 : (offset + digests + Cells.digestsPerCell - 1) / Cells.digestsPerCell
    }
}

/// A walk along a run, digest by digest.
struct RunCursor {
    let cells: Cells
    var cell: Cells.Index
    var position: Int

    init(_ cells: Cells, _ run: Run) {
        self.cells = cells
        cell = run.first
        position = Int(run.offset)
    }

    @inline(__always) mutating func skip(_ count: Int) {
        position += count
        while position >= Cells.digestsPerCell {
            cell = cells.next(cell)
            position -= Cells.digestsPerCell
        }
    }

    /// How many of the `count` digests from here equal `digests` in their stored bits. `count` must not pass the run's
    /// end; the cursor does not move.
    @inline(__always) func commonPrefix(_ digests: UnsafePointer<UInt64>, _ count: Int) -> Int {
        var cell = cell
        var position = position
        var done = 0
        while done < count {
            let stop = min(Cells.digestsPerCell, position &+ count &- done)
            while position < stop {
                if (cells.digest(cell, position) ^ digests[done]) & Cells.digestMask != 0 { return done }
                position &+= 1
                done &+= 1
            }
            cell = cells.next(cell)
            position = 0
        }
        return done
    }

    /// Reads `count` digests from here into `target`.
    @inline(__always) func copy(_ count: Int, to target: UnsafeMutablePointer<UInt64>) {
        var cell = cell
        var position = position
        var done = 0
        while done < count {
            let stop = min(Cells.digestsPerCell, position &+ count &- done)
            while position < stop {
                target[done] = cells.digest(cell, position)
                position &+= 1
                done &+= 1
            }
            cell = cells.next(cell)
            position = 0
        }
    }
}
