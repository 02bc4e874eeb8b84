import GotoniCore
import NIOCore

// What a proxy tells its siblings of what servers hold: the prompts that it sends there, and that they were emptied.
//
//     version u8 · kind u8 · proxy u64, then
//     prompts: block tokens u16 · servers varint · servers × key u64 · count varint · count × index of its server varint
//              · news (PrefixNews)
//     emptied: server key u64; 0: all
//
// Little-endian. The prompts refer to those told before, so a turn of a conversation costs what is new in it; every two seconds
// they begin anew, so whoever joins, or has missed something, understands them soon.

/// A prompt and the server that it went to.
struct ToldPrompt: Equatable, Sendable {
    /// `ServerKey` of its name.
    var server: UInt64
    /// 48-bit digests from the first block on.
    var chain: [UInt64]
}

/// Servers have numbers of their own in every proxy, and names in common.
enum ServerKey {
    static func of(_ name: String) -> UInt64 {
        let bytes = Array(name.utf8)
        return Key.of(bytes.span.bytes)
    }
}

enum SiblingPrompts {
    static let version: UInt8 = 1
    enum Kind: UInt8 { case prompts = 0, emptied = 1 }
    /// Prompts refer to none that was told longer ago.
    static let renewal = Nanoseconds(milliseconds: 2_000)

    /// Who tells this; nil: it cannot be read.
    static func proxy(of message: ByteBuffer) -> UInt64? {
        message.getInteger(at: message.readerIndex + 2, endianness: .little)
    }

    static func emptied(_ server: UInt64, by proxy: UInt64) -> ByteBuffer {
        var out = ByteBuffer()
        begin(.emptied, of: proxy, &out)
        out.writeInteger(server, endianness: .little)
        return out
    }

    fileprivate static func begin(_ kind: Kind, of proxy: UInt64, _ out: inout ByteBuffer) {
        out.writeInteger(version)
        out.writeInteger(kind.rawValue)
        out.writeInteger(proxy, endianness: .little)
    }
}

/// The teller's side.
struct SiblingLog {
    private var log = PrefixLog()
    /// Of the last prompts added.
    private var recent: [(server: UInt64, blocks: Int)] = []
    /// The first one not told yet.
    private var untold: UInt64 = 0
    private var beginsAnew = true
    private var began: Nanoseconds?
    /// Prompts that were added faster than they were told.
    private(set) var lost: UInt64 = 0

    var hasNews: Bool { untold != log.next }

    mutating func add(_ prompt: ToldPrompt, now: Nanoseconds) {
        guard !prompt.chain.isEmpty else { return }
        if !hasNews, began.map({ now.since($0) >= SiblingPrompts.renewal }) ?? true {
            log.clear()
            (beginsAnew, began) = (true, now)
        }
        log.add(prompt.chain)
        recent.append((prompt.server, min(prompt.chain.count, PrefixNews.mostBlocks)))
        if recent.count > PrefixNews.kept { recent.removeFirst(recent.count - PrefixNews.kept) }
    }

    /// What is told next is understood by whoever has heard nothing, and holds the last prompts once more.
    mutating func tellAnew() { beginsAnew = true }

    /// Writes what is new, or as much of it as one message takes. Gives how many prompts, and their blocks.
    mutating func write(
        of proxy: UInt64, blockTokens: Int, into out: inout ByteBuffer
    ) -> (prompts: Int, blocks: Int) {
        var news = ByteBuffer()
        let written = log.write(from: beginsAnew ? nil : untold, into: &news)
        beginsAnew = false
        if written.lowerBound > untold { lost += written.lowerBound - untold }
        untold = written.upperBound
        SiblingPrompts.begin(.prompts, of: proxy, &out)
        out.writeInteger(UInt16(clamping: blockTokens), endianness: .little)
        let first = recent.count - Int(log.next - written.lowerBound)
        let prompts = recent[first..<first + written.count]
        let keys = prompts.map(\.server)
        let table = Array(Set(keys)).sorted()
        out.writeVarint(UInt64(table.count))
        for key in table { out.writeInteger(key, endianness: .little) }
        out.writeVarint(UInt64(keys.count))
        let indices = Dictionary(uniqueKeysWithValues: table.enumerated().map { ($1, UInt64($0)) })
        for key in keys { out.writeVarint(indices[key] ?? 0) }
        out.writeBuffer(&news)
        return (prompts.count, prompts.reduce(0) { $0 + $1.blocks })
    }
}

/// The listener's side: what it has of one sibling.
struct SiblingMemory: Equatable {
    private var memory = PrefixMemory()

    enum News: Equatable {
        case prompts([ToldPrompt], blockTokens: Int)
        /// Nil: all servers.
        case emptied(UInt64?)
    }

    /// Reads a message, up to its end. Errors: version, malformed, and gap, after which those are understood that begin anew.
    mutating func read(_ bytes: inout ByteBuffer) throws(MeshError) -> News {
        guard let version: UInt8 = bytes.readInteger() else { throw .malformed }
        guard version == SiblingPrompts.version else { throw .version(version) }
        guard let kind = bytes.readInteger(as: UInt8.self).flatMap(SiblingPrompts.Kind.init(rawValue:)),
            bytes.readInteger(endianness: .little, as: UInt64.self) != nil
        else { throw .malformed }
        switch kind {
        case .prompts: return try readPrompts(&bytes)
        case .emptied:
            guard let key: UInt64 = bytes.readInteger(endianness: .little), bytes.readableBytes == 0 else {
                throw .malformed
            }
            return .emptied(key == 0 ? nil : key)
        }
    }

    private mutating func readPrompts(_ bytes: inout ByteBuffer) throws(MeshError) -> News {
        guard let blockTokens: UInt16 = bytes.readInteger(endianness: .little) else { throw .malformed }
        var table: [UInt64] = []
        for _ in 0..<(try bytes.varint(most: PrefixNews.kept)) {
            guard let key: UInt64 = bytes.readInteger(endianness: .little) else { throw .malformed }
            table.append(key)
        }
        let count = try bytes.varint(most: PrefixNews.kept)
        var keys: [UInt64] = []
        for _ in 0..<count {
            guard !table.isEmpty else { throw .malformed }
            keys.append(table[try bytes.varint(most: table.count - 1)])
        }
        let chains = try memory.read(&bytes)
        guard chains.count == keys.count else {
            memory = PrefixMemory()
            throw .malformed
        }
        return .prompts(zip(keys, chains).map { ToldPrompt(server: $0, chain: $1) }, blockTokens: Int(blockTokens))
    }
}
