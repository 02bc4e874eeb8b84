import GotoniCore

/// All policies by name.
public enum Catalogue {
    /// Name and what it does, for `--help`: ours, then those of others.
    public static let policies: [(name: String, summary: String)] =
        own.map { ($0.id.text, $0.summary) } + rivals.map { ($0.name, $0.summary) }

    private static let own: [(id: PolicyID, summary: String)] = [
        (.gorgo, "lowest GORGO cost; parameters: the router's knobs, kv_events=1"),
        (.prefixTree, "longest match, then least load"),
        (.leastLoad, "fewest prompt tokens queued and running"),
        (.leastRequest, "fewest requests queued and running"),
        (.sessionAffinity, "rendezvous hashing of the session"),
        (.powerOfTwo, "the less loaded of two drawn at random"),
        (.roundRobin, "in turn"),
        (.random, "any, with the same chance"),
    ]

    private struct Rival {
        let name: String
        let summary: String
        let make: @Sendable (EngineModel, inout Parameters) throws(SimulationError) -> PolicySpec.Rule
    }

    private static let rivals: [Rival] = [
        Rival(
            name: "oracle", summary: "knows true caches, queues and answers; others=0.5, first_token_only=0"
        ) { (_, p) throws(SimulationError) in
            var oracle = Oracle()
            oracle.others = try p.take("others", oracle.others, in: 0...1_000)
            oracle.firstTokenOnly = try p.take("first_token_only")
            return .rival(oracle)
        },
        Rival(
            name: "gorgo-v3",
            summary: "GORGO v3: 0.276 · rtt ms + uncached + 0.5 · tokens in flight, trie without bound"
        ) { (_, p) throws(SimulationError) in
            let rtt = try p.take("w_rtt", 0.276, in: 0...1_000)
            let queue = try p.take("w_queue", 0.5, in: 0...1_000)
            // In its score a token counts 1, in flight from dispatch to the last byte; its filter averages (α = 0.3).
            return .own(
                .gorgo,
                knobs: [
                    (.msPerToken, 1), (.rttWeight, rtt), (.queuedWeight, queue), (.runningCostFactor, queue),
                    (.rttExcessAlpha, 0.3),
                ], index: .unbounded)
        },
        Rival(
            name: "gorgo-v1", summary: "GORGO v1, for @nodes; ms_per_token (the engine's), q=0.5, running_threshold=5"
        ) { (engine, p) throws(SimulationError) in
            var policy = GorgoV1()
            policy.msPerToken = try p.take("ms_per_token", engine.prefillPerToken, in: 0...1_000)
            policy.runningShare = try p.take("q", policy.runningShare, in: 0...1_000)
            policy.runningThreshold = try p.take("running_threshold", policy.runningThreshold, in: 0...100_000)
            return .rival(policy)
        },
        Rival(
            name: "simple-session-affinity", summary: "GORGO's baseline: hash of the first 256 tokens modulo servers"
        ) { (_, p) throws(SimulationError) in .rival(SimpleSessionAffinity()) },
        Rival(
            name: "aibrix-prefix-cache", summary: "AIBrix: longest match not far above the mean load; abs=16, k=2"
        ) { (_, p) throws(SimulationError) in
            var policy = AIBrixPrefixCache()
            policy.imbalance = try p.take("abs", policy.imbalance, in: 0...1_000_000)
            policy.deviations = try p.take("k", policy.deviations, in: 0...1_000)
            return .rival(policy)
        },
        Rival(
            name: "sglang-cache-aware",
            summary: "SGLang: match above a share, else fewest requests; threshold=0.3, abs=64, rel=1.5"
        ) { (_, p) throws(SimulationError) in
            var policy = SGLangCacheAware()
            policy.threshold = try p.take("threshold", policy.threshold, in: 0...1)
            policy.absolute = try p.take("abs", policy.absolute, in: 0...1_000_000)
            policy.relative = try p.take("rel", policy.relative, in: 0...1_000_000)
            return .rival(policy)
        },
        Rival(
            name: "smg-cache-aware",
            summary: "SMG since August 2026: the same, spilling one server at a time; threshold=0.3, abs=64, rel=1.5"
        ) { (_, p) throws(SimulationError) in
            var policy = SMGCacheAware()
            policy.threshold = try p.take("threshold", policy.threshold, in: 0...1)
            policy.absolute = try p.take("abs", policy.absolute, in: 0...1_000_000)
            policy.relative = try p.take("rel", policy.relative, in: 0...1_000_000)
            return .rival(policy)
        },
        Rival(
            name: "dynamo-kv",
            summary: "NVIDIA Dynamo: blocks to prefill and in use, KV events; overlap=1, temperature=0"
        ) { (_, p) throws(SimulationError) in
            var policy = DynamoKV()
            policy.overlap = try p.take("overlap", policy.overlap, in: 0...1_000)
            policy.temperature = try p.take("temperature", policy.temperature, in: 0...1_000)
            return .rival(policy)
        },
        Rival(
            name: "llm-d", summary: "llm-d: weighted scores of match, queue and KV usage; prefix=3, queue=2, kv=2"
        ) { (_, p) throws(SimulationError) in
            var policy = LLMD()
            policy.prefix = try p.take("prefix", policy.prefix, in: 0...1_000)
            policy.queue = try p.take("queue", policy.queue, in: 0...1_000)
            policy.kv = try p.take("kv", policy.kv, in: 0...1_000)
            return .rival(policy)
        },
        Rival(
            name: "chwbl",
            summary: "KubeAI: consistent hashing, bounded loads; load=1.25, points=256, key=0 (1: tokens)"
        ) { (_, p) throws(SimulationError) in
            var policy = ConsistentHashing()
            policy.load = try p.take("load", policy.load, in: 1...1_000)
            policy.points = Int(try p.take("points", Double(policy.points), in: 1...4_096))
            policy.key = try p.take("key") ? .firstTokens : .session
            return .rival(policy)
        },
        Rival(
            name: "preble-e2",
            summary: "Preble: exploit or explore by GPU time; prefill_ms, decode_ms (the engine's), balance=1.5"
        ) { (engine, p) throws(SimulationError) in
            var policy = PrebleE2()
            policy.prefill = try p.take("prefill_ms", engine.prefillPerToken, in: 0...1_000)
            policy.decode = try p.take("decode_ms", engine.decode, in: 0...1_000)
            policy.balance = try p.take("balance", policy.balance, in: 1...1_000_000)
            return .rival(policy)
        },
        Rival(
            name: "skywalker", summary: "SkyWalker: longest match where nobody waits, near first; threshold=0, tau=0"
        ) { (_, p) throws(SimulationError) in
            var policy = SkyWalker()
            policy.threshold = try p.take("threshold", policy.threshold, in: 0...1)
            policy.tau = try p.take("tau", policy.tau, in: 0...1_000_000)
            return .rival(policy)
        },
    ]

    static func rule(
        _ name: String, _ engine: EngineModel, _ parameters: inout Parameters
    ) throws(SimulationError) -> PolicySpec.Rule {
        if let entry = own.first(where: { $0.id.text == name || (name == "least-loaded" && $0.id == .leastLoad) }) {
            let index = try parameters.take("kv_events") ? PrefixIndex.events : .bounded
            var knobs: [(Knob, Double)] = []
            for knob in Knob.allCases {
                guard parameters.values[knob.info.name.description] != nil else { continue }
                knobs.append((knob, try parameters.take(knob.info.name.description, 0, in: knob.info.bounds)))
            }
            return .own(entry.id, knobs: knobs, index: index)
        }
        guard let rival = rivals.first(where: { $0.name == name }) else {
            let names = policies.map(\.name).joined(separator: ", ")
            throw SimulationError("there is no policy \"\(name)\"; there are \(names)")
        }
        return try rival.make(engine, &parameters)
    }
}

extension PolicyID {
    fileprivate var text: String { name.description }
}
