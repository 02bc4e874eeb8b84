import GotoniCore
import NIOCore

/// What a proxy tells its siblings of the requests that it has at servers now.
///
///     version u8 · flags u8 (1: it leaves, 2: it is whole) · proxy u64 · count varint
///     count × ( server key u64 · queued, running requests · queued, running, owed tokens: varint each )
///
/// Little-endian. A whole message leaves out servers at which it has nothing; others have what has changed, and are told
/// sooner.
struct SiblingLoads: Equatable, Sendable {
    static let version: UInt8 = 1
    /// More servers at which a proxy has requests are not told of.
    static let mostServers = 4_096

    var proxy: UInt64
    var isLeaving = false
    var isWhole = true
    /// By `ServerKey`.
    var loads: [UInt64: Load]

    /// Whole.
    init(proxy: UInt64, _ loads: [UInt64: Load] = [:]) { (self.proxy, self.loads) = (proxy, loads) }

    /// What makes `told` of others into `loads`; zero: nothing is left there.
    init(proxy: UInt64, changing told: [UInt64: Load], into loads: [UInt64: Load]) {
        self.init(proxy: proxy, loads.filter { told[$0.key] != $0.value })
        isWhole = false
        for key in told.keys where loads[key] == nil { self.loads[key] = Load() }
    }

    func apply(to held: inout [UInt64: Load]) {
        if isWhole { held = [:] }
        for (key, load) in loads where held[key] != nil || held.count < Self.mostServers {
            held[key] = load.requests > 0 ? load : nil
        }
    }

    func write(into out: inout ByteBuffer) {
        out.writeInteger(Self.version)
        out.writeInteger(UInt8((isLeaving ? 1 : 0) + (isWhole ? 2 : 0)))
        out.writeInteger(proxy, endianness: .little)
        let told = loads.prefix(Self.mostServers)
        out.writeVarint(UInt64(told.count))
        for (key, load) in told {
            out.writeInteger(key, endianness: .little)
            for figure in [
                load.queuedRequests, load.runningRequests, load.queuedTokens, load.runningTokens, load.owedTokens,
            ] { out.writeVarint(min(figure, UInt64(Self.mostFigure))) }
        }
    }

    /// Beyond it nothing is a real load, and varints end.
    private static let mostFigure = 1 << 34

    /// Who tells this; nil: it cannot be read.
    static func proxy(of message: ByteBuffer) -> UInt64? {
        message.getInteger(at: message.readerIndex + 2, endianness: .little)
    }

    init(from bytes: inout ByteBuffer) throws(MeshError) {
        guard let version: UInt8 = bytes.readInteger() else { throw .malformed }
        guard version == Self.version else { throw .version(version) }
        guard let flags: UInt8 = bytes.readInteger(), flags < 4,
            let proxy: UInt64 = bytes.readInteger(endianness: .little)
        else { throw .malformed }
        self.init(proxy: proxy)
        (isLeaving, isWhole) = (flags & 1 != 0, flags & 2 != 0)
        for _ in 0..<(try bytes.varint(most: Self.mostServers)) {
            guard let key: UInt64 = bytes.readInteger(endianness: .little) else { throw .malformed }
            var load = Load()
            load.queuedRequests = UInt64(try bytes.varint(most: Self.mostFigure))
            load.runningRequests = UInt64(try bytes.varint(most: Self.mostFigure))
            load.queuedTokens = UInt64(try bytes.varint(most: Self.mostFigure))
            load.runningTokens = UInt64(try bytes.varint(most: Self.mostFigure))
            load.owedTokens = UInt64(try bytes.varint(most: Self.mostFigure))
            guard load.owedTokens <= load.queuedTokens else { throw .malformed }
            loads[key] = load
        }
        guard bytes.readableBytes == 0 else { throw .malformed }
    }
}
