/// A block as an engine names it in its KV events, and where its end lies in our trie. One cell.
struct ExternalBlock: BitwiseCopyable {
    /// Link of the hash table; first, where `Cells.hashLink` looks.
    var hashNext: Cells.Index = 0
    /// The engine's name for it.
    var hash: UInt64
    /// Our digest at its end, all 64 bits: the seed of what follows.
    var digest: UInt64
    /// A node at or below its end (`PrefixTrie+Names.swift`).
    var node: Cells.Index
    /// Our blocks from the root to its end, and in it.
    var end: UInt32
    var span: UInt32
    /// The names of one server.
    var newer: Cells.Index = 0
    var older: Cells.Index = 0
    var slot: Slot
}

/// The names that engines have given to blocks, per server: (slot, hash) -> `ExternalBlock`.
///
/// Engines hash blocks with seeds and functions of their own, which change between versions. Here such a hash is only a
/// name; what it names is found through the tokens of the event that introduced it.
struct ExternalBlocks: ~Copyable {
    private let cells: Cells
    private var table: LinearHash

    init(cells: Cells) throws(RouterError) {
        self.cells = cells
        table = try LinearHash(capacity: cells.count)
    }

    var count: Int { table.items }
    var buckets: Int { table.buckets }

    @inline(__always) private static func key(_ slot: Slot, _ hash: UInt64) -> UInt64 { Key.mix(hash, UInt64(slot)) }

    func find(_ slot: Slot, _ hash: UInt64) -> Cells.Index {
        var cell = table.first(Self.key(slot, hash))
        while cell != 0 {
            if cells[external: cell].hash == hash && cells[external: cell].slot == slot { return cell }
            cell = cells[external: cell].hashNext
        }
        return 0
    }

    /// Enters or replaces a name. False if that needs a cell and the trie has none to give.
    mutating func store(_ block: ExternalBlock, _ trie: inout PrefixTrie) -> Bool {
        let cells = cells
        let known = find(block.slot, block.hash)
        if known != 0 {
            rename(known, block.node, &trie)
            cells[external: known].digest = block.digest
            cells[external: known].end = block.end
            cells[external: known].span = block.span
            return true
        }
        guard trie.freeCells > 0 else { return false }
        let cell = trie.takeCell()
        let head = trie.holders[Int(block.slot)].external
        cells[external: cell] = block
        trie.retain(block.node)
        cells[external: cell].older = head
        if head != 0 { cells[external: head].newer = cell }
        trie.holders[Int(block.slot)].external = cell
        table.insert(
            cell, hash: Self.key(block.slot, block.hash), link: { cells.hashLink($0) },
            hashOf: { Self.key(cells[external: $0].slot, cells[external: $0].hash) })
        return true
    }

    mutating func remove(_ cell: Cells.Index, _ trie: inout PrefixTrie) {
        let cells = cells
        let block = cells[external: cell]
        if block.newer != 0 {
            cells[external: block.newer].older = block.older
        } else {
            trie.holders[Int(block.slot)].external = block.older
        }
        if block.older != 0 { cells[external: block.older].newer = block.newer }
        table.remove(cell, hash: Self.key(block.slot, block.hash), link: { cells.hashLink($0) })
        trie.release(block.node)
        trie.giveBack(cell)
    }

    private func rename(_ cell: Cells.Index, _ node: Cells.Index, _ trie: inout PrefixTrie) {
        let before = cells[external: cell].node
        guard before != node else { return }
        trie.retain(node)
        trie.release(before)
        cells[external: cell].node = node
    }

    /// Forgets every name that `slot` has given.
    mutating func clear(_ slot: Slot, _ trie: inout PrefixTrie) {
        while trie.holders[Int(slot)].external != 0 { remove(trie.holders[Int(slot)].external, &trie) }
    }

    /// Where the named block ends in the trie now; nil if it was forgotten there.
    func place(of cell: Cells.Index, in trie: inout PrefixTrie) -> PrefixTrie.Place? {
        rename(cell, trie.living(cells[external: cell].node), &trie)
        let block = cells[external: cell]
        let end = Int(block.end)
        var node = block.node
        guard end <= cells[node: node].end else { return nil }
        while node != PrefixTrie.root && Int(cells[node: node].depth) >= end { node = cells[node: node].parent }
        guard node != PrefixTrie.root else { return nil }
        // The edge may have been cut and have grown another way since: believe only the digest.
        let inside = end - Int(cells[node: node].depth)
        var last = RunCursor(cells, cells[node: node].run)
        last.skip(inside - 1)
        guard cells.digest(last.cell, last.position) == block.digest & Cells.digestMask else { return nil }
        return PrefixTrie.Place(node: node, inside: inside, depth: end)
    }
}
