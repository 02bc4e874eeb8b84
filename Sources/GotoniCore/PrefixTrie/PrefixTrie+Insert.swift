extension PrefixTrie {
    /// What came of a claim.
    struct Claim {
        /// The deepest node of the prompt's path, the root if nothing was claimed.
        var node: Cells.Index
        /// Blocks held from the root on, at the end.
        var depth: Int
        /// Blocks the server held before.
        var before: Int
        /// The budget had no room for all of it.
        var truncated: Bool
    }

    /// Notes that `slot` holds the blocks `digests` behind `start` and everything before them, as its newest ones.
    ///
    /// At most its capacity from the root is claimed: the tail could not be in its cache.
    mutating func claim(
        _ slot: Slot, _ digests: UnsafePointer<UInt64>, _ count: Int, from start: Place = Place()
    ) -> Claim {
        let most = min(holders[Int(slot)].capacity, Self.longestPath)
        let count = min(count, max(most - start.depth, 0))
        var place = walk(digests, count, from: start) { _, _ in }
        var fresh = count - (place.depth - start.depth)
        let newDigests = digests + (count - fresh)

        // Touch the path first: eviction takes the oldest, and must not take what we stand on.
        let path = touchPath(to: place.node, slot)
        let (room, truncated) = makeRoom(for: fresh, at: place, path)
        let before = min(path.held, place.depth)
        if truncated { counts.truncated += 1 }
        guard let room else { return Claim(node: Self.root, depth: 0, before: before, truncated: true) }
        fresh = room

        if place.inside < cells[node: place.node].blocks { place.node = split(place.node, at: place.inside) }
        if fresh > 0 {
            if canExtend(place.node, slot) {
                extend(place.node, slot, newDigests, fresh)
            } else {
                place.node = addChild(of: place.node, newDigests, fresh)
            }
        }
        claimPath(to: place.node, slot)
        trimToCapacity(slot)
        return Claim(node: place.node, depth: place.depth + fresh, before: before, truncated: truncated)
    }

    /// Depths are 32 bits wide.
    private static let longestPath = Int(Int32.max)

    private struct Path {
        /// Nodes of the path that the server does not hold.
        var missing = 0
        /// Blocks of the path that it holds.
        var held = 0
    }

    /// Makes the nodes from `node` up to the root the newest ones, the root's child last.
    private mutating func touchPath(to node: Cells.Index, _ slot: Slot) -> Path {
        var path = Path()
        var node = node
        while node != Self.root {
            touch(node)
            if holding(node, slot) == .none {
                path.missing += 1
            } else {
                path.held = max(path.held, cells[node: node].end)
            }
            node = cells[node: node].parent
        }
        return path
    }

    /// Frees cells for a claim at `place` with `fresh` new blocks by forgetting the oldest leaves. Gives how many new
    /// blocks fit; nil if not even the claim of the path does.
    private mutating func makeRoom(for fresh: Int, at place: Place, _ path: Path) -> (blocks: Int?, truncated: Bool) {
        let splitsNothing = place.inside == cells[node: place.node].blocks
        if fresh == 0 && path.missing == 0 && splitsNothing { return (0, false) }
        // A split: a node, the run cell it cuts, the chain of its copied holders.
        let holderCells = Self.holderCells(for: Int(cells[node: place.node].holderCount))
        let splitting = splitsNothing ? 0 : 2 + holderCells
        let fixed = splitting + (path.missing + 2) * Self.cellsPerAddedHolder + 1
        // One claim may fill at most half of the trie: a single absurd prompt shall not wipe it out.
        let most = min(fresh, cells.count / 2 * Cells.digestsPerCell)
        let wanted = fixed + Run.cells(for: most) + 1
        while freeCells < wanted && oldest != 0 && oldest != place.node { evictOldest() }
        if freeCells < fixed { return (nil, true) }
        let fitting = min(most, max(freeCells - fixed - 1, 0) * Cells.digestsPerCell)
        return (fitting, fitting < fresh)
    }

    /// Whether a longer prompt may lengthen the edge of `node` instead of hanging a child under it: it is the server's
    /// alone and nothing continues it. A growing conversation thus stays one node.
    private func canExtend(_ node: Cells.Index, _ slot: Slot) -> Bool {
        node != Self.root && cells[node: node].firstChild == 0 && cells[node: node].holderCount == 1
            && holding(node, slot) != .none
    }

    private mutating func extend(_ node: Cells.Index, _ slot: Slot, _ digests: UnsafePointer<UInt64>, _ count: Int) {
        let run = cells[node: node].run
        var last = RunCursor(cells, run)
        last.skip(Int(run.count) - 1)
        // Fill the last cell, then append a run for the rest.
        let room = min(Cells.digestsPerCell - 1 - last.position, count)
        for i in 0..<room { cells.setDigest(last.cell, last.position + 1 + i, digests[i]) }
        let tail = makeRun(digests + room, count - room)
        cells.setNext(last.cell, tail.first)
        cells[node: node].run.count += UInt32(count)
        holders[Int(slot)].blocks += count
        counts.blocks += count
    }

    private mutating func addChild(of parent: Cells.Index, _ digests: UnsafePointer<UInt64>, _ count: Int)
        -> Cells.Index
    {
        let node = newChild(of: parent, digests, count)
        enterOrder(node)
        return node
    }

    /// A new node under `parent`, which has no such child, in no order and without holders yet.
    /// `1 + Run.cells(for: count)` cells must be free.
    mutating func newChild(of parent: Cells.Index, _ digests: UnsafePointer<UInt64>, _ count: Int) -> Cells.Index {
        let run = makeRun(digests, count)
        let node = takeNode()
        cells[node: node].depth = UInt32(cells[node: parent].end)
        cells[node: node].run = run
        linkChild(node, under: parent)
        enterHash(node)
        counts.blocks += count
        return node
    }

    private mutating func takeNode() -> Cells.Index {
        let node = takeCell()
        cells[node: node] = Node()
        counts.nodes += 1
        return node
    }

    /// Puts `slot` on every node from `node` up and makes them its newest, the root's child last.
    private mutating func claimPath(to node: Cells.Index, _ slot: Slot) {
        var node = node
        while node != Self.root {
            touch(node)
            let held = holding(node, slot)
            if held != .none {
                touch(held, of: slot)
            } else {
                let added = addHolder(node, slot)
                enterOrder(added, of: slot)
                holders[Int(slot)].blocks += cells[node: node].blocks
            }
            node = cells[node: node].parent
        }
    }

    /// Cuts the edge of `node` after `inside` blocks. The new upper half is returned; `node` keeps its number as the
    /// lower half, with its children. Both have all holders, and both keep their place in every order: the upper half
    /// right before the lower one, on the newer side. `2 + holderCells` cells must be free.
    mutating func split(_ node: Cells.Index, at inside: Int) -> Cells.Index {
        assert(inside > 0 && inside < cells[node: node].blocks)
        let upper = takeNode()
        leaveHash(node)
        unlinkChild(node)

        let run = cells[node: node].run
        cells[node: upper].run = Run(first: run.first, offset: run.offset, count: UInt32(inside))
        cells[node: upper].depth = cells[node: node].depth
        cells[node: node].run = cutRun(run, at: inside)
        cells[node: node].depth += UInt32(inside)

        linkChild(upper, under: cells[node: node].parent)
        linkChild(node, under: upper)
        enterHash(upper)
        enterHash(node)
        enterOrder(upper, newerThan: node)

        // The chain of `node` does not change while `upper`'s grows, so it can be walked with a plain cursor.
        if cells[node: node].inlineSlot != noSlot { copyHolder(Holding(node, place: Holding.inlinePlace), to: upper) }
        var cell = cells[node: node].holders
        while cell != 0 {
            for place in 0..<HolderCell.places where cells[holders: cell].slots[place] != noSlot {
                copyHolder(Holding(cell, place: UInt32(place)), to: upper)
            }
            cell = cells[holders: cell].next
        }
        return upper
    }

    private mutating func copyHolder(_ lower: Holding, to upper: Cells.Index) {
        let slot = slot(of: lower)
        let holding = addHolder(upper, slot)
        enterOrder(holding, of: slot, newerThan: lower)
    }

    @inline(__always) func slot(of holding: Holding) -> Slot {
        holding.isInline ? cells[node: holding.cell].inlineSlot : cells[holders: holding.cell].slots[holding.place]
    }

    /// Separates a run after `count` digests and returns the rest. A cut inside a cell copies that cell.
    private mutating func cutRun(_ run: Run, at count: Int) -> Run {
        var last = RunCursor(cells, run)
        last.skip(count - 1)
        var rest = Run(first: 0, offset: 0, count: run.count - UInt32(count))
        if last.position + 1 == Cells.digestsPerCell {
            rest.first = cells.next(last.cell)
        } else {
            let copy = takeCell()
            cells.copyDigests(from: last.cell, to: copy)
            cells.setNext(copy, cells.next(last.cell))
            rest.first = copy
            rest.offset = UInt32(last.position + 1)
        }
        return rest
    }
}
