internal import GotoniCore

/// The tokens of words lately seen. A word has two places and replaces who came there before the other; its bytes are
/// compared, so a collision costs time and changes nothing. One thread at a time.
struct WordCache: ~Copyable {
    static let longestWord = 28
    static let mostTokens = 8

    /// Of eight numbers each, one line of the processor's cache: length, count and the word's last bytes; the word's
    /// first 24 bytes; eight ids. A length of zero: empty.
    private let entries: Buffer<UInt64>
    private let shift: UInt64

    /// 64 bytes for each entry.
    init(entries count: Int = 1 << 15) throws(TokenizerError) {
        entries = try makeBuffer(count * 8)
        shift = UInt64(65 - count.trailingZeroBitCount)
    }

    /// A word as up to four numbers, zeros behind it: to hash and to compare.
    struct Key {
        var a: UInt64 = 0, b: UInt64 = 0, c: UInt64 = 0, d: UInt32 = 0
        var hash: UInt64 = 0
    }

    /// Nil: the word is too long. `after`: bytes that may be read behind it.
    @inline(__always) static func key(_ word: Bytes, after: Int) -> Key? {
        guard word.count <= longestWord, let base = word.baseAddress else { return nil }
        var key = Key()
        if word.count <= 8 {
            key.a = load(base, word.count, after)
            key.hash = (key.a ^ UInt64(word.count)) &* 0x9E37_79B9_7F4A_7C15
        } else {
            let raw = UnsafeRawPointer(base)
            key.a = raw.loadUnaligned(as: UInt64.self)
            key.b = load(base + 8, min(8, word.count - 8), after + max(0, word.count - 16))
            key.hash = (key.a ^ UInt64(word.count)) &* 0x9E37_79B9_7F4A_7C15
            key.hash = (key.hash ^ (key.hash >> 29) ^ key.b) &* 0xD6E8_FEB8_6659_FD93
            if word.count > 16 {
                key.c = load(base + 16, min(8, word.count - 16), after + max(0, word.count - 24))
                if word.count > 24 {
                    key.d = UInt32(truncatingIfNeeded: load(base + 24, word.count - 24, after))
                }
                key.hash = (key.hash ^ (key.hash >> 29) ^ key.c ^ UInt64(key.d) << 17) &* 0x9E37_79B9_7F4A_7C15
            }
        }
        key.hash ^= key.hash >> 31
        key.hash = key.hash &* 0xD6E8_FEB8_6659_FD93
        return key
    }

    /// 1 to 8 bytes as a number, `after` more may be read behind them.
    @inline(__always) private static func load(_ base: UnsafePointer<UInt8>, _ count: Int, _ after: Int) -> UInt64 {
        if count + after >= 8 {
            let mask = UInt64.max >> UInt64(64 - 8 * count)
            return UnsafeRawPointer(base).loadUnaligned(as: UInt64.self) & mask
        }
        var word: UInt64 = 0
        for index in 0..<count { word |= UInt64(base[index]) << UInt64(8 * index) }
        return word
    }

    /// Its places: the word that came last is in the first.
    @inline(__always) private func places(
        _ key: Key
    ) -> (first: UnsafeMutablePointer<UInt64>, second: UnsafeMutablePointer<UInt64>) {
        let first = entries.base + Int(truncatingIfNeeded: key.hash >> shift) * 16
        return (first, first + 8)
    }

    @inline(__always) private func has(_ entry: UnsafeMutablePointer<UInt64>, _ key: Key, _ length: Int) -> Bool {
        let head = UInt64(key.d) << 32 | UInt64(length)
        return entry[0] & 0xFFFF_FFFF_0000_00FF == head && entry[1] == key.a && entry[2] == key.b && entry[3] == key.c
    }

    /// Appends the word's tokens, if it is there.
    @inline(__always) func find(_ key: Key, _ length: Int, into out: inout List<UInt32>) throws(TokenizerError) -> Bool
    {
        var (entry, second) = places(key)
        if !has(entry, key, length) {
            guard has(second, key, length) else { return false }
            entry = second
        }
        let target = UnsafeMutableRawPointer(try out.reserve(Self.mostTokens))
        // All eight: fewer steps than counting.
        target.copyMemory(from: entry + 4, byteCount: 32)
        out.add(Int(entry[0] >> 8 & 0xFF))
        return true
    }

    @inline(__always) func insert(_ key: Key, _ length: Int, _ ids: UnsafeBufferPointer<UInt32>) {
        guard ids.count <= Self.mostTokens, let base = ids.baseAddress else { return }
        let (entry, second) = places(key)
        second.copy(from: entry, count: 8)
        entry[0] = UInt64(length) | UInt64(ids.count) << 8 | UInt64(key.d) << 32
        (entry[1], entry[2], entry[3]) = (key.a, key.b, key.c)
        UnsafeMutableRawPointer(entry + 4).copyMemory(from: base, byteCount: ids.count * 4)
    }
}
