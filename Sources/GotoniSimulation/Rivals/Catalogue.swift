import GotoniCore

/// All policies by name.
public enum Catalogue {
    /// Name and what it does, for `--help`: ours, then those of others.
    public static let policies: [(name: String, summary: String)] =
        own.map { ($0.id.text, $0.summary) }
        + rivals.map {
            ($0.name, $0.summary)
        }

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
        let make: @Sendable (inout Parameters) throws(SimulationError) -> PolicySpec.Rule
    }

    private static let rivals: [Rival] = [
        Rival(
            name: "oracle", summary: "knows true caches, queues and answers; others=1, first_token_only=0"
        ) { (p) throws(SimulationError) in
            var oracle = Oracle()
            oracle.others = try p.take("others", oracle.others, in: 0...1_000)
            oracle.firstTokenOnly = try p.take("first_token_only", 0, in: 0...1)
            return .rival(oracle)
        },
        Rival(
            name: "gorgo-v3",
            summary: "GORGO v3: 0.276 · rtt ms + uncached + 0.5 · tokens in flight, trie without bound"
        ) { (p) throws(SimulationError) in
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
    ]

    static func rule(_ name: String, _ parameters: inout Parameters) throws(SimulationError) -> PolicySpec.Rule {
        if let entry = own.first(where: { $0.id.text == name || (name == "least-loaded" && $0.id == .leastLoad) }) {
            let index = try parameters.take("kv_events", 0, in: 0...1) == 1 ? PrefixIndex.events : .bounded
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
        return try rival.make(&parameters)
    }
}

extension PolicyID {
    fileprivate var text: String { name.description }
}
