import GotoniCore

/// All policies by name.
public enum Catalogue {
    /// Name and what it does, for `--help`: ours, then those of others.
    public static let policies: [(name: String, summary: String)] =
        own.map { ($0.id.text, $0.summary) } + rivals.map { ($0.name, $0.summary) }

    private static let own: [(id: PolicyID, summary: String)] = [
        (
            .gorgo,
            "lowest GORGO cost; queued_weight, running_cost_factor, ms_per_token and the other knobs; "
                + "kv_events=1: engines tell what they cache; tune=1: weights are tuned meanwhile, for "
                + "ttft_limit_ms=2000 and itl_limit_ms=100, until freeze_after=0 requests; "
                + "evolve=1: by GORGO's (1+1)-ES"
        ),
        (.prefixTree, "longest match, then least load"),
        (.leastLoad, "fewest prompt tokens queued and running"),
        (.leastRequest, "fewest requests queued and running"),
        (.sessionAffinity, "rendezvous hashing of the session"),
        (.powerOfTwo, "the less loaded of two drawn at random"),
        (.roundRobin, "in turn"),
        (.random, "any, with the same chance"),
        (
            .predictive,
            "lowest predicted time, own and others'; the knobs, tune=1 as gorgo, and factors on its terms, 1 if not given: "
                + PredictionTerm.allCases.map { "x_\($0)" }.joined(separator: ", ")
        ),
    ]

    private struct Rival: Sendable {
        let name: String
        let summary: String
        let make: @Sendable (EngineModel, inout Parameters) throws(SimulationError) -> PolicySpec.Rule

        init(
            _ name: String, _ summary: String,
            make: @escaping @Sendable (EngineModel, inout Parameters) throws(SimulationError) -> PolicySpec.Rule
        ) {
            (self.name, self.summary, self.make) = (name, summary, make)
        }

        /// A policy whose parameters are numbers of its own.
        init<Policy: RivalPolicy & Sendable>(
            _ name: String, _ summary: String, _ policy: Policy,
            _ numbers: [(String, any WritableKeyPath<Policy, Double> & Sendable, ClosedRange<Double>)] = []
        ) {
            self.init(name, summary) { (_, parameters) throws(SimulationError) in
                var policy = policy
                for (name, path, bounds) in numbers {
                    policy[keyPath: path] = try parameters.take(name, policy[keyPath: path], in: bounds)
                }
                return .rival(policy)
            }
        }
    }

    private static let shares = 0.0...1
    private static let weights = 0.0...1_000
    private static let limits = 1.0...3_600_000
    private static let counts = 0.0...1_000_000

    private static let rivals: [Rival] = [
        Rival("oracle", "knows true caches, queues and answers; others=0.5, first_token_only=0") {
            (_, p) throws(SimulationError) in
            var oracle = Oracle()
            oracle.others = try p.take("others", oracle.others, in: weights)
            oracle.firstTokenOnly = try p.take("first_token_only")
            return .rival(oracle)
        },
        Rival(
            "gorgo-v3", "GORGO v3: 0.276 · rtt ms + uncached + 0.5 · tokens in flight, trie without bound", GorgoV3(),
            [("w_rtt", \.rttWeight, weights), ("w_queue", \.queueWeight, weights)]),
        Rival("gorgo-v1", "GORGO v1, for @nodes; ms_per_token (the engine's), q=0.5, running_threshold=5") {
            (engine, p) throws(SimulationError) in
            var policy = GorgoV1()
            policy.msPerToken = try p.take("ms_per_token", engine.prefillPerToken, in: weights)
            policy.runningShare = try p.take("q", policy.runningShare, in: weights)
            policy.runningThreshold = try p.take("running_threshold", policy.runningThreshold, in: counts)
            return .rival(policy)
        },
        Rival(
            "simple-session-affinity", "GORGO's baseline: hash of the first 256 tokens modulo servers",
            SimpleSessionAffinity()),
        Rival(
            "aibrix-prefix-cache", "AIBrix: longest match not far above the mean load; abs=16, k=2",
            AIBrixPrefixCache(),
            [("abs", \.imbalance, counts), ("k", \.deviations, weights)]),
        Rival(
            "sglang-cache-aware", "SGLang: match above a share, else fewest requests; threshold=0.3, abs=64, rel=1.5",
            SGLangCacheAware(),
            [("threshold", \.threshold, shares), ("abs", \.absolute, counts), ("rel", \.relative, counts)]),
        Rival(
            "smg-cache-aware",
            "SMG since August 2026: the same, spilling one server at a time; threshold=0.3, abs=64, rel=1.5",
            SMGCacheAware(),
            [("threshold", \.threshold, shares), ("abs", \.absolute, counts), ("rel", \.relative, counts)]),
        Rival(
            "dynamo-kv", "NVIDIA Dynamo: blocks to prefill and in use, KV events; overlap=1, temperature=0", DynamoKV(),
            [("overlap", \.overlap, weights), ("temperature", \.temperature, weights)]),
        Rival(
            "llm-d", "llm-d: weighted scores of match, queue and KV usage; prefix=3, queue=2, kv=2", LLMD(),
            [("prefix", \.prefix, weights), ("queue", \.queue, weights), ("kv", \.kv, weights)]),
        Rival("chwbl", "KubeAI: consistent hashing, bounded loads; load=1.25, points=256, key=0 (1: tokens)") {
            (_, p) throws(SimulationError) in
            var policy = ConsistentHashing()
            policy.load = try p.take("load", policy.load, in: 1...1_000)
            policy.points = Int(try p.take("points", Double(policy.points), in: 1...4_096))
            policy.key = try p.take("key") ? .firstTokens : .session
            return .rival(policy)
        },
        Rival("preble-e2", "Preble: exploit or explore by GPU time; prefill_ms, decode_ms (the engine's), balance=1.5")
        {
            (engine, p) throws(SimulationError) in
            var policy = PrebleE2()
            policy.prefill = try p.take("prefill_ms", engine.prefillPerToken, in: weights)
            policy.decode = try p.take("decode_ms", engine.decode, in: weights)
            policy.balance = try p.take("balance", policy.balance, in: 1...1_000_000)
            return .rival(policy)
        },
        Rival(
            "skywalker", "SkyWalker: longest match where nobody waits, near first; threshold=0, tau=0", SkyWalker(),
            [("threshold", \.threshold, shares), ("tau", \.tau, counts)]),
    ]

    private static func search(_ parameters: inout Parameters) throws(SimulationError) -> WeightSearch {
        let (tunes, evolves) = (try parameters.take("tune"), try parameters.take("evolve"))
        guard !tunes || !evolves else { throw SimulationError("\(parameters.policy): tune or evolve, not both") }
        if evolves { return .evolution }
        guard tunes else { return .nobody }
        var settings = TunerSettings()
        settings.firstTokenLimit = try parameters.take("ttft_limit_ms", settings.firstTokenLimit, in: limits)
        settings.interTokenLimit = try parameters.take("itl_limit_ms", settings.interTokenLimit, in: limits)
        return .tuner(settings, freezeAfter: Int(try parameters.take("freeze_after", 0, in: counts)))
    }

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
            var factors: [(PredictionTerm, Double)] = []
            if entry.id == .predictive {
                for term in PredictionTerm.allCases {
                    factors.append((term, try parameters.take("x_\(term)", 1, in: PredictionTerm.factors)))
                }
            }
            return .own(entry.id, knobs: knobs, factors: factors, index: index, search: try search(&parameters))
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
