/// What the prefix trie should do, as simply as it can be said: per server a set of blocks with the time of their last
/// use. A block is known by its parent block and its tokens.
struct NaiveTrie {
    private struct Block: Hashable {
        var parent: Int
        var tokens: [UInt32]
    }

    let blockTokens: Int
    private var ids: [Block: Int] = [:]
    private var parents = [0]
    private var held: [[Int: Int]]
    private(set) var capacity: [Int]
    private var time = 0

    init(blockTokens: Int, servers: Int) {
        self.blockTokens = blockTokens
        held = Array(repeating: [:], count: servers)
        capacity = Array(repeating: 0, count: servers)
    }

    /// The blocks of a prompt from the first on; the namespace stands before the first.
    private mutating func path(_ namespace: UInt64, _ tokens: [UInt32]) -> [Int] {
        var parent = -1 - Int(namespace)
        return (0..<tokens.count / blockTokens).map { index in
            let block = Block(parent: parent, tokens: Array(tokens[index * blockTokens..<(index + 1) * blockTokens]))
            if ids[block] == nil {
                ids[block] = parents.count
                parents.append(parent)
            }
            parent = ids[block]!
            return parent
        }
    }

    mutating func claim(_ server: Int, _ namespace: UInt64, _ tokens: [UInt32]) {
        time += 1
        for id in path(namespace, tokens).prefix(capacity[server]) { held[server][id] = time }
        trim(server)
    }

    mutating func disclaim(_ server: Int, _ namespace: UInt64, _ tokens: [UInt32], keep: Int) {
        let path = path(namespace, tokens)
        guard keep < path.count, held[server][path[keep]] != nil else { return }
        var gone: Set<Int> = [path[keep]]
        // A block's number is larger than its parent's.
        for id in held[server].keys.sorted() where gone.contains(parents[id]) { gone.insert(id) }
        for id in gone { held[server][id] = nil }
    }

    mutating func clear(_ server: Int) { held[server] = [:] }

    mutating func setCapacity(_ server: Int, _ blocks: Int) {
        capacity[server] = blocks
        trim(server)
    }

    private mutating func trim(_ server: Int) {
        while held[server].count > capacity[server] {
            let inner = Set(held[server].keys.map { parents[$0] })
            let oldestLeaf = held[server].filter { !inner.contains($0.key) }.min { $0.value < $1.value }!
            held[server][oldestLeaf.key] = nil
        }
    }

    mutating func match(_ namespace: UInt64, _ tokens: [UInt32]) -> [UInt32] {
        let path = path(namespace, tokens)
        return held.map { held in UInt32(path.prefix { held[$0] != nil }.count) }
    }

    func heldBlocks(_ server: Int) -> Int { held[server].count }
    var distinctBlocks: Int { Set(held.flatMap(\.keys)).count }
}
