import GotoniCore
import Testing

@testable import GotoniSimulation

/// The router in a world that goes wrong: what a user of each policy would live through.
@Suite struct RouterScenarioTests {
    @Test(arguments: ["gorgo", "least-load", "least-request", "prefix-tree", "round-robin"])
    func aHerdOfEqualRequestsSpreadsEvenly(_ name: String) throws {
        // 256 requests at one moment, no two alike, eight servers at equal distances: nothing tells them apart but what the
        // router itself has just sent.
        let requests = workload((0..<256).map { [UInt32($0)] }, every: 0)
        let run = try Simulation.run(requests, fleet(8), policy(name))
        for served in run.served(8) { #expect((31...33).contains(served)) }
    }

    @Test func aHerdWithOnePromptSpreadsToo() throws {
        // All 256 share their prompt, long enough that a server that has it is cheaper, until its queue is longer.
        let requests = workload((0..<256).map { _ in blocks(0, 10) }, every: 0)
        let run = try Simulation.run(requests, fleet(8), policy("gorgo"))
        for served in run.served(8) { #expect((31...33).contains(served)) }
    }

    @Test func aTermOfPredictiveThatCountsNothingDecidesNothing() throws {
        // Fifty requests a second to servers at 10 and 300 ms: to the near one, unless distance is no reason.
        let requests = workload((0..<400).map { [UInt32($0)] }, every: 0.02)
        let scenario = Scenario(network: Network(rtt: [10, 300]), engine: roundEngine, perRegion: 1)
        let whole = try Simulation.run(requests, scenario, policy("predictive")).served(2)
        let blind = try Simulation.run(requests, scenario, policy("predictive:x_network=0:x_upload=0")).served(2)
        #expect(whole[0] > 250 && blind[0] < 240, "\(whole) \(blind)")
        let same = try Simulation.run(requests, scenario, policy("predictive:x_network=1"))
        #expect(try same.requests == Simulation.run(requests, scenario, policy("predictive")).requests)
    }

    @Test func aRegionThatIsLostCostsOneTimeoutAndNoRequest() throws {
        let requests = workload((0..<600).map { [UInt32($0)] }, every: 0.1)
        var scenario = Scenario(network: Network(rtt: [20, 20]), engine: roundEngine, perRegion: 1)
        scenario.network.upload = .none
        scenario.faults = [
            Fault(at: Nanoseconds(seconds: 20), .lost(region: 0)),
            Fault(at: Nanoseconds(seconds: 40), .found(region: 0)),
        ]
        let run = try Simulation.run(requests, scenario, policy("gorgo"))
        #expect(run.failed == 0)
        let servers = run.requests.map { $0.server ?? -1 }
        // Probes that time out tell the router within a few seconds; until then requests wait for their own timeout.
        let late = run.requests.filter { $0.firstToken > 1_000_000_000 }
        #expect(!late.isEmpty && late.count < 40)
        #expect(late.allSatisfy { $0.attempts > 1 && $0.firstToken < 11_000_000_000 })
        for (request, server) in zip(run.requests, servers) {
            let at = request.scheduled.seconds
            if at > 26, at < 39 { #expect(server == 1, "at \(at) s") }
        }
        // Found again, it gets its share.
        let share = zip(run.requests, servers).filter { $0.0.scheduled.seconds > 45 && $0.1 == 0 }.count
        #expect(share > 50)
    }

    @Test func aServerThatRestartedIsNotBelievedToHaveItsCache() throws {
        // Sessions on two servers; server 1 restarts with nothing.
        let prompts = (0..<300).map { blocks($0 % 10 * 40, 40) }
        let requests = workload(prompts, every: 1, sessions: (0..<300).map { $0 % 10 })
        var scenario = fleet(2)
        scenario.faults = [
            Fault(at: Nanoseconds(seconds: 150), .crash(server: 0)),
            Fault(at: Nanoseconds(seconds: 153), .start(server: 0)),
        ]
        let run = try Simulation.run(requests, scenario, policy("gorgo"))
        // One answer at most was under way and broke off.
        #expect(run.failed <= 1)
        let after = run.requests.filter { $0.scheduled.seconds > 160 && $0.outcome == .ok }
        #expect(after.count > 130)
        for request in after { #expect(request.matchedTokens <= request.cachedTokens + 16) }
        // It is used again.
        #expect(after.contains { $0.server == 0 })
    }

    @Test func aRouterThatIsToldLateStillSpreadsItsOwn() throws {
        // Probes every 30 s: what the router knows of queues is what it did itself.
        let requests = workload((0..<400).map { [UInt32($0)] }, every: 0.02)
        var fresh = fleet(4)
        var stale = fresh
        (fresh.probeInterval, stale.probeInterval) = (Nanoseconds(seconds: 0.1), Nanoseconds(seconds: 30))
        let quick = try Simulation.run(requests, fresh, policy("gorgo"))
        let slow = try Simulation.run(requests, stale, policy("gorgo"))
        for served in slow.served(4) { #expect((85...115).contains(served)) }
        #expect(slow.ttfts.at(0.95) < 1.25 * quick.ttfts.at(0.95))
    }

    @Test func nodesThatLearnLateOfEachOtherHerd() throws {
        // All arrive at one node, whose peers' queues it knows from probes only; with old news it fares worse.
        let requests = workload((0..<500).map { [UInt32($0)] }, blockTokens: 1_600, every: 0.08)
        var scenario = Scenario(network: Network(rtt: [10, 10, 10]), engine: roundEngine, perRegion: 1)
        scenario.network.upload = .none
        let run = try Simulation.run(requests, scenario, policy("gorgo@nodes"))
        #expect(run.failed == 0)
        // Forwarded at most once, and to all.
        for served in run.served(3) { #expect(served > 100) }
        let local = try Simulation.run(requests, scenario, policy("gorgo-v1@nodes:running_threshold=100000"))
        // Served where they arrive while there is room, they queue there.
        #expect(local.served(3)[0] == 500)
        #expect(local.ttfts.at(0.5) > 5 * run.ttfts.at(0.5))
    }

    @Test func aSlowServerGetsLess() throws {
        let requests = workload((0..<800).map { [UInt32($0)] }, blockTokens: 1_600, every: 0.06)
        var scenario = fleet(4)
        scenario.faults = [Fault(at: .zero, .slow(server: 0, factor: 4))]
        let run = try Simulation.run(requests, scenario, policy("gorgo"))
        let served = run.served(4)
        #expect(served[0] * 2 < served[1])
        let blind = try Simulation.run(requests, scenario, policy("round-robin"))
        #expect(run.ttfts.at(0.95) * 2 < blind.ttfts.at(0.95))
    }

    @Test func aRequestThatIsTooLongHurtsNobodyElse() throws {
        // The second server holds it, the first does not.
        var small = roundEngine
        small.kvTokens = 2_000
        var scenario = fleet(1, engine: small)
        scenario.servers.append(Scenario.Server(engine: roundEngine, region: 0))
        scenario.probeInterval = Nanoseconds(seconds: 30)
        let prompts = (0..<12).map { $0 < 6 ? blocks($0 * 40, 32) : blocks(1_000 + $0, 1) }
        let run = try Simulation.run(workload(prompts, every: 0.2), scenario, policy("round-robin"))
        #expect(run.failed == 0)
        #expect(run.requests[0..<6].allSatisfy { $0.server == 1 })
        // Three refusals in a row are no reason to call the first one down.
        #expect(run.served(2)[0] >= 2)
        // Where nobody could hold it, it fails at once, and those behind it are not kept waiting.
        var limited = fleet(1, engine: small)
        limited.maxConcurrent = 1
        limited.probeInterval = Nanoseconds(seconds: 30)
        let alone = try Simulation.run(
            workload([blocks(0, 32), blocks(100, 1), blocks(200, 1)], every: 0), limited, policy("gorgo"))
        #expect(alone.failed == 1 && alone.requests[0].attempts == 1)
        #expect(alone.ttfts.at(1) < 1_000)
    }

    @Test func whoIsInALostRegionIsCutOffFromACentralProxyAndNotFromTheirNode() throws {
        let requests = workload((0..<40).map { [UInt32($0)] }, every: 0.5)
        var scenario = Scenario(network: Network(rtt: [20, 60]), engine: roundEngine, perRegion: 2)
        scenario.clients = .spread
        scenario.faults = [Fault(at: Nanoseconds(seconds: 5), .lost(region: 1))]
        let central = try Simulation.run(requests, scenario, policy("gorgo"))
        let late = central.requests.indices.filter { $0 > 10 }
        #expect(
            late.allSatisfy { central.requests[$0].outcome == (requests.requests[$0].user % 2 == 1 ? .failed : .ok) })
        // Nodes of the region still serve each other's users.
        let nodes = try Simulation.run(requests, scenario, policy("gorgo@nodes"))
        #expect(nodes.failed == 0)
    }

    @Test func newsIsAsOldAsTheWayItCame() throws {
        // A policy that goes by reported queues alone, 200 ms from two engines that serve one request after the other and are
        // asked every 10 ms. In one world the first is stuck from the first second on.
        var engine = roundEngine
        engine.maxRunning = 1
        let requests = workload((0..<400).map { [UInt32($0)] }, blockTokens: 40, outputTokens: 1, every: 0.005)
        var scenario = fleet(2, rtt: 400, engine: engine)
        scenario.probeInterval = Nanoseconds(seconds: 0.01)
        let free = try Simulation.run(requests, scenario, policy("llm-d:prefix=0:kv=0"))
        scenario.faults = [Fault(at: Nanoseconds(seconds: 1), .slow(server: 0, factor: 1_000))]
        let stuck = try Simulation.run(requests, scenario, policy("llm-d:prefix=0:kv=0"))
        // From then on requests wait there which would not; the news of it takes 200 ms, and what was decided by older news
        // is the same in both worlds.
        let firstOther = zip(free.requests, stuck.requests).first { $0.server != $1.server }
        let when = try #require(firstOther).0.scheduled.seconds
        #expect((1.2...1.3).contains(when), "at \(when) s")
    }

    @Test func aLimitHoldsRequestsAtTheBalancer() throws {
        let requests = workload((0..<40).map { [UInt32($0)] }, every: 0)
        var scenario = fleet(2)
        scenario.maxConcurrent = 5
        let run = try Simulation.run(requests, scenario, policy("least-request"))
        #expect(run.failed == 0)
        #expect(run.served(2) == [20, 20])
        // Ten at a time: the last come in the fourth wave.
        #expect(run.ttfts.at(1) > 3 * run.ttfts.at(0.1))
        scenario.faults = [Fault(at: .zero, .crash(server: 0)), Fault(at: .zero, .crash(server: 1))]
        scenario.patience = Nanoseconds(seconds: 30)
        let none = try Simulation.run(requests, scenario, policy("least-request"))
        #expect(none.failed == 40)
        #expect(none.end.seconds < 40)
    }
}
