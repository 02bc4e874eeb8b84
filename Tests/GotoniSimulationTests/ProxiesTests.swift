import GotoniCore
import Testing

@testable import GotoniSimulation

/// Several proxies in front of the same servers.
@Suite struct ProxiesTests {
    private static func scenario(
        proxies: Int, _ clients: Scenario.Clients = .spread, perRegion: Int = 2
    ) -> Scenario {
        var scenario = Scenario(network: Network(rtt: [1, 120, 210]), engine: .neutral, perRegion: perRegion)
        scenario.clients = clients
        scenario.proxies = proxies
        scenario.seed = 3
        return scenario
    }

    private static func play(_ name: String, _ scenario: Scenario) throws -> RunResult {
        try Simulation.run(try SimulationTests.busyWorkload(4), scenario, policy(name))
    }

    @Test(arguments: ["gorgo@apart", "gorgo@sharing", "gorgo@regions", "predictive@regions", "least-load@sharing"])
    func everyRequestEndsOnceAndEveryTokenIsGenerated(_ name: String) throws {
        let workload = try SimulationTests.busyWorkload(4)
        for clients in Scenario.Clients.allCases {
            let scenario = Self.scenario(proxies: 7, clients)
            let run = try Simulation.run(workload, scenario, policy(name))
            #expect(run.failed == 0 && run.requests.count == workload.requests.count)
            #expect(run.work.reduce(0) { $0 + $1.generatedTokens } == workload.outputTokens)
            #expect(try Simulation.run(workload, scenario, policy(name)).requests == run.requests)
        }
    }

    /// One that shares with nobody is one that is apart.
    @Test func aLoneProxyHasNobodyToTell() throws {
        let scenario = Self.scenario(proxies: 1)
        let (apart, sharing) = (try Self.play("gorgo@apart", scenario), try Self.play("gorgo@sharing", scenario))
        #expect(apart.requests == sharing.requests)
        #expect(sharing.sharing?.promptsHeard == 0)
    }

    /// Eight that tell each other find nearly what one finds; eight that do not, far less; and the later they tell, the less.
    @Test func whatIsToldIsFound() throws {
        func cached(_ name: String, _ proxies: Int) throws -> Double {
            Double(try Self.play(name, Self.scenario(proxies: proxies, perRegion: 8)).cachedTokens)
        }
        let (one, eight) = (try cached("gorgo@apart", 1), try cached("gorgo@sharing", 8))
        #expect(eight > 0.97 * one)
        #expect(try cached("gorgo@apart", 8) < 0.95 * one)
        #expect(try cached("gorgo@sharing:tell_ms=60000", 8) < 0.97 * eight)
    }

    /// All clients are in one region, more than its servers can serve: requests go to others, once each, and come back to
    /// what is cached there, because of the digest.
    @Test func aFullRegionPassesRequestsOnToWhereTheirBeginningIs() throws {
        let scenario = Self.scenario(proxies: 6, .proxy)
        let regions = try Self.play("gorgo@regions", scenario)
        let blind = try Self.play("gorgo@regions:digest_bits=0", scenario)
        let work = try #require(regions.sharing)
        #expect(work.passedOn > 0 && work.disappointed * 20 < work.passedOn)
        #expect(regions.served(6)[2...].reduce(0, +) > 0)
        #expect(regions.cachedTokens > blind.cachedTokens)
        // Within the region alone its two servers would have to serve all.
        #expect(try Self.play("gorgo@apart", Self.scenario(proxies: 1)).failed == 0)
    }

    /// Where nobody has to leave, nearly nobody does: a region's own servers are nearer.
    @Test func requestsStayWhereTheyAreServedWell() throws {
        var scenario = Self.scenario(proxies: 6)
        scenario.network.rtt = [2_000, 3_000, 4_000]
        let work = try #require(try Self.play("gorgo@regions", scenario).sharing)
        #expect(work.passedOn == 0 && work.promptsTold > 0)
    }

    /// A region that cannot be reached gets nothing, tells nothing, and serves its own.
    @Test func aLostRegionGoesOnAlone() throws {
        var scenario = Self.scenario(proxies: 6)
        scenario.faults = [Fault(at: .zero, .lost(region: 2))]
        for name in ["gorgo@sharing", "gorgo@regions"] {
            let workload = try SimulationTests.busyWorkload(4)
            let run = try Simulation.run(workload, scenario, policy(name))
            for (result, request) in zip(run.requests, workload.requests) where result.outcome == .ok {
                let server = try #require(result.server)
                #expect((scenario.servers[server].region == 2) == (request.user % 3 == 2), "\(name)")
            }
            #expect(run.requests.count { $0.outcome == .ok } > 0)
        }
    }
}
