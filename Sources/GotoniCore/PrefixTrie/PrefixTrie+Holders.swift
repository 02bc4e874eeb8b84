// The servers of a node: one inline, the rest in a chain of holder cells, five to a cell, in no order.

extension PrefixTrie {
    /// Calls `body` with each server of `node`.
    @inline(__always) func forEachHolder(of node: Cells.Index, _ body: (Slot, Holding) -> Void) {
        let inline = cells[node: node].inlineSlot
        if inline != noSlot { body(inline, Holding(node, place: Holding.inlinePlace)) }
        var cell = cells[node: node].holders
        while cell != 0 {
            for place in 0..<HolderCell.places {
                let slot = cells[holders: cell].slots[place]
                if slot != noSlot { body(slot, Holding(cell, place: UInt32(place))) }
            }
            cell = cells[holders: cell].next
        }
    }

    /// Where `slot` holds `node`, or none.
    func holding(_ node: Cells.Index, _ slot: Slot) -> Holding {
        if cells[node: node].inlineSlot == slot { return Holding(node, place: Holding.inlinePlace) }
        var cell = cells[node: node].holders
        while cell != 0 {
            for place in 0..<HolderCell.places where cells[holders: cell].slots[place] == slot {
                return Holding(cell, place: UInt32(place))
            }
            cell = cells[holders: cell].next
        }
        return .none
    }

    /// Cells that `addHolder` may take for a node that gets one holder more.
    static let cellsPerAddedHolder = 1

    /// Cells for the chain of a new node with `count` holders.
    static func holderCells(for count: Int) -> Int {
        (max(count - 1, 0) + HolderCell.places - 1) / HolderCell.places
    }

    /// Adds `slot` to `node`, in no order yet. It must not hold it, and a cell must be free.
    mutating func addHolder(_ node: Cells.Index, _ slot: Slot) -> Holding {
        let holding = emptyPlace(node)
        if holding.isInline {
            cells[node: node].inlineSlot = slot
        } else {
            cells[holders: holding.cell].slots[holding.place] = slot
        }
        cells[node: node].holderCount += 1
        return holding
    }

    private mutating func emptyPlace(_ node: Cells.Index) -> Holding {
        let found = holding(node, noSlot)
        if found != .none { return found }
        let cell = takeCell()
        cells[holders: cell] = HolderCell(node: node, next: cells[node: node].holders)
        cells[node: node].holders = cell
        return Holding(cell, place: 0)
    }

    /// Takes `slot` off `node`, in which it must be in no order any more, and frees a chain cell that became empty.
    mutating func removeHolder(_ node: Cells.Index, _ holding: Holding) {
        cells[node: node].holderCount -= 1
        guard !holding.isInline else {
            cells[node: node].inlineSlot = noSlot
            return
        }
        cells[holders: holding.cell].slots[holding.place] = noSlot
        for place in 0..<HolderCell.places where cells[holders: holding.cell].slots[place] != noSlot { return }
        unchain(holding.cell, from: node)
    }

    private mutating func unchain(_ cell: Cells.Index, from node: Cells.Index) {
        let next = cells[holders: cell].next
        if cells[node: node].holders == cell {
            cells[node: node].holders = next
        } else {
            var before = cells[node: node].holders
            while cells[holders: before].next != cell { before = cells[holders: before].next }
            cells[holders: before].next = next
        }
        giveBack(cell)
    }
}
