// The names that engines give to blocks in their KV events, per server: (slot, hash) -> `ExternalBlock`.
//
// Engines hash blocks with seeds and functions of their own, which change between versions. Here such a hash is only a
// name; what it names is found through the tokens of the event that introduced it.
//
// A name hangs on a node at or below the end of its block. A split keeps a node's number for its lower half, so what is
// named is in that node or above it. When the node goes, names of what lives on above it move to its parent, and names
// of what went go with it: they never outlive what they name, except the end of an edge that was cut, until its node goes.

/// A block as an engine names it, and where its end lies in our trie. One cell.
struct ExternalBlock: BitwiseCopyable {
    /// Link of the hash table; first, where `Cells.hashLink` looks.
    var hashNext: Cells.Index = 0
    var slot: Slot
    /// The engine's name for it.
    var hash: UInt64
    /// Our digest at its end, all 64 bits: the seed of what follows.
    var digest: UInt64
    /// Our blocks from the root to its end, and in it.
    var end: UInt32
    var span: UInt32
    /// The node it hangs on, and the others that hang there.
    var node: Cells.Index
    var nodeNext: Cells.Index = 0
    var nodePrevious: Cells.Index = 0
    /// The others of its server.
    var newer: Cells.Index = 0
    var older: Cells.Index = 0
}

extension PrefixTrie {
    @inline(__always) private static func nameHash(_ slot: Slot, _ hash: UInt64) -> UInt64 {
        Key.mix(hash, UInt64(slot))
    }

    /// The block that `slot` named so; 0 if none.
    func external(_ slot: Slot, _ hash: UInt64) -> Cells.Index {
        var cell = externals.first(Self.nameHash(slot, hash))
        while cell != 0 {
            if cells[external: cell].hash == hash && cells[external: cell].slot == slot { return cell }
            cell = cells[external: cell].hashNext
        }
        return 0
    }

    /// Enters or replaces a name, forgetting the oldest prefixes where that needs room. False if there is none to be had.
    mutating func storeExternal(_ block: ExternalBlock) -> Bool {
        let known = external(block.slot, block.hash)
        if known != 0 { removeExternal(known) }
        while freeCells == 0 && oldest != 0 && oldest != block.node { evictOldest() }
        guard freeCells > 0 else { return false }
        let cell = takeCell()
        cells[external: cell] = block
        let newest = holders[Int(block.slot)].external
        cells[external: cell].older = newest
        if newest != 0 { cells[external: newest].newer = cell }
        holders[Int(block.slot)].external = cell
        hang(cell, on: block.node)
        let cells = cells
        externals.insert(
            cell, hash: Self.nameHash(block.slot, block.hash), link: { cells.hashLink($0) },
            hashOf: { Self.nameHash(cells[external: $0].slot, cells[external: $0].hash) })
        return true
    }

    mutating func removeExternal(_ cell: Cells.Index) {
        let cells = cells
        let block = cells[external: cell]
        if block.newer != 0 {
            cells[external: block.newer].older = block.older
        } else {
            holders[Int(block.slot)].external = block.older
        }
        if block.older != 0 { cells[external: block.older].newer = block.newer }
        unhang(cell)
        externals.remove(cell, hash: Self.nameHash(block.slot, block.hash), link: { cells.hashLink($0) })
        giveBack(cell)
    }

    /// Forgets every name that `slot` has given.
    mutating func clearExternals(_ slot: Slot) {
        while holders[Int(slot)].external != 0 { removeExternal(holders[Int(slot)].external) }
    }

    /// Where the named block ends; nil if the end of its edge was cut.
    func place(ofExternal cell: Cells.Index) -> Place? {
        let block = cells[external: cell]
        let end = Int(block.end)
        var node = block.node
        guard end <= cells[node: node].end else { return nil }
        while node != Self.root && Int(cells[node: node].depth) >= end { node = cells[node: node].parent }
        guard node != Self.root else { return nil }
        // The edge may have been cut and have grown another way since: believe only the digest.
        let inside = end - Int(cells[node: node].depth)
        var last = RunCursor(cells, cells[node: node].run)
        last.skip(inside - 1)
        guard cells.digest(last.cell, last.position) == block.digest & Cells.digestMask else { return nil }
        return Place(node: node, inside: inside, depth: end)
    }

    /// Blocks from the root to the end of the last one that `slot` has named on the way to `place`, as far as names hang on
    /// that way: those of a beginning that only longer prompts continue may hang below it. 0: none.
    func named(_ slot: Slot, to place: Place) -> Int {
        var (found, node) = (0, place.node)
        while node != Self.root {
            found = max(found, lastNamed(slot, on: node, within: place.depth))
            // What hangs higher up ends where this node begins, or before.
            if found >= Int(cells[node: node].depth) { break }
            node = cells[node: node].parent
        }
        return found
    }

    /// The same for a prompt.
    func named(_ slot: Slot, _ digests: UnsafePointer<UInt64>, _ count: Int) -> Int {
        holders[Int(slot)].external == 0 ? 0 : named(slot, to: walk(digests, count) { _, _ in })
    }

    private func lastNamed(_ slot: Slot, on node: Cells.Index, within most: Int) -> Int {
        var most = most
        while true {
            var (last, end) = (Cells.Index(0), 0)
            var cell = cells[node: node].externals
            while cell != 0 {
                let block = cells[external: cell]
                if block.slot == slot, Int(block.end) <= most, Int(block.end) > end {
                    (last, end) = (cell, Int(block.end))
                }
                cell = block.nodeNext
            }
            if last == 0 || self.place(ofExternal: last) != nil { return end }
            most = end - 1
        }
    }

    /// `slot` no longer holds `node`: its names of blocks in that edge go.
    mutating func dropExternals(of node: Cells.Index, _ slot: Slot) {
        var cell = cells[node: node].externals
        while cell != 0 {
            let block = cells[external: cell]
            if block.slot == slot && block.end > cells[node: node].depth { removeExternal(cell) }
            cell = block.nodeNext
        }
    }

    /// `node` goes: what it still carries are names of blocks above it.
    mutating func moveExternals(from node: Cells.Index) {
        let parent = cells[node: node].parent
        while cells[node: node].externals != 0 {
            let cell = cells[node: node].externals
            if cells[external: cell].end > cells[node: node].depth || parent == Self.root {
                removeExternal(cell)
            } else {
                unhang(cell)
                hang(cell, on: parent)
            }
        }
    }

    private func hang(_ cell: Cells.Index, on node: Cells.Index) {
        let first = cells[node: node].externals
        cells[external: cell].node = node
        cells[external: cell].nodePrevious = 0
        cells[external: cell].nodeNext = first
        if first != 0 { cells[external: first].nodePrevious = cell }
        cells[node: node].externals = cell
    }

    private func unhang(_ cell: Cells.Index) {
        let block = cells[external: cell]
        if block.nodePrevious != 0 {
            cells[external: block.nodePrevious].nodeNext = block.nodeNext
        } else {
            cells[node: block.node].externals = block.nodeNext
        }
        if block.nodeNext != 0 { cells[external: block.nodeNext].nodePrevious = block.nodePrevious }
    }
}
