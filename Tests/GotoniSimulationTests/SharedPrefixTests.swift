import GotoniCore
import TestSupport
import Testing

@testable import GotoniSimulation

/// A storm on one long system prompt, on eight cold servers: where it is cached everybody wants to go. Small here; the whole
/// is `make bench-storm`.
@Suite struct SharedPrefixTests {
    /// 20 s at seven tenths of what eight servers can do.
    private func play(_ name: String, seed: UInt64) throws -> (requests: Double, tokens: Double, hits: Double) {
        var storm = SharedPrefixWorkload()
        storm.requests = 800
        storm.requestsPerSecond = 40
        let workload = try storm.make(seed: seed)
        var scenario = Scenario(network: Network(rtt: [37]), engine: .neutral, perRegion: 8)
        scenario.seed = seed
        let run = try Simulation.run(workload, scenario, policy(name))
        let limits = ServiceLimits(ttft: 5_000, itl: 100)
        let report = PolicyReport(
            run, workload, scenario, limits, reusable: workload.reusableTokens(), oracle: nil)
        #expect(report.failed == 0)
        return (report.busiestShare * 8, report.busiestPromptShare * 8, report.hitShare)
    }

    @Test(arguments: ["predictive", "gorgo"]) func theStormIsSpreadAndTheCacheIsUsed(_ name: String) throws {
        for seed in Seeds.sequence(3) {
            let (requests, _, hits) = try play(name, seed: seed)
            #expect(requests <= 1.25, "seed \(seed): \(requests)")
            #expect(hits >= 0.9, "seed \(seed): \(hits)")
        }
    }

    /// What it would be otherwise: all to the one that has it, or none found again.
    @Test func whoGoesByTheCacheAloneDoesNotSpread() throws {
        #expect(try play("prefix-tree", seed: 1).tokens > 4)
    }
}
