import Foundation
import GotoniCore
import GotoniEngines
import TestSupport
import Testing

/// An event with its own memory.
struct ReadEvent: Equatable {
    var kind: KVEvent.Kind
    var hashes: [UInt64]
    var parent: UInt64?
    var tokens: [UInt32]
    var blockTokens: Int
    var namespace: UInt64
    var bearing: KVEvent.Bearing
    var counts: Bool { bearing == .counts }
}

private func read(
    _ bytes: [UInt8], model: String = "m", adapterIsModel: Bool = true
) throws(KVEventError) -> (time: Double, events: [ReadEvent]) {
    // In memory of exactly this size, so that a sanitizer sees every access beyond it.
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { copy.deallocate() }
    copy.copyBytes(from: bytes)
    var reader = KVEventReader(model: model, adapterIsModel: adapterIsModel)
    var events: [ReadEvent] = []
    let time = try reader.read(UnsafeRawBufferPointer(copy)) { event in
        events.append(
            ReadEvent(
                kind: event.kind, hashes: event.hashes, parent: event.parent, tokens: event.tokens,
                blockTokens: event.blockTokens, namespace: event.namespace, bearing: event.bearing))
    }
    return (time, events)
}

private func read(_ batch: Packed, adapterIsModel: Bool = true) throws(KVEventError) -> [ReadEvent] {
    try read(batch.bytes, adapterIsModel: adapterIsModel).events
}

private func namespace(_ model: String, adapter: String = "", salt: String = "") -> UInt64 {
    Array(model.utf8).withUnsafeBytes { model in
        Array(adapter.utf8).withUnsafeBytes { adapter in
            Array(salt.utf8).withUnsafeBytes { salt in
                Key.namespace(
                    model: RawSpan(_unsafeBytes: model), adapter: RawSpan(_unsafeBytes: adapter),
                    salt: RawSpan(_unsafeBytes: salt))
            }
        }
    }
}

private func stored(_ more: [(String, Packed)] = [], hashes: Packed = .array([.number(7), .number(8)])) -> Packed {
    .map(
        [
            ("type", .text("BlockStored")), ("block_hashes", hashes), ("parent_block_hash", .null),
            ("token_ids", .array([.number(1), .number(2), .number(300), .number(70_000)])), ("block_size", .number(2)),
        ] + more)
}

private func batch(_ events: [Packed]) -> Packed { .array([.float(1.5), .array(events), .number(0)]) }

/// What engines publish about their caches.
@Suite struct KVEventReaderTests {
    private struct Captured: Decodable {
        var number: UInt64
        var time: Double
        var message: String
        var hashes: [String]
        var parent: String?
        var tokens: [UInt32]
        var blockTokens: Int
    }

    /// Captures of real engines, beside what Python's msgspec read in them.
    @Test(arguments: ["vllm-0.32.0.kv-events.jsonl", "dynamo-mocker-1.6.1.kv-events.jsonl"])
    func capturesAreReadExactly(_ name: String) throws {
        let lines = try fixture(name).split(separator: UInt8(ascii: "\n"))
        #expect(lines.count >= 4)
        for line in lines {
            let captured = try JSONDecoder().decode(Captured.self, from: Data(line))
            let message = try #require(Data(base64Encoded: captured.message))
            let (time, events) = try read(Array(message), model: "tiny")
            #expect(time == captured.time)
            #expect(
                events == [
                    ReadEvent(
                        kind: .stored, hashes: captured.hashes.map { UInt64($0)! },
                        parent: captured.parent.map { UInt64($0)! }, tokens: captured.tokens,
                        blockTokens: captured.blockTokens, namespace: namespace("tiny"), bearing: .counts)
                ])
        }
    }

    /// The three shapes say the same.
    @Test func allShapesOfABatch() throws {
        let asArray = Packed.array([
            .text("BlockStored"), .array([.number(7), .number(8)]), .null,
            .array([.number(1), .number(2), .number(300), .number(70_000)]), .number(2), .null, .text("GPU"),
        ])
        let expected = ReadEvent(
            kind: .stored, hashes: [7, 8], parent: nil, tokens: [1, 2, 300, 70_000], blockTokens: 2,
            namespace: namespace("m"), bearing: .counts)
        #expect(try read(batch([asArray])) == [expected])
        #expect(try read(batch([stored()])) == [expected])
        #expect(
            try read(.map([("data_parallel_rank", .null), ("events", .array([stored()])), ("ts", .float(1))]))
                == [expected])
        // SGLang 0.5.5 has no medium, and its rank may be missing.
        guard case .array(let fields) = asArray else { return }
        #expect(try read(.array([.float(1), .array([.array(Array(fields.dropLast(2)))])])) == [expected])
    }

    @Test func removedAndCleared() throws {
        let events = try read(
            batch([
                .array([.text("BlockRemoved"), .array([.int(-3), .number(9)]), .text("GPU")]),
                .map([("type", .text("AllBlocksCleared"))]), .array([.text("AllBlocksCleared")]),
                .map([
                    ("block_hashes", .array([.number(1)])), ("medium", .text("CPU")), ("type", .text("BlockRemoved")),
                ]),
            ]))
        #expect(events.map(\.kind) == [.removed, .cleared, .cleared, .removed])
        #expect(events[0].hashes == [UInt64(bitPattern: -3), 9])
        #expect(events.map(\.counts) == [true, true, true, false])
    }

    /// A name of 32 bytes is the key that the C interface gives it.
    @Test func namesOfManyBytesAreKeys() throws {
        let name = (0..<32).map { UInt8($0) }
        let events = try read(batch([stored(hashes: .array([.bytes(name), .bytes(name.reversed())]))]))
        let key = name.withUnsafeBytes { Key.of(RawSpan(_unsafeBytes: $0)) }
        #expect(events[0].hashes[0] == key && events[0].hashes[1] != key)
    }

    /// Whose blocks they are. What no request's text can tell is not believed.
    @Test func adaptersAndSaltsAreNamespaces() throws {
        func one(_ more: [(String, Packed)], adapterIsModel: Bool = true) throws -> ReadEvent {
            try read(batch([stored(more)]), adapterIsModel: adapterIsModel)[0]
        }
        let lora: [(String, Packed)] = [
            ("lora_id", .number(1)), ("lora_name", .text("poet")), ("extra_keys", .array([.text("poet"), .null])),
        ]
        #expect(try one(lora).namespace == namespace("poet") && one(lora).counts)
        #expect(try one(lora, adapterIsModel: false).namespace == namespace("m", adapter: "poet"))
        #expect(try one([("cache_salt", .text("s"))]).namespace == namespace("m", salt: "s"))
        #expect(try !one([("lora_id", .number(1))]).counts)
        #expect(try !one([("extra_keys", .array([.null, .array([.text("image"), .number(3)])]))]).counts)
        #expect(try one([("extra_keys", .array([.null, .null]))]).counts)
    }

    /// vLLM says the salt beside the first block alone, behind an adapter's name.
    @Test func saltsAmongExtraKeysAreNamespaces() throws {
        func one(_ keys: [Packed], _ more: [(String, Packed)] = []) throws -> ReadEvent {
            try read(batch([stored(more + [("extra_keys", .array(keys))])]))[0]
        }
        let poet: [(String, Packed)] = [("lora_id", .number(1)), ("lora_name", .text("poet"))]
        let salted = try one([.array([.text("s")]), .null])
        #expect(salted.counts && salted.namespace == namespace("m", salt: "s"))
        for salt in ["s", "poet"] {
            let both = try one([.array([.text("poet"), .text(salt)]), .array([.text("poet")])], poet)
            #expect(both.counts && both.namespace == namespace("poet", salt: salt))
        }
        let image = Packed.array([.text("image"), .number(3)])
        let nameless: [([Packed], [(String, Packed)])] = [
            ([.array([image, .text("s")]), .null], []), ([.array([.text("s"), .text("t")]), .null], []),
            ([.array([.text("s"), .bytes([1])]), .null], []), ([.null, .array([.text("s")])], []),
            ([.array([.text("s")]), .null], [("parent_block_hash", .number(3))]),
            ([.array([.text("other")]), .array([.text("poet")])], poet),
            ([.array([.text("poet")]), .array([.text("poet"), .text("s")])], poet),
            ([.array([.text("poet"), image]), .array([.text("poet")])], poet),
        ]
        for (keys, more) in nameless { #expect(try one(keys, more).bearing == .nameless, "\(keys)") }
    }

    @Test func whatIsNotOnTheGPUDoesNotCount() throws {
        for medium in ["CPU", "CPU_PINNED", "DISK", "STORAGE", "EXTERNAL"] {
            #expect(try !read(batch([stored([("medium", .text(medium))])]))[0].counts)
        }
        // Names of what a window has left are not among the hashes; what is copied elsewhere may have no tokens.
        let window = stored([("kv_cache_spec_kind", .text("sliding_window"))], hashes: .array([.number(8)]))
        #expect(try read(batch([window]))[0].bearing == .part)
        let copy = stored([("medium", .text("CPU")), ("block_size", .number(0)), ("token_ids", .array([]))])
        #expect(try read(batch([copy]))[0].bearing == .copy)
        for kind in ["sliding_window", "sliding_window_mla", "mamba", "chunked_local_attention", "unknown"] {
            #expect(try read(batch([stored([("kv_cache_spec_kind", .text(kind))])]))[0].bearing == .part)
        }
        for kind in ["full_attention", "mla_attention", "sink_full_attention"] {
            #expect(try read(batch([stored([("kv_cache_spec_kind", .text(kind))])]))[0].counts)
        }
    }

    @Test func whatIsWrongIsAnError() {
        let wrong: [(Packed, KVEventError)] = [
            (.array([.float(1)]), .malformed), (.text("BlockStored"), .malformed),
            (batch([.array([.text("BlockMoved")])]), .unknownEvent), (batch([.map([("a", .null)])]), .unknownEvent),
            (.map([]), .malformed), (.map([("ts", .float(1))]), .malformed),
            (.map([("events", .array([stored()]))]), .malformed),
            (batch([.array([.text("BlockStored"), .array([.number(1)])])]), .malformed),
            (batch([stored([("block_size", .number(3))])]), .malformed),
            (batch([stored([("token_ids", .array([.number(1 << 40)]))])]), .malformed),
            (batch([.array([.text("BlockRemoved"), .array([.array([])])])]), .malformed),
        ]
        for (message, error) in wrong { #expect(throws: error) { try read(message) } }
        #expect(throws: KVEventError.malformed) { try read(batch([stored()]).bytes + [0xC0]) }
    }

    /// Cut or changed anywhere, a message is read as something or refused: never a crash, and no count makes room for more
    /// than there is.
    @Test func damageIsHarmless() throws {
        let whole = batch([
            stored([("lora_name", .text("poet"))]), .array([.text("BlockRemoved"), .array([.number(9)])]),
        ])
        .bytes
        for end in 0..<whole.count { #expect(throws: KVEventError.self) { try read(Array(whole[..<end])) } }
        for seed in Seeds.sequence(2_000) {
            var random = SplitMix64(seed: seed)
            var damaged = whole
            for _ in 0..<random.pick(1...4) {
                damaged[random.next(below: damaged.count)] = UInt8(truncatingIfNeeded: random.next())
            }
            if let events = try? read(damaged).events {
                for event in events where event.kind == .stored && event.counts {
                    #expect(event.tokens.count == event.hashes.count * event.blockTokens, "seed \(seed)")
                }
            }
        }
    }
}
