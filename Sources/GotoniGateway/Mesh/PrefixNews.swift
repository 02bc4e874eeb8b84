import NIOCore

// What a node tells its peers about its engine's cache: the prompts it has lately begun, as chains of block digests.
//
// Prompts are numbered. Both sides remember the last `kept` of them, so a prompt is told as "the first `common` blocks of
// the one `back` before, then these": a turn of a conversation costs what is new in it. A peer asks from a number on, and
// so says what it has; what it missed while it was away and is no longer remembered, it misses.
//
//     first u64 (number of the first one told) · flags u8 (1: it refers to nothing before the first) · count varint
//     count × ( back varint (0: to none) · common varint · fresh varint · fresh × 48 bits )

enum PrefixNews {
    /// Prompts remembered on both sides.
    static let kept = 64
    /// Blocks of a prompt that are told: 64k tokens at 16 a block.
    static let mostBlocks = 4096
    /// Bytes of one answer after which the rest waits for the next.
    static let mostBytes = 1 << 18
    static let digestMask: UInt64 = 0xFFFF_FFFF_FFFF
}

/// The teller's side.
struct PrefixLog {
    /// The number of the next prompt.
    private(set) var next: UInt64 = 0
    /// The last ones, oldest first.
    private var chains: [[UInt64]] = []

    /// 48-bit digests from the first block on.
    mutating func add(_ chain: [UInt64]) {
        guard !chain.isEmpty else { return }
        if chains.count == PrefixNews.kept { chains.removeFirst() }
        chains.append(Array(chain.prefix(PrefixNews.mostBlocks)))
        next += 1
    }

    /// Forgets all; numbers go on, so that nobody takes an old number for a new one.
    mutating func clear() { chains = [] }

    private var oldest: UInt64 { next - UInt64(chains.count) }

    /// Writes what is new to somebody who has everything before `known`; nil: who has nothing.
    func write(from known: UInt64?, into out: inout ByteBuffer) {
        let follows = known.map { (oldest...next).contains($0) } ?? false
        let first = follows ? known ?? oldest : oldest
        out.writeInteger(first, endianness: .little)
        out.writeInteger(UInt8(follows ? 0 : 1))
        var entries = ByteBuffer()
        var count: UInt64 = 0
        for number in first..<next where entries.readableBytes < PrefixNews.mostBytes {
            let chain = chains[Int(number - oldest)]
            // Whatever is remembered here is remembered there: it has had all of it.
            let (back, common) = best(for: chain, number: number, from: follows ? oldest : first)
            entries.writeVarint(UInt64(back))
            entries.writeVarint(UInt64(common))
            entries.writeVarint(UInt64(chain.count - common))
            for digest in chain[common...] { entries.writeDigest(digest) }
            count += 1
        }
        out.writeVarint(count)
        out.writeBuffer(&entries)
    }

    /// The prompt before `number` with which `chain` has most in common.
    private func best(for chain: [UInt64], number: UInt64, from earliest: UInt64) -> (back: Int, common: Int) {
        var best = (back: 0, common: 0)
        for other in earliest..<number {
            let common = zip(chains[Int(other - oldest)], chain).prefix { $0 == $1 }.count
            if common > best.common { best = (Int(number - other), common) }
        }
        return best
    }
}

/// The listener's side: what it has of one peer.
struct PrefixMemory {
    /// The number it wants next; nil: it has nothing.
    private(set) var next: UInt64?
    private var chains: [[UInt64]] = []

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
        if flags == 1 { chains = [] } else if first != next { throw .malformed }
        let count = try bytes.varint(most: PrefixNews.kept)
        var told: [[UInt64]] = []
        for _ in 0..<count {
            let back = try bytes.varint(most: chains.count)
            let base = back == 0 ? [] : chains[chains.count - back]
            let common = try bytes.varint(most: base.count)
            let fresh = try bytes.varint(most: PrefixNews.mostBlocks - common)
            guard bytes.readableBytes >= fresh * 6, common + fresh > 0 else { throw .malformed }
            var chain = Array(base[..<common])
            chain.reserveCapacity(common + fresh)
            for _ in 0..<fresh { chain.append(bytes.readDigest()) }
            if chains.count == PrefixNews.kept { chains.removeFirst() }
            chains.append(chain)
            told.append(chain)
        }
        next = first + UInt64(count)
        return told
    }
}

extension ByteBuffer {
    /// Seven bits a byte, the lowest first.
    fileprivate mutating func writeVarint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        writeInteger(UInt8(rest))
    }

    fileprivate mutating func varint(most: Int) throws(MeshError) -> Int {
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
