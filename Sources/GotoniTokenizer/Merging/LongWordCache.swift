internal import CXXHash
internal import GotoniCore

/// The tokens of words that `WordCache` has no room for: runs of ideographs, mostly. When it is full it is emptied. Bytes
/// are compared, so a collision costs time and changes nothing. One thread at a time.
struct LongWordCache: ~Copyable {
    static let longestWord = 1 << 10

    /// A word's hash above, and below where its record begins in fours of bytes, plus one; 0: empty.
    private let slots: Buffer<UInt64>
    /// Records: the word's length, the number of its tokens, the word, zeros up to a whole four, the tokens.
    private let records: Buffer<UInt32>
    private var used = 0

    private init(_ slots: consuming Buffer<UInt64>, _ records: consuming Buffer<UInt32>) {
        self.slots = slots
        self.records = records
    }

    /// 1 MiB of records.
    static func make() throws(TokenizerError) -> LongWordCache {
        LongWordCache(try makeBuffer(1 << 13), try makeBuffer(1 << 18))
    }

    /// Nil: too long even for this.
    @inline(__always) static func hash(_ word: Bytes) -> UInt64? {
        word.count <= longestWord ? XXH3_64bits(word.baseAddress, word.count) : nil
    }

    private func slot(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: hash) & (slots.count - 1) }

    /// Appends the word's tokens, if it is there.
    func find(_ word: Bytes, _ hash: UInt64, into out: inout List<UInt32>) throws(TokenizerError) -> Bool {
        let slot = slots[slot(hash)]
        guard slot != 0, slot >> 32 == hash >> 32 else { return false }
        let record = records.base + (Int(slot & 0xFFFF_FFFF) - 1)
        guard record[0] == UInt32(word.count) else { return false }
        let text = UnsafeRawPointer(record + 2).assumingMemoryBound(to: UInt8.self)
        guard equal(Bytes(start: text, count: word.count), word) else { return false }
        try out.append(UnsafeBufferPointer(start: record + 2 + (word.count + 3) / 4, count: Int(record[1])))
        return true
    }

    mutating func insert(_ word: Bytes, _ hash: UInt64, _ ids: UnsafeBufferPointer<UInt32>) {
        guard let text = word.baseAddress, let tokens = ids.baseAddress else { return }
        let words = (word.count + 3) / 4
        if used + 2 + words + ids.count > records.count {
            used = 0
            slots.fill(slots.count, with: 0)
        }
        let record = records.base + used
        record[0] = UInt32(word.count)
        record[1] = UInt32(ids.count)
        UnsafeMutableRawPointer(record + 2).copyMemory(from: text, byteCount: word.count)
        (record + 2 + words).copy(from: tokens, count: ids.count)
        slots[slot(hash)] = (hash & ~0xFFFF_FFFF) | UInt64(used + 1)
        used += 2 + words + ids.count
    }
}
