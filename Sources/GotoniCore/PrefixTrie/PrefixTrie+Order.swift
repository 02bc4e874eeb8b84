// The two orders of last use: over all nodes, and per server over what it holds. Both are doubly linked lists whose
// links lie in the nodes and holder cells.

extension PrefixTrie {
    // MARK: Nodes

    /// Puts a node that is in no order to the newest end.
    mutating func enterOrder(_ node: Cells.Index) {
        cells[node: node].newer = 0
        cells[node: node].older = newest
        if newest != 0 { cells[node: newest].newer = node } else { oldest = node }
        newest = node
    }

    /// Puts a node that is in no order right before `child` on its newer side.
    mutating func enterOrder(_ node: Cells.Index, newerThan child: Cells.Index) {
        let newer = cells[node: child].newer
        cells[node: node].older = child
        cells[node: node].newer = newer
        cells[node: child].newer = node
        if newer != 0 { cells[node: newer].older = node } else { newest = node }
    }

    mutating func leaveOrder(_ node: Cells.Index) {
        let (newer, older) = (cells[node: node].newer, cells[node: node].older)
        if newer != 0 { cells[node: newer].older = older } else { newest = older }
        if older != 0 { cells[node: older].newer = newer } else { oldest = newer }
    }

    mutating func touch(_ node: Cells.Index) {
        guard newest != node else { return }
        leaveOrder(node)
        enterOrder(node)
    }

    // MARK: Holdings of a server

    @inline(__always) func newer(_ holding: Holding) -> Holding {
        holding.isInline ? cells[node: holding.cell].inlineNewer : cells[holders: holding.cell].newer[holding.place]
    }

    @inline(__always) func older(_ holding: Holding) -> Holding {
        holding.isInline ? cells[node: holding.cell].inlineOlder : cells[holders: holding.cell].older[holding.place]
    }

    @inline(__always) func setNewer(_ holding: Holding, _ value: Holding) {
        if holding.isInline {
            cells[node: holding.cell].inlineNewer = value
        } else {
            cells[holders: holding.cell].newer[holding.place] = value
        }
    }

    @inline(__always) func setOlder(_ holding: Holding, _ value: Holding) {
        if holding.isInline {
            cells[node: holding.cell].inlineOlder = value
        } else {
            cells[holders: holding.cell].older[holding.place] = value
        }
    }

    /// The node that is held.
    @inline(__always) func node(of holding: Holding) -> Cells.Index {
        holding.isInline ? holding.cell : cells[holders: holding.cell].node
    }

    mutating func enterOrder(_ holding: Holding, of slot: Slot) {
        let newest = holders[Int(slot)].newest
        setNewer(holding, .none)
        setOlder(holding, newest)
        if newest != .none { setNewer(newest, holding) } else { holders[Int(slot)].oldest = holding }
        holders[Int(slot)].newest = holding
    }

    mutating func enterOrder(_ holding: Holding, of slot: Slot, newerThan child: Holding) {
        let newer = newer(child)
        setOlder(holding, child)
        setNewer(holding, newer)
        setNewer(child, holding)
        if newer != .none { setOlder(newer, holding) } else { holders[Int(slot)].newest = holding }
    }

    mutating func leaveOrder(_ holding: Holding, of slot: Slot) {
        let (newer, older) = (newer(holding), older(holding))
        if newer != .none { setOlder(newer, older) } else { holders[Int(slot)].newest = older }
        if older != .none { setNewer(older, newer) } else { holders[Int(slot)].oldest = newer }
    }

    mutating func touch(_ holding: Holding, of slot: Slot) {
        guard holders[Int(slot)].newest != holding else { return }
        leaveOrder(holding, of: slot)
        enterOrder(holding, of: slot)
    }
}
