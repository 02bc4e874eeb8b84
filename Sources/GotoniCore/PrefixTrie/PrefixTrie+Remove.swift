extension PrefixTrie {
    /// Takes back that `slot` holds block number `block` (from 0) of the path to `node`, and all that follows it there.
    /// `node` is any node at or below that block.
    mutating func disclaim(_ slot: Slot, from block: Int, at node: Cells.Index) {
        var node = node
        while node != Self.root && Int(cells[node: node].depth) > block { node = cells[node: node].parent }
        guard node != Self.root, block < cells[node: node].end, holding(node, slot) != .none else { return }
        let keep = block - Int(cells[node: node].depth)
        forgetChildren(of: node, slot)
        shorten(node, slot, to: keep)
    }

    /// Takes back that `slot` holds the blocks of this prompt behind the first `keep`, and whatever continues them.
    mutating func disclaim(_ slot: Slot, _ digests: UnsafePointer<UInt64>, _ count: Int, keep: Int) {
        guard keep < count else { return }
        let place = walk(digests, keep + 1) { _, _ in }
        if place.depth > keep { disclaim(slot, from: keep, at: place.node) }
    }

    /// Takes back that `slot` holds the blocks of this prompt behind the first `keep`, but nothing that leads to anything
    /// else it holds: a continuation, or another prompt with the same beginning. Blocks that it has named stay.
    mutating func withdraw(_ slot: Slot, _ digests: UnsafePointer<UInt64>, _ count: Int, keep: Int) {
        guard keep < count else { return }
        let place = walk(digests, count) { _, _ in }
        let isEnd = place.inside == cells[node: place.node].blocks
        guard place.depth == count, isEnd, heldSibling(cells[node: place.node].firstChild, slot) == 0 else { return }
        let kept = max(keep, named(slot, to: place))
        guard kept < count else { return }
        disclaim(slot, from: ownPart(of: slot, from: kept, to: place), at: place.node)
    }

    /// The first block from `start` on, on the way to `place`, that leads to nothing else that `slot` holds.
    ///
    /// An engine's block spans several of ours, so two of its blocks may begin alike and share some of ours; evicting
    /// one must leave the other its beginning.
    func ownPart(of slot: Slot, from start: Int, to place: Place) -> Int {
        var node = place.node
        while Int(cells[node: node].depth) > start {
            let parent = cells[node: node].parent
            var sibling = heldSibling(cells[node: parent].firstChild, slot)
            if sibling == node { sibling = heldSibling(cells[node: node].nextSibling, slot) }
            if sibling != 0 { return Int(cells[node: node].depth) }
            node = parent
        }
        return start
    }

    /// Forgets everything that `slot` holds.
    mutating func clear(_ slot: Slot) {
        while holders[Int(slot)].oldest != .none {
            let oldest = holders[Int(slot)].oldest
            drop(oldest, of: slot, at: node(of: oldest))
        }
    }

    /// Forgets every node.
    mutating func clear() {
        while oldest != 0 { dropNode(oldest) }
    }

    // MARK: Eviction

    /// Sets how many blocks `slot` may hold, and forgets what is over.
    mutating func setCapacity(_ slot: Slot, blocks: Int) {
        holders[Int(slot)].capacity = blocks
        trimToCapacity(slot)
    }

    /// Forgets the oldest blocks of `slot` from the tail of its oldest leaf until it holds no more than it may.
    mutating func trimToCapacity(_ slot: Slot) {
        while holders[Int(slot)].blocks > holders[Int(slot)].capacity {
            let before = holders[Int(slot)].blocks
            let node = node(of: holders[Int(slot)].oldest)
            shorten(node, slot, to: max(cells[node: node].blocks - (before - holders[Int(slot)].capacity), 0))
            counts.evictedByCapacity += UInt64(before - holders[Int(slot)].blocks)
        }
    }

    /// Forgets the least recently used node, which is a leaf, for all its holders.
    mutating func evictOldest() {
        counts.evictedByBudget += UInt64(cells[node: oldest].blocks)
        dropNode(oldest)
    }

    private mutating func dropNode(_ node: Cells.Index) {
        assert(cells[node: node].firstChild == 0)
        var left = cells[node: node].holderCount
        while left > 0 {
            let slot = anyHolder(of: node)
            drop(holding(node, slot), of: slot, at: node)
            left -= 1
        }
    }

    private func anyHolder(of node: Cells.Index) -> Slot {
        if cells[node: node].inlineSlot != noSlot { return cells[node: node].inlineSlot }
        let cell = cells[node: node].holders
        for place in 0..<HolderCell.places where cells[holders: cell].slots[place] != noSlot {
            return cells[holders: cell].slots[place]
        }
        return noSlot
    }

    // MARK: Steps

    /// Leaves `slot` only the first `keep` blocks of the edge of `node`, under which it holds nothing.
    private mutating func shorten(_ node: Cells.Index, _ slot: Slot, to keep: Int) {
        guard keep < cells[node: node].blocks else { return }
        if keep > 0 {
            let count = Int(cells[node: node].holderCount)
            if count == 1 {
                cutTail(node, slot, to: keep)
                return
            }
            if freeCells >= 2 + Self.holderCells(for: count) {
                _ = split(node, at: keep)  // `node` is now the part to forget
            }
            // Without a cell to split with the whole edge is forgotten: less credit, never wrong credit.
        }
        drop(holding(node, slot), of: slot, at: node)
    }

    /// Frees the end of an edge that only `slot` holds and that has no children.
    private mutating func cutTail(_ node: Cells.Index, _ slot: Slot, to keep: Int) {
        let run = cells[node: node].run
        let dropped = Int(run.count) - keep
        var last = RunCursor(cells, run)
        last.skip(keep - 1)
        var cell = cells.next(last.cell)
        for _
            in 0..<(Run.cells(for: Int(run.count), offset: Int(run.offset))
            - Run.cells(for: keep, offset: Int(run.offset)))
        {
            let next = cells.next(cell)
            giveBack(cell)
            cell = next
        }
        cells[node: node].run.count = UInt32(keep)
        holders[Int(slot)].blocks -= dropped
        counts.blocks -= dropped
    }

    /// Takes `slot` off a node under which it holds nothing. The node goes with its last holder.
    private mutating func drop(_ holding: Holding, of slot: Slot, at node: Cells.Index) {
        dropExternals(of: node, slot)
        leaveOrder(holding, of: slot)
        removeHolder(node, holding)
        holders[Int(slot)].blocks -= cells[node: node].blocks
        if cells[node: node].holderCount == 0 { freeNode(node) }
    }

    private mutating func freeNode(_ node: Cells.Index) {
        assert(cells[node: node].firstChild == 0 && cells[node: node].holders == 0)
        counts.nodes -= 1
        counts.blocks -= cells[node: node].blocks
        moveExternals(from: node)
        leaveOrder(node)
        leaveHash(node)
        unlinkChild(node)
        freeRun(cells[node: node].run)
        giveBack(node)
    }

    /// Takes `slot` off everything below `top`, children before parents.
    private mutating func forgetChildren(of top: Cells.Index, _ slot: Slot) {
        var node = heldSibling(cells[node: top].firstChild, slot)
        while node != 0 {
            let below = heldSibling(cells[node: node].firstChild, slot)
            if below != 0 {
                node = below
                continue
            }
            // Nothing of the server is left below `node`: drop it, go on with its next sibling or its parent.
            let parent = cells[node: node].parent
            let next = heldSibling(cells[node: node].nextSibling, slot)
            drop(holding(node, slot), of: slot, at: node)
            node = next != 0 ? next : (parent == top ? 0 : parent)
        }
    }

    /// The first of `node` and its following siblings that `slot` holds.
    private func heldSibling(_ node: Cells.Index, _ slot: Slot) -> Cells.Index {
        var node = node
        while node != 0 && holding(node, slot) == .none { node = cells[node: node].nextSibling }
        return node
    }
}
