// Names of nodes held from outside the trie: an external block (`ExternalBlocks`) names the node at or below its end.
//
// A split keeps a node's number for its lower half, so whatever a name means is in that node or above it. When a named
// node is forgotten, what is above it may live on: its cell then stays, empty, and leads to its parent, until the last
// name has moved on or is given up. That takes at most one cell per name, and no search ever.

extension PrefixTrie {
    /// A forgotten node has no holders; the root never had any.
    @inline(__always) func isForgotten(_ node: Cells.Index) -> Bool {
        node != Self.root && cells[node: node].holderCount == 0
    }

    func retain(_ node: Cells.Index) { cells[node: node].names += 1 }

    /// Gives up a name. Forgotten nodes that nobody names any more go.
    mutating func release(_ node: Cells.Index) {
        var node = node
        cells[node: node].names -= 1
        while isForgotten(node) && cells[node: node].names == 0 {
            let parent = cells[node: node].parent
            counts.forgotten -= 1
            giveBackNode(node)
            node = parent
            cells[node: node].names -= 1
        }
    }

    /// The living node that `node` leads to, the root if nothing of it lives.
    func living(_ node: Cells.Index) -> Cells.Index {
        var node = node
        while isForgotten(node) { node = cells[node: node].parent }
        return node
    }

    /// Keeps the cell of a node that is gone from the trie but named.
    mutating func forgetNamed(_ node: Cells.Index) {
        counts.forgotten += 1
        retain(cells[node: node].parent)
    }

    mutating func giveBackNode(_ node: Cells.Index) {
        cells.markNode(node, false)
        giveBack(node)
    }
}
