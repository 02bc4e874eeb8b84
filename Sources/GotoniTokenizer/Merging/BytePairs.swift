internal import GotoniCore

/// Byte pair encoding of one word, as everybody's: of all neighbours that can be merged those with the lowest rank are,
/// the leftmost first, until none can (Sennrich et al. 2016, arXiv 1508.07909, on bytes as GPT-2 has it).
struct BytePairs: ~Copyable {
    let merges: MergeTable
    /// The token of each byte, and what becomes of two bytes: most lookups for a word are of these.
    private let byteIDs: Buffer<UInt32>
    private let bytePairs: Buffer<MergeTable.Merge>

    /// `byteIDs`: 256 of them. `MergeTable.none`: a byte without a token, which text never has.
    init(_ merges: consuming MergeTable, byteIDs: consuming Buffer<UInt32>) throws(TokenizerError) {
        bytePairs = try makeBuffer(1 << 16)
        for left in 0..<256 {
            for right in 0..<256 { bytePairs[left << 8 | right] = merges.merge(byteIDs[left], byteIDs[right]) }
        }
        self.merges = merges
        self.byteIDs = byteIDs
    }

    /// Longer words are merged with a heap.
    static let longestScanned = 96

    /// What merging needs; one for each thread.
    struct Workspace: ~Copyable {
        fileprivate var ids: Buffer<UInt32>
        fileprivate var merges: Buffer<MergeTable.Merge>
        fileprivate var next: Buffer<UInt32>
        fileprivate var previous: Buffer<UInt32>
        fileprivate var heap: List<UInt64>

        private init(
            _ ids: consuming Buffer<UInt32>, _ merges: consuming Buffer<MergeTable.Merge>,
            _ next: consuming Buffer<UInt32>,
            _ previous: consuming Buffer<UInt32>, _ heap: consuming List<UInt64>
        ) {
            self.ids = ids
            self.merges = merges
            self.next = next
            self.previous = previous
            self.heap = heap
        }

        static func make() throws(TokenizerError) -> Workspace {
            Workspace(
                try makeBuffer(256), try makeBuffer(256), try makeBuffer(1), try makeBuffer(1), try List(capacity: 256))
        }

        fileprivate mutating func room(_ count: Int, isLong: Bool) throws(TokenizerError) {
            if ids.count < count {
                ids = try makeBuffer(count * 2)
                merges = try makeBuffer(count * 2)
            }
            if isLong, next.count < count {
                next = try makeBuffer(count * 2)
                previous = try makeBuffer(count * 2)
            }
        }

        /// Gives back what a long word needed.
        mutating func shrink() {
            guard ids.count > 1 << 16, let small = try? Workspace.make() else { return }
            self = small
        }
    }

    /// Appends the tokens of `word`, which is not empty.
    func encode(_ word: Bytes, _ work: inout Workspace, into out: inout List<UInt32>) throws(TokenizerError) {
        let isLong = word.count > Self.longestScanned
        try work.room(word.count, isLong: isLong)
        let ids = work.ids.base, found = work.merges.base
        for index in 0..<word.count { ids[index] = byteIDs[Int(word[index])] }
        for index in 0..<(word.count - 1) {
            found[index] = bytePairs[Int(word[index]) << 8 | Int(word[index + 1])]
        }
        found[word.count - 1] = .none
        let count = isLong ? try mergeByHeap(word.count, &work) : mergeByScan(word.count, ids, found)
        try out.append(UnsafeBufferPointer(start: work.ids.base, count: count))
    }

    /// `found[i]` is what `ids[i]` and `ids[i + 1]` become. Returns how many are left.
    @inline(__always) private func mergeByScan(
        _ length: Int, _ ids: UnsafeMutablePointer<UInt32>, _ found: UnsafeMutablePointer<MergeTable.Merge>
    ) -> Int {
        var count = length
        while count > 1 {
            var best = MergeTable.none
            var place = 0
            for index in 0..<(count - 1) where found[index].rank < best {
                best = found[index].rank
                place = index
            }
            guard best != MergeTable.none else { break }
            ids[place] = found[place].id
            count -= 1
            let rest = count - place - 1
            if rest > 0 {
                (ids + place + 1).copy(from: ids + place + 2, count: rest)
                (found + place).copy(from: found + place + 1, count: rest + 1)
                found[place] = merges.merge(ids[place], ids[place + 1])
            } else {
                found[place] = .none
            }
            if place > 0 { found[place - 1] = merges.merge(ids[place - 1], ids[place]) }
        }
        return count
    }

    /// The same with a linked list and a heap of (rank, place): n log n, for long words.
    private func mergeByHeap(_ length: Int, _ work: inout Workspace) throws(TokenizerError) -> Int {
        let ids = work.ids.base, found = work.merges.base, next = work.next.base, previous = work.previous.base
        work.heap.clear()
        for index in 0..<length {
            next[index] = UInt32(index + 1)
            // Of the first it is nobody's place.
            previous[index] = UInt32(truncatingIfNeeded: index &- 1)
            if found[index].rank != MergeTable.none { try push(found[index].rank, index, &work.heap) }
        }
        while let top = pop(&work.heap) {
            let place = Int(truncatingIfNeeded: top & 0xFFFF_FFFF)
            // Merged away or merged otherwise since then.
            guard found[place].rank == UInt32(truncatingIfNeeded: top >> 32) else { continue }
            let gone = Int(next[place])
            ids[place] = found[place].id
            found[gone] = .none
            next[place] = next[gone]
            let after = Int(next[gone])
            if after < length {
                previous[after] = UInt32(place)
                found[place] = merges.merge(ids[place], ids[after])
                if found[place].rank != MergeTable.none { try push(found[place].rank, place, &work.heap) }
            } else {
                found[place] = .none
            }
            let before = Int(previous[place])
            if before < length {
                found[before] = merges.merge(ids[before], ids[place])
                if found[before].rank != MergeTable.none { try push(found[before].rank, before, &work.heap) }
            }
        }
        var (count, index) = (0, 0)
        while index < length {
            ids[count] = ids[index]
            count += 1
            index = Int(next[index])
        }
        return count
    }

    private func push(_ rank: UInt32, _ place: Int, _ heap: inout List<UInt64>) throws(TokenizerError) {
        let entry = UInt64(rank) << 32 | UInt64(place)
        try heap.append(entry)
        let entries = heap.elements
        var index = entries.count - 1
        while index > 0, entries[(index - 1) / 2] > entry {
            entries[index] = entries[(index - 1) / 2]
            index = (index - 1) / 2
        }
        entries[index] = entry
    }

    private func pop(_ heap: inout List<UInt64>) -> UInt64? {
        guard heap.count > 0 else { return nil }
        let top = heap.elements[0]
        let last = heap.elements[heap.count - 1]
        heap.removeLast()
        let entries = heap.elements
        guard entries.count > 0 else { return top }
        var index = 0
        while true {
            var child = 2 * index + 1
            guard child < entries.count else { break }
            if child + 1 < entries.count, entries[child + 1] < entries[child] { child += 1 }
            guard entries[child] < last else { break }
            entries[index] = entries[child]
            index = child
        }
        entries[index] = last
        return top
    }
}
