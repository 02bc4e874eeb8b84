import NIOCore

/// What a node tells its peers about itself: how much is there, and that it is alive. The body of an answer of `/lb/peer`
/// begins with it, and the news of its prefixes follow (`PrefixNews`).
///
///     version u8 · flags u8 (1: takes requests, 2: KV capacity known) · block tokens u16
///     incarnation u64 · sequence u64
///     limit, queued, running, waiting requests: u32 each · queued, running, waiting tokens, KV capacity: u64 each
///
/// Little-endian. Another version is refused as a whole, so a mesh is updated node by node: nodes of two versions serve
/// on, each for itself.
struct NodeReport: Equatable, Sendable {
    static let version: UInt8 = 1
    static let bytes = 4 + 16 + 16 + 32

    /// Another number after a restart or a flush: what it held before is gone.
    var incarnation: UInt64 = 0
    /// Grows with every change.
    var sequence: UInt64 = 0
    /// Its engine is up and it is not draining.
    var takesRequests = false
    /// Tokens of a block: digests mean the same only where this is the same.
    var blockTokens = 0
    /// Most requests at one time at its engine.
    var limit = 0
    /// At its engine before the first token, and after it.
    var queuedRequests = 0
    var runningRequests = 0
    /// In its own queue.
    var waitingRequests = 0
    /// Prefill that is still to be done; prompts of the running; prompts in its own queue.
    var owedTokens = 0
    var runningTokens = 0
    var waitingTokens = 0
    var kvCapacityTokens: Int?

    func write(into out: inout ByteBuffer) {
        out.writeInteger(Self.version)
        out.writeInteger(UInt8(takesRequests ? 1 : 0) | UInt8(kvCapacityTokens == nil ? 0 : 2))
        out.writeInteger(UInt16(clamping: blockTokens), endianness: .little)
        for value in [incarnation, sequence] { out.writeInteger(value, endianness: .little) }
        for value in [limit, queuedRequests, runningRequests, waitingRequests] {
            out.writeInteger(UInt32(clamping: value), endianness: .little)
        }
        for value in [owedTokens, runningTokens, waitingTokens, kvCapacityTokens ?? 0] {
            out.writeInteger(UInt64(clamping: value), endianness: .little)
        }
    }

    /// Reads one from the beginning of `bytes` and leaves what follows.
    init(from bytes: inout ByteBuffer) throws(MeshError) {
        guard let version = bytes.readInteger(as: UInt8.self) else { throw .malformed }
        guard version == Self.version else { throw .version(version) }
        guard bytes.readableBytes >= Self.bytes - 1, let flags = bytes.readInteger(as: UInt8.self), flags < 4,
            let blockTokens = bytes.readInteger(endianness: .little, as: UInt16.self)
        else { throw .malformed }
        func wide(_ bytes: inout ByteBuffer) -> UInt64 { bytes.readInteger(endianness: .little) ?? 0 }
        func count(_ bytes: inout ByteBuffer) -> Int {
            Int(bytes.readInteger(endianness: .little, as: UInt32.self) ?? 0)
        }
        // No real load is larger, and the router takes the sum of two.
        func tokens(_ bytes: inout ByteBuffer) -> Int { Int(min(wide(&bytes), 1 << 39)) }
        self.blockTokens = Int(blockTokens)
        takesRequests = flags & 1 != 0
        incarnation = wide(&bytes)
        sequence = wide(&bytes)
        limit = count(&bytes)
        queuedRequests = count(&bytes)
        runningRequests = count(&bytes)
        waitingRequests = count(&bytes)
        owedTokens = tokens(&bytes)
        runningTokens = tokens(&bytes)
        waitingTokens = tokens(&bytes)
        let capacity = tokens(&bytes)
        kvCapacityTokens = flags & 2 != 0 && capacity > 0 ? capacity : nil
    }

    init() {}
}

enum MeshError: Error, Equatable, CustomStringConvertible {
    case malformed
    /// News that do not follow what was heard before.
    case gap
    case version(UInt8)
    case itself

    var description: String {
        switch self {
        case .malformed: "its report cannot be read"
        case .gap: "its news do not follow what was heard before"
        case .version(let version): "it speaks version \(version) of the report, and this node \(NodeReport.version)"
        case .itself: "it is this node itself, and gets nothing"
        }
    }
}
