import NIOCore

// What a node tells its peers about its engine's cache: the prompts it has lately begun, as chains of block digests.
//
// Prompts are numbered. Both sides remember the last ones by the same rule, so a prompt is told as "the first `common`
// blocks of the one `back` before, then these": a turn of a conversation costs what is new in it. A peer asks from a number
// on, and so says what it has; what it missed while it was away and is no longer remembered, it misses.
//
//     first u64 (number of the first one told) · flags u8 (1: it refers to nothing before the first) · count varint
//     count × ( back varint (0: to none) · common varint · fresh varint · fresh × 48 bits )

enum PrefixNews {
    /// Prompts remembered on both sides, and blocks of all of them together.
    static let kept = 256
    static let keptBlocks = 1 << 16
    /// Blocks of a prompt that are told: 64k tokens at 16 a block.
    static let mostBlocks = 4096
    /// Bytes of one answer after which the rest waits for the next.
    static let mostBytes = 1 << 18
    static let digestMask: UInt64 = 0xFFFF_FFFF_FFFF
}

/// The last prompts. Which ones depends only on the sequence, so both sides of a link have the same.
private struct RecentPrompts: Equatable {
    /// Oldest first.
    private(set) var chains: [[UInt64]] = []
    private var blocks = 0

    mutating func add(_ chain: [UInt64]) {
        chains.append(chain)
        blocks += chain.count
        var gone = 0
        while chains.count - gone > PrefixNews.kept || blocks > PrefixNews.keptBlocks {
            blocks -= chains[gone].count
            gone += 1
        }
        chains.removeFirst(gone)
    }
}

/// The teller's side.
struct PrefixLog {
    /// The number of the next prompt.
    private(set) var next: UInt64 = 0
    private var recent = RecentPrompts()
    /// For each of them the number of the one it has most in common with, and how many blocks; itself: none.
    private var bases: [(number: UInt64, common: Int)] = []

    /// 48-bit digests from the first block on.
    mutating func add(_ chain: [UInt64]) {
        guard !chain.isEmpty else { return }
        let chain = Array(chain.prefix(PrefixNews.mostBlocks))
        var base = (number: next, common: 0)
        for (index, other) in recent.chains.enumerated() {
            let common = Self.common(other, chain)
            if common > base.common { base = (oldest + UInt64(index), common) }
        }
        recent.add(chain)
        bases.append(base)
        bases.removeFirst(bases.count - recent.chains.count)
        next += 1
    }

    /// Forgets all; numbers go on, so that nobody takes an old number for a new one.
    mutating func clear() { (recent, bases) = (RecentPrompts(), []) }

    private var oldest: UInt64 { next - UInt64(recent.chains.count) }

    /// Writes what is new to somebody who has everything before `known`; nil: who has nothing. Gives the numbers of the
    /// prompts written.
    @discardableResult func write(from known: UInt64?, into out: inout ByteBuffer) -> Range<UInt64> {
        let follows = known.map { (oldest...next).contains($0) } ?? false
        let first = follows ? known ?? oldest : oldest
        out.writeInteger(first, endianness: .little)
        out.writeInteger(UInt8(follows ? 0 : 1))
        var entries = ByteBuffer()
        var count: UInt64 = 0
        for number in first..<next where entries.readableBytes < PrefixNews.mostBytes {
            let index = Int(number - oldest)
            let chain = recent.chains[index]
            // What is remembered here is remembered there, when it comes to this number.
            let (base, common) = bases[index].number >= oldest ? bases[index] : (number, 0)
            entries.writeVarint(number - base)
            entries.writeVarint(UInt64(common))
            entries.writeVarint(UInt64(chain.count - common))
            for digest in chain[common...] { entries.writeDigest(digest) }
            count += 1
        }
        out.writeVarint(count)
        out.writeBuffer(&entries)
        return first..<first + count
    }

    /// Blocks that both begin with. A digest stands for all before it, so the last equal one can be searched for.
    private static func common(_ a: [UInt64], _ b: [UInt64]) -> Int {
        var (low, high) = (0, min(a.count, b.count))
        while low < high {
            let middle = (low + high) / 2
            if a[middle] == b[middle] { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

/// The listener's side: what it has of one peer.
struct PrefixMemory: Equatable {
    /// The number it wants next; nil: it has nothing.
    private(set) var next: UInt64?
    private var recent = RecentPrompts()

    /// Reads news, up to their end. Gives the prompts told, oldest first. After an error it has nothing.
    mutating func read(_ bytes: inout ByteBuffer) throws(MeshError) -> [[UInt64]] {
        do throws(MeshError) {
            return try readAll(&bytes)
        } catch {
            self = PrefixMemory()
            throw error
        }
    }

    private mutating func readAll(_ bytes: inout ByteBuffer) throws(MeshError) -> [[UInt64]] {
        guard let first: UInt64 = bytes.readInteger(endianness: .little), let flags: UInt8 = bytes.readInteger(),
            flags < 2, first < UInt64.max - UInt64(PrefixNews.kept)
        else { throw .malformed }
        if flags == 1 { recent = RecentPrompts() } else if first != next { throw .gap }
        let count = try bytes.varint(most: PrefixNews.kept)
        var told: [[UInt64]] = []
        var blocks = 0
        for _ in 0..<count {
            let back = try bytes.varint(most: recent.chains.count)
            let base = back == 0 ? [] : recent.chains[recent.chains.count - back]
            let common = try bytes.varint(most: base.count)
            let fresh = try bytes.varint(most: PrefixNews.mostBlocks - common)
            guard bytes.readableBytes >= fresh * 6, common + fresh > 0 else { throw .malformed }
            var chain = Array(base[..<common])
            chain.reserveCapacity(common + fresh)
            for _ in 0..<fresh { chain.append(bytes.readDigest()) }
            // Nobody remembers more, so nobody can tell more.
            blocks += chain.count
            guard blocks <= PrefixNews.keptBlocks else { throw .malformed }
            recent.add(chain)
            told.append(chain)
        }
        guard bytes.readableBytes == 0 else { throw .malformed }
        next = first + UInt64(count)
        return told
    }
}

extension ByteBuffer {
    /// Seven bits a byte, the lowest first.
    mutating func writeVarint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        writeInteger(UInt8(rest))
    }

    mutating func varint(most: Int) throws(MeshError) -> Int {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 35, by: 7) {
            guard let byte: UInt8 = readInteger() else { throw .malformed }
            value |= UInt64(byte & 0x7F) << shift
            if byte & 0x80 == 0 {
                guard value <= UInt64(most) else { throw .malformed }
                return Int(value)
            }
        }
        throw .malformed
    }

    fileprivate mutating func writeDigest(_ digest: UInt64) {
        writeInteger(UInt32(truncatingIfNeeded: digest), endianness: .little)
        writeInteger(UInt16(truncatingIfNeeded: digest >> 32), endianness: .little)
    }

    /// Zero at the end of the buffer: the caller has looked.
    fileprivate mutating func readDigest() -> UInt64 {
        let low: UInt32 = readInteger(endianness: .little) ?? 0
        let high: UInt16 = readInteger(endianness: .little) ?? 0
        return UInt64(high) << 32 | UInt64(low)
    }
}
