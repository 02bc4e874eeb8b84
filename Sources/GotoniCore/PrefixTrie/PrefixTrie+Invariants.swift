// The promises of the trie as code. Tests and `gotoni_router_check` call them after every step they care about.

extension PrefixTrie {
    /// The first promise that is broken, in words; nil if all hold. `otherCells`: cells in use by others.
    func violation(otherCells: Int) throws(RouterError) -> StaticString? {
        if bytes > budget { return "bytes exceed the budget" }
        var found = Tally()
        if let broken = checkNodes(&found) { return broken }
        if found.nodes != counts.nodes { return "a node is not reachable from the root" }
        if found.externals != externals.items { return "a name hangs on no node" }
        if found.blocks != counts.blocks { return "the block count is wrong" }
        if 1 + found.cells + otherCells != usedCells { return "a cell is lost or counted twice" }
        if !nodeOrderIsSound(try Buffer(count: Int(untouched))) { return "the order of nodes is broken" }
        return checkHolders(found, try Buffer(count: Int(untouched)))
    }

    private struct Tally {
        var nodes = 0
        var blocks = 0
        var cells = 0
        var holdings = 0
        var externals = 0
    }

    /// Visits all nodes over the child lists, without recursion.
    private func checkNodes(_ found: inout Tally) -> StaticString? {
        var node = cells[node: Self.root].firstChild
        while node != 0 {
            if let broken = check(node, &found) { return broken }
            if cells[node: node].firstChild != 0 {
                node = cells[node: node].firstChild
                continue
            }
            while node != Self.root && cells[node: node].nextSibling == 0 { node = cells[node: node].parent }
            if node != Self.root { node = cells[node: node].nextSibling }
        }
        return nil
    }

    private func check(_ index: Cells.Index, _ found: inout Tally) -> StaticString? {
        let node = cells[node: index]
        let parent = cells[node: node.parent]
        if node.run.count == 0 { return "an edge is empty" }
        if Int(node.depth) != parent.end { return "a depth is wrong" }
        if node.nextSibling != 0 && cells[node: node.nextSibling].previousSibling != index {
            return "siblings disagree"
        }
        // Finding itself also says that no sibling has the same first digest.
        if child(of: node.parent, firstDigest(index)) != index { return "a child is not found by its first digest" }

        var holderCount = 0
        var nested = true
        forEachHolder(of: index) { slot, holding in
            holderCount += 1
            if node.parent != Self.root && self.holding(node.parent, slot) == .none { nested = false }
            if self.holding(index, slot) != holding || self.node(of: holding) != index { nested = false }
        }
        if holderCount == 0 { return "a node has no holder" }
        if holderCount != Int(node.holderCount) { return "a holder count is wrong" }
        if !nested { return "a holder does not hold the parent, or twice the node" }

        found.nodes += 1
        found.blocks += node.blocks
        found.holdings += holderCount
        found.cells += 1 + Run.cells(for: node.blocks, offset: Int(node.run.offset))
        var cell = node.holders
        while cell != 0 {
            found.cells += 1
            cell = cells[holders: cell].next
        }
        return checkExternals(of: index, &found)
    }

    private func checkExternals(of node: Cells.Index, _ found: inout Tally) -> StaticString? {
        var cell = cells[node: node].externals
        var previous: Cells.Index = 0
        while cell != 0 {
            let block = cells[external: cell]
            if block.node != node || block.nodePrevious != previous { return "a name hangs on another node" }
            if external(block.slot, block.hash) != cell { return "a name is not found" }
            found.cells += 1
            found.externals += 1
            previous = cell
            cell = block.nodeNext
        }
        return nil
    }

    /// Every node is in the order once, linked both ways, and behind its parent.
    /// `rank` is zeroed room for a number per cell.
    private func nodeOrderIsSound(_ rank: borrowing Buffer<UInt32>) -> Bool {
        var seen: UInt32 = 0
        var node = newest
        var newer: Cells.Index = 0
        while node != 0 {
            seen += 1
            let entry = cells[node: node]
            let wasSeen = rank[Int(node)] != 0
            let parentSeen = entry.parent == Self.root ? true : rank[Int(entry.parent)] != 0
            if entry.newer != newer || wasSeen || !parentSeen || Int(seen) > counts.nodes { return false }
            rank[Int(node)] = seen
            newer = node
            node = entry.older
        }
        return Int(seen) == counts.nodes && oldest == newer
    }

    /// Every server's order has exactly its holdings, parents first, and its sum is right.
    /// `seenFor` is zeroed room for a number per cell.
    private func checkHolders(_ found: Tally, _ seenFor: borrowing Buffer<UInt32>) -> StaticString? {
        var holdings = 0
        for slot in 0..<holders.count where holders[slot].oldest != .none || holders[slot].blocks != 0 {
            var blocks = 0
            var newer = Holding.none
            var holding = holders[slot].newest
            while holding != .none {
                let node = node(of: holding)
                let parent = cells[node: node].parent
                if self.newer(holding) != newer || self.slot(of: holding) != Slot(slot) {
                    return "a server's order is broken"
                }
                let parentSeen = parent == Self.root ? true : seenFor[Int(parent)] == UInt32(slot) + 1
                if !parentSeen { return "a server's child is newer than its parent" }
                seenFor[Int(node)] = UInt32(slot) + 1
                blocks += cells[node: node].blocks
                holdings += 1
                if holdings > found.holdings { return "a server's order has a loop" }
                newer = holding
                holding = older(holding)
            }
            if holders[slot].oldest != newer { return "a server's order has a wrong end" }
            if blocks != holders[slot].blocks { return "a server's sum of blocks is wrong" }
            if blocks > holders[slot].capacity { return "a server holds more than its capacity" }
        }
        return holdings == found.holdings ? nil : "a holding is in no order"
    }
}
