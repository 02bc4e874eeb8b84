import GotoniCore
import TestSupport

/// A message of an engine's KV events.
struct KVMessage {
    var number: UInt64
    var bytes: [UInt8]
}

/// An engine's KV cache as a tree of blocks, which writes down what it does as SGLang publishes it.
struct CachingEngine {
    let blockTokens: Int
    let model: String
    private(set) var number: UInt64 = 0
    private var time = 0.0
    private var prefixes: [UInt64: [UInt32]] = [:]
    private var parents: [UInt64: UInt64] = [:]
    /// All prompts that were ever cached.
    private(set) var known: [[UInt32]] = []
    private var nextName: UInt64 = 1

    init(blockTokens: Int, model: String) {
        self.blockTokens = blockTokens
        self.model = model
    }

    /// One to three things happen. Names and times go on over restarts.
    mutating func work(_ random: inout SplitMix64) -> KVMessage {
        time += 1
        let events = (0..<random.pick(1...3)).map { _ -> Packed in
            if random.chance(1), !prefixes.isEmpty {
                empty()
                return .map([("type", .text("AllBlocksCleared"))])
            }
            if random.chance(40), let names = evict(&random) {
                return .map([
                    ("type", .text("BlockRemoved")), ("block_hashes", .array(names.map { .number($0) })),
                    ("medium", .text("GPU")),
                ])
            }
            return store(&random)
        }
        defer { number += 1 }
        return KVMessage(number: number, bytes: Packed.array([.float(time), .array(events), .number(0)]).bytes)
    }

    mutating func restart() {
        empty()
        number = 0
    }

    private mutating func empty() { (prefixes, parents) = ([:], [:]) }

    private mutating func store(_ random: inout SplitMix64) -> Packed {
        let names = prefixes.keys.sorted()
        let parent = names.isEmpty || random.chance(20) ? nil : names[random.next(below: names.count)]
        var (behind, added, hashes): (UInt64?, [UInt32], [UInt64]) = (parent, [], [])
        for _ in 0..<random.pick(1...3) {
            // The first token makes siblings differ, as a cache has each prefix once.
            let block = [UInt32(nextName)] + (1..<blockTokens).map { _ in UInt32(random.next(below: 3)) }
            prefixes[nextName] = (behind.flatMap { prefixes[$0] } ?? []) + block
            parents[nextName] = behind
            known.append(prefixes[nextName] ?? [])
            behind = nextName
            hashes.append(nextName)
            added += block
            nextName += 1
        }
        return .map([
            ("type", .text("BlockStored")), ("block_hashes", .array(hashes.map { .number($0) })),
            ("parent_block_hash", parent.map { .number($0) } ?? .null),
            ("token_ids", .array(added.map { .number(UInt64($0)) })), ("block_size", .number(UInt64(blockTokens))),
            ("medium", .text("GPU")),
        ])
    }

    /// Some leaves, as engines evict them.
    private mutating func evict(_ random: inout SplitMix64) -> [UInt64]? {
        var gone: [UInt64] = []
        for _ in 0..<random.pick(1...3) {
            let inner = Set(parents.values)
            let leaves = prefixes.keys.filter { !inner.contains($0) }.sorted()
            guard !leaves.isEmpty else { break }
            let leaf = leaves[random.next(below: leaves.count)]
            prefixes[leaf] = nil
            parents[leaf] = nil
            gone.append(leaf)
        }
        return gone.isEmpty ? nil : gone
    }

    func cached(_ prompt: [UInt32]) -> Int {
        prefixes.values.filter { prompt.starts(with: $0) }.map(\.count).max() ?? 0
    }
}

extension SharedRouter {
    /// How many tokens of a prompt for `model` server `id` is believed to hold.
    func matched(_ tokens: [UInt32], model: String, on id: ServerID) throws -> Int {
        let namespace = Array(model.utf8).withUnsafeBytes {
            Key.namespace(model: RawSpan(_unsafeBytes: $0), adapter: RawSpan(), salt: RawSpan())
        }
        return try withPrompt(tokens.span, namespace: namespace) { (router, prompt) throws(RouterError) in
            var found = 0
            router.match(prompt) { if $0 == id { found = $1 } }
            return found
        }
    }
}
