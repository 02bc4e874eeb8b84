/// Which servers hold which prompt prefixes: a radix tree over block digests.
///
///                        root
///                     ┌────┴─────────────┐
///          [system prompt A]        [system prompt B]        an edge is a run of digests,
///             s1  s2  s3                  s2                 a node carries the servers that hold it
///          ┌─────┴──────┐
///     [session 7]   [session 8]                              holders(child) ⊆ holders(parent)
///         s1          s2 s3
///
/// - A *match* walks down and hands every holder the depth it reached; a server's match ends where it stops holding.
/// - A *claim* says "this server holds this prompt": it walks down, splits an edge where the prompt ends or leaves it,
///   adds what is new, and then touches the path from below, so that parents are newer than children.
/// - Every server has a capacity in blocks and forgets its oldest blocks beyond it, leaf first and from the tail, as
///   engines evict. All of them share one byte budget: `Cells`.
///
/// Holders are nested by construction: a split copies them to both halves, a claim touches whole paths, and forgetting
/// takes whole subtrees. No operation recurses, so a prompt's length is bounded by memory and not by the stack.
struct PrefixTrie: ~Copyable {
    let cells: Cells
    let blockTokens: Int
    /// The budget the cells were made from, in bytes.
    let budget: Int

    /// (parent, first digest) -> node.
    var children: LinearHash
    /// (slot, engine's hash) -> external block.
    var externals: LinearHash
    /// Per slot, what the trie keeps for a server.
    var holders: Buffer<Holder>

    /// Free cells: a list of used ones, and those never touched.
    var freeList: Cells.Index = 0
    var freeCells: Int
    var untouched: Cells.Index = 1

    /// Ends of the order of last use over all nodes but the root.
    var newest: Cells.Index = 0
    var oldest: Cells.Index = 0

    var counts = Counts()

    struct Counts: BitwiseCopyable {
        /// Nodes besides the root.
        var nodes = 0
        /// Distinct blocks in the trie.
        var blocks = 0
        var evictedByCapacity: UInt64 = 0
        var evictedByBudget: UInt64 = 0
        /// Claims of which only a beginning fitted into the budget.
        var truncated: UInt64 = 0
    }

    /// What the trie keeps for one server.
    struct Holder: BitwiseCopyable {
        var newest: Holding = .none
        var oldest: Holding = .none
        /// Blocks held, and how many may be.
        var blocks = 0
        var capacity = 0
        /// Head of this server's external blocks.
        var external: Cells.Index = 0
    }

    /// A cell costs its 64 bytes, and at most four bytes of each of the two hash tables.
    static let bytesPerCell = Cells.size + 2 * 4

    /// `budget` in bytes, at least 64 KiB; `slots`: rows for servers.
    init(blockTokens: Int, budget: Int, slots: Int) throws(RouterError) {
        let count = budget / Self.bytesPerCell
        let children = try LinearHash(capacity: count)
        let externals = try LinearHash(capacity: count)
        let holders = try Buffer<Holder>(count: slots)
        cells = try Cells(count: count)
        self.children = children
        self.externals = externals
        self.holders = holders
        self.blockTokens = blockTokens
        self.budget = budget
        freeCells = count - 1
        cells[node: Self.root] = Node()
    }

    deinit { cells.deallocate() }

    static let root: Cells.Index = 0

    /// Cells in use, the root included.
    var usedCells: Int { cells.count - freeCells }

    // MARK: Cells

    /// Takes a cell; its content is arbitrary. The caller has made sure that one is free.
    mutating func takeCell() -> Cells.Index {
        assert(freeCells > 0)
        freeCells -= 1
        if freeList != 0 {
            let cell = freeList
            freeList = cells.next(cell)
            return cell
        }
        defer { untouched += 1 }
        return untouched
    }

    mutating func giveBack(_ cell: Cells.Index) {
        cells.setNext(cell, freeList)
        freeList = cell
        freeCells += 1
    }

    /// Writes digests into a new run. `Run.cells(for: count)` cells must be free.
    mutating func makeRun(_ digests: UnsafePointer<UInt64>, _ count: Int) -> Run {
        var run = Run(first: 0, offset: 0, count: UInt32(count))
        var last: Cells.Index = 0
        var done = 0
        while done < count {
            let cell = takeCell()
            cells.setNext(cell, 0)
            if last == 0 { run.first = cell } else { cells.setNext(last, cell) }
            last = cell
            let part = min(Cells.digestsPerCell, count - done)
            for position in 0..<part { cells.setDigest(cell, position, digests[done + position]) }
            done += part
        }
        return run
    }

    mutating func freeRun(_ run: Run) {
        var cell = run.first
        for _ in 0..<Run.cells(for: Int(run.count), offset: Int(run.offset)) {
            let next = cells.next(cell)
            giveBack(cell)
            cell = next
        }
    }

    // MARK: Children

    /// What the hash table looks a child up by.
    @inline(__always) static func childHash(parent: Cells.Index, digest: UInt64) -> UInt64 {
        // Digests are well spread already; the parent keeps equal first blocks behind different prefixes apart.
        digest & Cells.digestMask ^ UInt64(parent) &* 0x9E37_79B9_7F4A_7C15
    }

    @inline(__always) func firstDigest(_ node: Cells.Index) -> UInt64 {
        cells.digest(cells[node: node].run.first, Int(cells[node: node].run.offset))
    }

    @inline(__always) func child(of parent: Cells.Index, _ digest: UInt64) -> Cells.Index {
        var node = children.first(Self.childHash(parent: parent, digest: digest))
        while node != 0 {
            if cells[node: node].parent == parent && (firstDigest(node) ^ digest) & Cells.digestMask == 0 {
                return node
            }
            node = cells[node: node].hashNext
        }
        return 0
    }

    mutating func enterHash(_ node: Cells.Index) {
        let cells = cells
        func hash(_ node: Cells.Index) -> UInt64 {
            let entry = cells[node: node]
            return Self.childHash(parent: entry.parent, digest: cells.digest(entry.run.first, Int(entry.run.offset)))
        }
        children.insert(node, hash: hash(node), link: { cells.hashLink($0) }, hashOf: hash)
    }

    mutating func leaveHash(_ node: Cells.Index) {
        let cells = cells
        let hash = Self.childHash(parent: cells[node: node].parent, digest: firstDigest(node))
        children.remove(node, hash: hash, link: { cells.hashLink($0) })
    }

    mutating func linkChild(_ node: Cells.Index, under parent: Cells.Index) {
        let sibling = cells[node: parent].firstChild
        cells[node: node].parent = parent
        cells[node: node].nextSibling = sibling
        cells[node: node].previousSibling = 0
        if sibling != 0 { cells[node: sibling].previousSibling = node }
        cells[node: parent].firstChild = node
    }

    mutating func unlinkChild(_ node: Cells.Index) {
        let (previous, next) = (cells[node: node].previousSibling, cells[node: node].nextSibling)
        if previous != 0 {
            cells[node: previous].nextSibling = next
        } else {
            cells[node: cells[node: node].parent].firstChild = next
        }
        if next != 0 { cells[node: next].previousSibling = previous }
    }
}
