import GotoniCore

/// Why a message of KV events cannot be read.
public enum KVEventError: UInt8, Error, Sendable, CaseIterable {
    case malformed = 1
    case unknownEvent = 2
    case tooLarge = 3

    /// What is wrong with it, in one sentence.
    public var text: StaticString {
        switch self {
        case .malformed:
            "the message is no batch of KV events in MessagePack, in none of the shapes that SGLang and vLLM send"
        case .unknownEvent: "the message has an event that is none of BlockStored, BlockRemoved and AllBlocksCleared"
        case .tooLarge: "the message is larger than 64 MiB"
        }
    }
}

/// One event of an engine's KV cache. The arrays belong to the reader and change with the next event.
public struct KVEvent {
    public enum Kind: Sendable { case stored, removed, cleared }

    public var kind = Kind.cleared
    /// The engine's names of consecutive blocks: integers as their 64 bits, longer ones as `Key.of` their bytes.
    public var hashes: [UInt64] = []
    /// Stored: the block before the first one; nil: they begin a prompt.
    public var parent: UInt64?
    /// Stored, if it counts: `hashes.count` times `blockTokens` ids.
    public var tokens: [UInt32] = []
    public var blockTokens = 0
    /// Stored: of the requests that share these blocks.
    public var namespace: UInt64 = 0
    public var bearing = Bearing.counts

    /// What an event says about prompts that we know.
    public enum Bearing: Sendable {
        /// They find these blocks on the GPU, or no longer.
        case counts
        /// Nothing: it is about a copy in host memory, on disk or elsewhere.
        case copy
        /// Little: it is about layers that keep a part of a prompt only, as those that see a window. Their blocks have the
        /// names of other layers' blocks, so such an engine's other events cannot be told from these when blocks go.
        case part
        /// Nothing: the blocks are of an adapter without a name, or of images, which no prompt's tokens tell.
        case nameless
    }
}

/// Reads the messages that SGLang and vLLM publish about their KV caches, in all their shapes:
///
///     batch   [ts, [event …], rank]   or   {"ts": …, "events": [event …], "data_parallel_rank": …}
///     event   ["BlockStored", hashes, parent, tokens, block_size, lora_id, medium?]   ["BlockRemoved", hashes, medium?]
///             ["AllBlocksCleared"]   or   {"type": "BlockStored", "block_hashes": …, …}
///
/// Older SGLang and vLLM send arrays, SGLang from 0.5.21 and vLLM 0.32 maps in an array, a vLLM between them maps in a
/// map (sglang/srt/disaggregation/kv_events.py, vllm/distributed/kv_events.py). Keeps its memory for the next message.
public struct KVEventReader {
    private var event = KVEvent()
    private let model: [UInt8]
    private let adapterIsModel: Bool
    /// Of the model alone, as nearly all events are.
    private let plainNamespace: UInt64

    /// `model`: as requests name it. `adapterIsModel`: they name an adapter in its place, as vLLM has it.
    public init(model: String, adapterIsModel: Bool) {
        self.model = Array(model.utf8)
        self.adapterIsModel = adapterIsModel
        plainNamespace = self.model.withUnsafeBytes {
            Key.namespace(model: RawSpan(_unsafeBytes: $0), adapter: RawSpan(), salt: RawSpan())
        }
    }

    /// A larger message is none.
    public static let mostBytes = 64 << 20

    /// When the engine wrote the batch, in seconds of its clock; its events are not looked at, unless they come first.
    public func time(of message: UnsafeRawBufferPointer) throws(KVEventError) -> Double {
        guard message.count <= Self.mostBytes else { throw .tooLarge }
        var input = MessagePack(message)
        guard try input.peek() == .map else {
            guard try input.array() >= 2 else { throw .malformed }
            return try input.number()
        }
        for _ in 0..<(try input.map()) {
            if equals(try input.bytesOrText(), "ts") { return try input.number() }
            try input.skip()
        }
        throw .malformed
    }

    /// When the engine wrote the batch. `body` gets its events in their order.
    /// Errors: those of the message, before or after some of its events; and those of `body`.
    @discardableResult public mutating func read(
        _ message: UnsafeRawBufferPointer, _ body: (borrowing KVEvent) throws(KVEventError) -> Void
    ) throws(KVEventError) -> Double {
        guard message.count <= Self.mostBytes else { throw .tooLarge }
        var input = MessagePack(message)
        var time: Double?
        if try input.peek() == .map {
            var hasEvents = false
            for _ in 0..<(try input.map()) {
                let key = try input.bytesOrText()
                if equals(key, "ts") {
                    time = try input.number()
                } else if equals(key, "events") {
                    try events(&input, body)
                    hasEvents = true
                } else {
                    try input.skip()
                }
            }
            guard hasEvents else { throw .malformed }
        } else {
            let fields = try input.array()
            guard fields >= 2 else { throw .malformed }
            time = try input.number()
            try events(&input, body)
            for _ in 2..<fields { try input.skip() }
        }
        guard let time, input.isAtEnd else { throw .malformed }
        return time
    }

    private mutating func events(
        _ input: inout MessagePack, _ body: (borrowing KVEvent) throws(KVEventError) -> Void
    ) throws(KVEventError) {
        for _ in 0..<(try input.array()) {
            event.parent = nil
            event.hashes.removeAll(keepingCapacity: true)
            event.tokens.removeAll(keepingCapacity: true)
            (event.blockTokens, event.bearing) = (0, .counts)
            var names = Names()
            if try input.peek() == .map { try readMap(&input, &names) } else { try readArray(&input, &names) }
            let salt = names.extra.salt(adapter: names.adapter, beginsPrompt: event.parent == nil)
            if names.salt.isEmpty, let salt { names.salt = salt }
            event.namespace = namespace(names)
            let isNamed = salt != nil && (!names.hasNumber || !names.adapter.isEmpty)
            event.bearing = names.isCopy ? .copy : names.isPart ? .part : isNamed ? .counts : .nameless
            // Blocks that are kept in part are fewer than the tokens they are named by, and copies may come without tokens.
            if event.kind == .stored, event.bearing == .counts {
                let (tokens, overflow) = event.hashes.count.multipliedReportingOverflow(by: event.blockTokens)
                guard !overflow, event.blockTokens > 0, tokens == event.tokens.count else { throw .malformed }
            }
            try body(event)
        }
    }

    /// What an event says about the requests it is for; inside the message.
    private struct Names {
        var adapter = UnsafeRawBufferPointer(start: nil, count: 0)
        var salt = UnsafeRawBufferPointer(start: nil, count: 0)
        var extra = ExtraKeys()
        /// An adapter has a number.
        var hasNumber = false
        /// Another medium than the GPU.
        var isCopy = false
        /// The layers keep a part of a prompt only.
        var isPart = false
    }

    private func namespace(_ names: Names) -> UInt64 {
        if names.adapter.isEmpty, names.salt.isEmpty { return plainNamespace }
        let adapter = RawSpan(_unsafeBytes: names.adapter)
        let salt = RawSpan(_unsafeBytes: names.salt)
        return model.withUnsafeBytes { model in
            let isModel = adapterIsModel && !names.adapter.isEmpty
            return Key.namespace(
                model: isModel ? adapter : RawSpan(_unsafeBytes: model), adapter: isModel ? RawSpan() : adapter,
                salt: salt)
        }
    }

    // MARK: The two shapes of an event

    private mutating func readArray(_ input: inout MessagePack, _ names: inout Names) throws(KVEventError) {
        let fields = try input.array()
        guard fields >= 1 else { throw .malformed }
        event.kind = try kind(try input.bytesOrText())
        let needed = event.kind == .stored ? 4 : event.kind == .removed ? 1 : 0
        guard fields - 1 >= needed else { throw .malformed }
        for index in 0..<(fields - 1) { try read(Field(event.kind, at: index), &input, &names) }
    }

    private mutating func readMap(_ input: inout MessagePack, _ names: inout Names) throws(KVEventError) {
        var isTyped = false
        for _ in 0..<(try input.map()) {
            let key = try input.bytesOrText()
            if equals(key, "type") {
                event.kind = try kind(try input.bytesOrText())
                isTyped = true
            } else {
                try read(Field(key), &input, &names)
            }
        }
        guard isTyped else { throw .unknownEvent }
    }

    private func kind(_ name: UnsafeRawBufferPointer) throws(KVEventError) -> KVEvent.Kind {
        if equals(name, "BlockStored") { return .stored }
        if equals(name, "BlockRemoved") { return .removed }
        if equals(name, "AllBlocksCleared") { return .cleared }
        throw .unknownEvent
    }

    // MARK: Fields

    private enum Field {
        case hashes, parent, tokens, blockSize, adapterNumber, adapterName, salt, extraKeys, medium, cacheKind, other

        /// Of an event in an array.
        init(_ kind: KVEvent.Kind, at index: Int) {
            self =
                switch (kind, index) {
                case (.stored, 0), (.removed, 0): .hashes
                case (.stored, 1): .parent
                case (.stored, 2): .tokens
                case (.stored, 3): .blockSize
                case (.stored, 4): .adapterNumber
                case (.stored, 5), (.removed, 1): .medium
                default: .other
                }
        }

        init(_ key: UnsafeRawBufferPointer) {
            self =
                if equals(key, "block_hashes") {
                    .hashes
                } else if equals(key, "parent_block_hash") {
                    .parent
                } else if equals(key, "token_ids") {
                    .tokens
                } else if equals(key, "block_size") {
                    .blockSize
                } else if equals(key, "medium") {
                    .medium
                } else if equals(key, "lora_id") {
                    .adapterNumber
                } else if equals(key, "lora_name") {
                    .adapterName
                } else if equals(key, "cache_salt") {
                    .salt
                } else if equals(key, "extra_keys") {
                    .extraKeys
                } else if equals(key, "kv_cache_spec_kind") {
                    .cacheKind
                } else {
                    .other
                }
        }
    }

    private mutating func read(
        _ field: Field, _ input: inout MessagePack, _ names: inout Names
    ) throws(KVEventError) {
        if try input.takeNull() { return }
        switch field {
        case .hashes:
            let count = try input.array()
            event.hashes.reserveCapacity(count)
            for _ in 0..<count { event.hashes.append(try Self.hash(&input)) }
        case .parent: event.parent = try Self.hash(&input)
        case .tokens: try readTokens(&input)
        case .blockSize: event.blockTokens = Int(try Self.small(&input))
        case .adapterNumber:
            try input.skip()
            names.hasNumber = true
        case .extraKeys: try names.extra.read(&input)
        case .adapterName: names.adapter = try input.bytesOrText()
        case .salt: names.salt = try input.bytesOrText()
        case .medium: names.isCopy = !equals(try input.bytesOrText(), "GPU")
        case .cacheKind: names.isPart = !Self.keepsWholePrompts(try input.bytesOrText())
        case .other: try input.skip()
        }
    }

    /// `KVCacheSpecKind`, vllm/v1/kv_cache_interface.py.
    private static func keepsWholePrompts(_ kind: UnsafeRawBufferPointer) -> Bool {
        equals(kind, "full_attention") || equals(kind, "mla_attention") || equals(kind, "sink_full_attention")
    }

    /// Ids are most of a message: one loop, no calls. Newer engines may send pairs for speculative decoding; those are
    /// no ids and an error.
    private mutating func readTokens(_ input: inout MessagePack) throws(KVEventError) {
        let count = try input.array()
        event.tokens.reserveCapacity(count)
        for _ in 0..<count { event.tokens.append(try Self.small(&input)) }
    }

    @inline(__always) private static func small(_ input: inout MessagePack) throws(KVEventError) -> UInt32 {
        guard let value = UInt32(exactly: try input.integer()) else { throw .malformed }
        return value
    }

    private static func hash(_ input: inout MessagePack) throws(KVEventError) -> UInt64 {
        if try input.peek() == .integer { return try input.integer() }
        return Key.of(RawSpan(_unsafeBytes: try input.bytesOrText()))
    }
}

/// A word at a time, for every field of every event is found by this.
private func equals(_ bytes: UnsafeRawBufferPointer, _ name: StaticString) -> Bool {
    guard bytes.count == name.utf8CodeUnitCount, let base = bytes.baseAddress else { return false }
    let (other, word) = (UnsafeRawPointer(name.utf8Start), MemoryLayout<UInt64>.size)
    var index = 0
    while index + word <= bytes.count {
        guard
            base.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                == other.loadUnaligned(fromByteOffset: index, as: UInt64.self)
        else { return false }
        index += word
    }
    while index < bytes.count {
        guard bytes[index] == other.load(fromByteOffset: index, as: UInt8.self) else { return false }
        index += 1
    }
    return true
}
