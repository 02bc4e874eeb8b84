import GotoniCore

@testable import GotoniSimulation

// Small worlds for tests.

/// Numbers of nanoseconds without fractions, so that hand-computed times are exact.
let roundEngine = EngineModel(
    name: "round", prefillPerToken: 0.125, decode: 6, decodePerRequest: 0.5, chunkTokens: 1_000, maxRunning: 64,
    kvTokens: 1_000_000, pageTokens: 16)

/// A workload of prompts given as lists of block numbers of `blockTokens` each; a request a second if not said otherwise.
func workload(
    _ prompts: [[UInt32]], blockTokens: Int = 160, outputTokens: Int = 10, every seconds: Double = 1,
    sessions: [Int]? = nil
) -> Workload {
    var workload = Workload(name: "test")
    for block in 0...(prompts.joined().max() ?? 0) { _ = workload.addBlock(name: UInt64(block)) }
    for (index, prompt) in prompts.enumerated() {
        let session = sessions?[index] ?? index
        workload.add(
            prompt.map { Segment(block: $0, tokens: UInt32(blockTokens)) }, outputTokens: outputTokens,
            arrival: .at(Nanoseconds(seconds: Double(index) * seconds)), user: session, session: session)
    }
    return workload
}

/// `count` block numbers from `first` on.
func blocks(_ first: Int, _ count: Int) -> [UInt32] { (first..<first + count).map(UInt32.init) }

/// One server without network.
func lonely(_ engine: EngineModel = roundEngine) -> Scenario {
    var scenario = Scenario(network: Network(rtt: [0]), engine: engine, perRegion: 1)
    scenario.network.upload = .none
    return scenario
}

/// `count` servers at equal distances.
func fleet(_ count: Int, rtt: Double = 20, engine: EngineModel = roundEngine) -> Scenario {
    var scenario = Scenario(network: Network(rtt: [rtt]), engine: engine, perRegion: count)
    scenario.network.upload = .none
    return scenario
}

func policy(_ text: String) throws -> PolicySpec { try PolicySpec(text) }

extension RunResult {
    var failed: Int { requests.count { $0.outcome != .ok } }
    var cachedTokens: Int { requests.reduce(0) { $0 + $1.cachedTokens } }

    /// Requests by server.
    func served(_ servers: Int) -> [Int] {
        (0..<servers).map { server in requests.count { $0.server == server && $0.outcome == .ok } }
    }

    /// Milliseconds to the first token, sorted.
    var ttfts: [Double] { requests.filter { $0.outcome == .ok }.map { Double($0.firstToken) / 1e6 }.sorted() }
    var e2es: [Double] { requests.filter { $0.outcome == .ok }.map { Double($0.lastToken) / 1e6 }.sorted() }
}

extension Array where Element == Double {
    func at(_ share: Double) -> Double { percentile(self, share) }
    var mean: Double { reduce(0, +) / Double(Swift.max(count, 1)) }
}
