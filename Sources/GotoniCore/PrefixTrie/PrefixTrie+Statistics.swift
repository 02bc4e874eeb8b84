/// The shape of a prefix trie. Lengths and depths are in tokens. The eight figures of the original system, and bytes.
public struct PrefixStatistics: Equatable, Sendable {
    /// Nodes, the root included.
    public var nodes = 0
    /// Nodes without children; the root alone is a leaf.
    public var leaves = 0
    /// Deepest leaf, and the mean over leaves.
    public var maxDepth = 0
    public var averageDepth = 0.0
    /// Children per node that has any; 0 if none has.
    public var averageBranching = 0.0
    /// Tokens per node, the root counting with none.
    public var averagePrefixLength = 0.0
    /// Sum over nodes of the servers that hold it.
    public var totalServerReferences = 0
    /// Servers that hold anything.
    public var uniqueServers = 0
    /// Distinct tokens in the trie.
    public var heldTokens = 0
    /// Memory in use, of the budget.
    public var bytes = 0
    public var budgetBytes = 0
}

extension PrefixTrie {
    /// Bytes in use: cells, and the buckets of both tables.
    var bytes: Int { usedCells * Cells.size + (children.buckets + externals.buckets) * 4 }

    /// Walks all nodes, in the order of last use, which has every one but the root.
    func statistics() -> PrefixStatistics {
        var result = PrefixStatistics()
        var parents = 0
        var depths = 0
        func add(_ node: Node) {
            result.totalServerReferences += Int(node.holderCount)
            if node.firstChild != 0 {
                parents += 1
            } else {
                result.leaves += 1
                result.maxDepth = max(result.maxDepth, node.end * blockTokens)
                depths += node.end * blockTokens
            }
        }
        add(cells[node: Self.root])
        var node = newest
        while node != 0 {
            add(cells[node: node])
            node = cells[node: node].older
        }
        result.nodes = counts.nodes + 1
        result.heldTokens = counts.blocks * blockTokens
        result.averageDepth = Double(depths) / Double(result.leaves)
        result.averageBranching = parents == 0 ? 0 : Double(counts.nodes) / Double(parents)
        result.averagePrefixLength = Double(result.heldTokens) / Double(result.nodes)
        for slot in 0..<holders.count where holders[slot].blocks > 0 { result.uniqueServers += 1 }
        result.bytes = bytes
        result.budgetBytes = budget
        return result
    }
}
