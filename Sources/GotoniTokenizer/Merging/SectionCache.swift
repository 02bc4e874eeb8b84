internal import CPlatform
internal import CXXHash
internal import GotoniCore

/// The tokens of texts lately encoded: what lies between two special tokens, so the messages of conversations. A turn of
/// a conversation finds all messages that were there before, in this conversation or another. The texts are kept and
/// compared: a collision costs time and changes nothing. What was used longest ago makes room.
struct SectionCache: ~Copyable {
    /// Shorter ones are encoded as quickly as they are found.
    static let shortest = 64

    struct Entry: BitwiseCopyable {
        var hash: UInt64
        /// The text, then its tokens.
        var memory: UnsafeMutableRawPointer?
        var textCount: UInt32
        var tokenCount: UInt32
        /// In the order of use, and among those of one bucket: index plus one, 0 is nobody.
        var newer: UInt32
        var older: UInt32
        var nextInBucket: UInt32

        var tokensOffset: Int { (Int(textCount) + 3) & ~3 }
        var bytes: Int { tokensOffset + Int(tokenCount) * 4 }
        var text: Bytes { Bytes(start: memory?.assumingMemoryBound(to: UInt8.self), count: Int(textCount)) }
        var tokens: UnsafeBufferPointer<UInt32> {
            UnsafeBufferPointer(
                start: memory.map { ($0 + tokensOffset).assumingMemoryBound(to: UInt32.self) }, count: Int(tokenCount))
        }
    }

    private let entries: Buffer<Entry>
    private let buckets: Buffer<UInt32>
    private var newest: UInt32 = 0
    private var oldest: UInt32 = 0
    private var free: UInt32 = 0
    private var used = 0
    private let budget: Int
    /// Of texts and tokens.
    private(set) var bytes = 0
    private(set) var count = 0
    private(set) var hits: UInt64 = 0
    private(set) var misses: UInt64 = 0

    private init(budget: Int, _ entries: consuming Buffer<Entry>, _ buckets: consuming Buffer<UInt32>) {
        self.budget = budget
        self.entries = entries
        self.buckets = buckets
    }

    /// `entries`: a power of two.
    static func make(budget: Int, entries count: Int = 1 << 15) throws(TokenizerError) -> SectionCache {
        SectionCache(budget: budget, try makeBuffer(count), try makeBuffer(count))
    }

    deinit {
        for index in 0..<entries.count { gotoni_platform_free(entries[index].memory) }
    }

    /// Before the lock is taken.
    static func hash(_ text: Bytes) -> UInt64 { XXH3_64bits(text.baseAddress, text.count) }

    /// Appends the text's tokens, if they are there.
    mutating func find(_ text: Bytes, _ hash: UInt64, into out: inout List<UInt32>) throws(TokenizerError) -> Bool {
        guard let index = find(text, hash) else {
            misses += 1
            return false
        }
        hits += 1
        try out.append(entries[index].tokens)
        unlink(index)
        linkAsNewest(index)
        return true
    }

    mutating func insert(_ text: Bytes, _ hash: UInt64, _ tokens: UnsafeBufferPointer<UInt32>) {
        var entry = Entry(
            hash: hash, memory: nil, textCount: UInt32(text.count), tokenCount: UInt32(tokens.count), newer: 0,
            older: 0,
            nextInBucket: 0)
        // One text must not drive out all others. Another thread may have been first.
        guard entry.bytes <= budget / 8, find(text, hash) == nil, let source = text.baseAddress else { return }
        while bytes + entry.bytes > budget || (free == 0 && used == entries.count) { evict() }
        guard let memory = gotoni_platform_allocate(1, max(entry.bytes, 1)) else { return }
        entry.memory = memory
        memcpy(memory, source, text.count)
        if let ids = tokens.baseAddress { memcpy(memory + entry.tokensOffset, ids, tokens.count * 4) }
        let index: Int
        if free != 0 {
            index = Int(free) - 1
            free = entries[index].nextInBucket
        } else {
            index = used
            used += 1
        }
        let bucket = bucket(hash)
        entry.nextInBucket = buckets[bucket]
        buckets[bucket] = UInt32(index + 1)
        entries[index] = entry
        linkAsNewest(index)
        bytes += entry.bytes
        count += 1
    }

    private func bucket(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: hash) & (buckets.count - 1) }

    private func find(_ text: Bytes, _ hash: UInt64) -> Int? {
        var next = buckets[bucket(hash)]
        while next != 0 {
            let index = Int(next) - 1
            if entries[index].hash == hash, equal(entries[index].text, text) { return index }
            next = entries[index].nextInBucket
        }
        return nil
    }

    private mutating func evict() {
        let index = Int(oldest) - 1
        let entry = entries[index]
        unlink(index)
        let bucket = bucket(entry.hash)
        if buckets[bucket] == UInt32(index + 1) {
            buckets[bucket] = entry.nextInBucket
        } else {
            var before = Int(buckets[bucket]) - 1
            while entries[before].nextInBucket != UInt32(index + 1) { before = Int(entries[before].nextInBucket) - 1 }
            entries[before].nextInBucket = entry.nextInBucket
        }
        gotoni_platform_free(entry.memory)
        bytes -= entry.bytes
        count -= 1
        entries[index].memory = nil
        entries[index].nextInBucket = free
        free = UInt32(index + 1)
    }

    private mutating func unlink(_ index: Int) {
        let entry = entries[index]
        if entry.newer == 0 { newest = entry.older } else { entries[Int(entry.newer) - 1].older = entry.older }
        if entry.older == 0 { oldest = entry.newer } else { entries[Int(entry.older) - 1].newer = entry.newer }
    }

    private mutating func linkAsNewest(_ index: Int) {
        entries[index].newer = 0
        entries[index].older = newest
        if newest != 0 { entries[Int(newest) - 1].newer = UInt32(index + 1) } else { oldest = UInt32(index + 1) }
        newest = UInt32(index + 1)
    }
}
