import GotoniCore
import TestSupport
import Testing

@testable import GotoniSimulation

/// What must hold in every world, whatever the policy.
@Suite struct SimulationTests {
    static let policies = Catalogue.policies.map(\.name) + ["gorgo@nodes", "least-load@nodes", "gorgo:kv_events=1"]

    static func busyWorkload(_ seed: UInt64, users: Int = 40) throws -> Workload {
        var agentic = AgenticWorkload()
        agentic.users = users
        agentic.sessionsPerUser = 2
        agentic.rampSeconds = 20
        return try agentic.make(seed: seed)
    }

    @Test(arguments: policies)
    func everyRequestEndsOnceAndEveryTokenIsGenerated(_ name: String) throws {
        let workload = try Self.busyWorkload(1)
        var scenario = Scenario(network: .believed, engine: .neutral, perRegion: 1)
        scenario.seed = 5
        let run = try Simulation.run(workload, scenario, policy(name))
        #expect(run.failed == 0)
        #expect(run.requests.count == workload.requests.count)
        #expect(run.work.reduce(0) { $0 + $1.generatedTokens } == workload.outputTokens)
        let prefilled = run.work.reduce(0) { $0 + $1.prefilledTokens }
        #expect(prefilled + run.cachedTokens == workload.promptTokens)
        for request in run.requests {
            #expect(request.firstToken > 0 && request.lastToken >= request.firstToken)
            #expect(request.attempts == 1)
        }
        #expect(run.served(3).reduce(0, +) == workload.requests.count)
    }

    @Test(arguments: ["gorgo", "random", "gorgo@nodes", "oracle", "gorgo:kv_events=1"])
    func theSameSeedGivesTheSameResult(_ name: String) throws {
        let workload = try Self.busyWorkload(2)
        var scenario = Scenario(network: .physical, engine: .neutral, perRegion: 2)
        scenario.network.jitter = 0.1
        scenario.seed = 7
        scenario.faults = [
            Fault(at: Nanoseconds(seconds: 20), .crash(server: 0)),
            Fault(at: Nanoseconds(seconds: 30), .start(server: 0)),
        ]
        let first = try Simulation.run(workload, scenario, policy(name))
        let again = try Simulation.run(workload, scenario, policy(name))
        #expect(first.requests == again.requests)
        #expect(first.events == again.events)
        scenario.seed = 8
        let other = try Simulation.run(workload, scenario, policy(name))
        #expect(first.requests != other.requests)
    }

    @Test func aLoneRequestWaitsForTheWayAndItsPrefill() throws {
        // 1,600 tokens at 0.125 ms in chunks of 1,000 and 600, over 20 ms of round trip; then 9 tokens at 6.5 ms.
        let run = try Simulation.run(workload([Array(0..<10)]), fleet(1), policy("gorgo"))
        #expect(run.requests[0].firstToken == 220_000_000)
        #expect(run.requests[0].lastToken == 220_000_000 + 9 * 6_500_000)
    }

    @Test func sendingCostsRoundTripsWhileTheWindowGrows() throws {
        // 8,000 tokens are 40,000 bytes: 14,600 leave at once, 29,200 more a round trip later.
        let upload = Upload.slowStart(bytesPerToken: 5, initialWindow: 14_600, bytesPerSecond: 1e9)
        #expect(abs(upload.milliseconds(tokens: 8_000, rtt: 100) - 100.04) < 1e-9)
        #expect(abs(upload.milliseconds(tokens: 2_000, rtt: 100) - 0.01) < 1e-9)
        // A path that one window fills needs no more round trips: 1 MB/s and 10 ms are 10,000 bytes.
        let thin = Upload.slowStart(bytesPerToken: 5, initialWindow: 14_600, bytesPerSecond: 1e6)
        #expect(abs(thin.milliseconds(tokens: 8_000, rtt: 10) - 40) < 1e-9)
        #expect(abs(Upload.measured.milliseconds(tokens: 20_000, rtt: 210) - (462 + 667.8)) < 1e-6)
        var scenario = fleet(1, rtt: 100)
        scenario.network.upload = upload
        let run = try Simulation.run(workload([Array(0..<50)]), scenario, policy("gorgo"))
        #expect(run.requests[0].firstToken == 100_000_000 + 100_040_000 + 1_000_000_000)
    }

    @Test(arguments: ["round-robin", "gorgo", "session-affinity"])
    func doublingEveryRoundTripAddsExactlyThat(_ name: String) throws {
        // A request every 10 s: nobody waits for anybody. One server of each region is used in turn.
        let prompts = (0..<60).map { blocks($0 * 2, 2) }
        let requests = workload(prompts, every: 10)
        func run(_ factor: Double) throws -> RunResult {
            var scenario = Scenario(
                network: Network(rtt: [40, 120, 300].map { $0 * factor }), engine: roundEngine, perRegion: 1)
            scenario.network.upload = .none
            return try Simulation.run(requests, scenario, policy(name))
        }
        let (near, far) = (try run(1), try run(2))
        for (a, b) in zip(near.requests, far.requests) {
            #expect(a.server == b.server)
            let rtt: [UInt64] = [40_000_000, 120_000_000, 300_000_000]
            #expect(b.firstToken - a.firstToken == rtt[a.server ?? 0])
            #expect(b.lastToken - a.lastToken == rtt[a.server ?? 0])
        }
    }

    @Test func usersFarFromTheProxyPayTheirWay() throws {
        var scenario = fleet(1, rtt: 50)
        scenario.clients = .spread
        let run = try Simulation.run(workload([[0]]), scenario, policy("gorgo"))
        // Client to proxy and proxy to server: 50 ms each; 20 ms of prefill.
        #expect(run.requests[0].firstToken == 120_000_000)
        let node = try Simulation.run(workload([[0]]), scenario, policy("gorgo@nodes"))
        #expect(node.requests[0].firstToken == 20_000_000)
    }

    @Test func aTurnIsSentAfterTheAnswerBefore() throws {
        var requests = workload([[0], [0]])
        requests.requests[1].arrival = .after(request: 0, delay: Nanoseconds(seconds: 3))
        let run = try Simulation.run(requests, lonely(), policy("gorgo"))
        #expect(run.requests[1].scheduled.rawValue == run.requests[0].lastToken + 3_000_000_000)
    }

    @Test func aTurnOfAFarUserWaitsUntilTheAnswerIsThere() throws {
        var requests = workload([[0], [0]])
        requests.requests[1].arrival = .after(request: 0, delay: Nanoseconds(seconds: 1))
        var scenario = fleet(1, rtt: 400)
        scenario.clients = .spread
        let run = try Simulation.run(requests, scenario, policy("gorgo"))
        #expect(run.requests[1].scheduled.rawValue == run.requests[0].lastToken + 1_000_000_000)
    }

    @Test func conversationsStayInOrderWithAFixedConcurrency() throws {
        let requests = try Self.busyWorkload(6, users: 10)
        let run = try Simulation.run(requests, lonely(), policy("gorgo"), concurrency: 3)
        #expect(run.failed == 0)
        for (index, request) in requests.requests.enumerated() {
            guard case .after(let earlier, let delay) = request.arrival else { continue }
            let answered = run.requests[earlier].scheduled.rawValue + run.requests[earlier].lastToken
            #expect(run.requests[index].scheduled.rawValue == answered + delay.rawValue)
        }
    }

    @Test func concurrencyIsKept() throws {
        let requests = workload((0..<50).map { [UInt32($0)] })
        let run = try Simulation.run(requests, lonely(), policy("gorgo"), concurrency: 4)
        var marks: [(time: UInt64, step: Int)] = []
        for request in run.requests {
            marks.append((request.scheduled.rawValue, 1))
            marks.append((request.scheduled.rawValue + request.lastToken, -1))
        }
        marks.sort { ($0.time, $0.step) < ($1.time, $1.step) }
        var (under, most) = (0, 0)
        for mark in marks {
            under += mark.step
            most = max(most, under)
        }
        #expect(most == 4)
        #expect(run.failed == 0)
    }

    /// Servers that come and go at random: every request still ends, once, and none fails that had another server to go to.
    @Test func faultsLoseNoRequest() throws {
        for seed in Seeds.sequence(20) {
            var chance = SplitMix64(seed: seed)
            let requests = try Self.busyWorkload(seed, users: 25)
            var scenario = Scenario(network: .believed, engine: .neutral, perRegion: 2)
            scenario.seed = seed
            scenario.network.jitter = 0.2
            for server in 1..<6 {
                let at = Double(5 + chance.next(below: 60))
                let long = Double(1 + chance.next(below: 20))
                scenario.faults.append(Fault(at: Nanoseconds(seconds: at), .crash(server: server)))
                scenario.faults.append(Fault(at: Nanoseconds(seconds: at + long), .start(server: server)))
            }
            scenario.faults.append(Fault(at: Nanoseconds(seconds: 30), .lost(region: 2)))
            scenario.faults.append(Fault(at: Nanoseconds(seconds: 45), .found(region: 2)))
            let name = ["gorgo", "least-load", "gorgo@nodes", "random", "gorgo:kv_events=1"][Int(seed % 5)]
            let run = try Simulation.run(requests, scenario, policy(name))
            // Only an answer that broke off behind its first token fails, or one of three attempts in a row.
            #expect(Double(run.failed) < 0.05 * Double(requests.requests.count), "seed \(seed), \(name)")
            for request in run.requests { #expect((1...3).contains(request.attempts), "seed \(seed), \(name)") }
            let ok = run.requests.count { $0.outcome == .ok }
            #expect(ok + run.failed == requests.requests.count)
            // The cost may see no reason to use the far servers, which are those that crash.
            let retried = run.requests.contains { $0.attempts > 1 }
            #expect(retried || name == "gorgo", "seed \(seed), \(name): nothing was retried")
        }
    }

    @Test func withKVEventsTheRouterBelievesWhatIsTrue() throws {
        // A cache that holds a tenth of what is asked for: most of what was ever placed is gone.
        var engine = roundEngine
        engine.kvTokens = 8_000
        let prompts = (0..<600).map { blocks($0 * 7 % 50 * 8, 8) }
        let requests = workload(prompts, every: 0.5)
        func error(_ name: String) throws -> Int {
            let run = try Simulation.run(requests, fleet(2, engine: engine), policy(name))
            return run.requests.reduce(0) { $0 + max($1.matchedTokens - $1.cachedTokens - 16, 0) }
        }
        #expect(try error("random:kv_events=1") == 0)
        #expect(try error("gorgo-v3") > 10_000)
    }

    /// What the oracle foretells happens, if nobody comes after.
    @Test func forecastsComeTrue() {
        var errors: [Double] = []
        for seed in Seeds.sequence(100) {
            var chance = SplitMix64(seed: seed)
            var engine = Engine(.neutral)
            var events: [EngineEvent] = []
            for id in 0..<chance.next(below: 20) {
                let job = EngineTests.job(
                    id, [UInt32(id)], blockTokens: 100 + chance.next(below: 4_000), output: 1 + chance.next(below: 300))
                engine.submit(job, now: .zero, &events)
            }
            for _ in 0..<chance.next(below: 10) { if let next = engine.nextEvent { engine.advance(to: next, &events) } }
            let now = (events.map(\.time).max() ?? .zero) + Nanoseconds(1)
            guard engine.nextEvent.map({ $0 > now }) ?? true else { continue }
            let job = EngineTests.job(
                99, [500], blockTokens: 100 + chance.next(below: 6_000), output: 1 + chance.next(below: 200))
            let forecast = engine.forecast(
                job.prompt, promptTokens: job.promptTokens, outputTokens: job.outputTokens, now: now.rawValue,
                arrival: now.rawValue, onTheWay: [])
            engine.submit(job, now: now, &events)
            while let next = engine.nextEvent { engine.advance(to: next, &events) }
            let own = events.filter { $0.job == 99 }
            let first = Double(own[0].time.rawValue - now.rawValue) / 1e9
            errors.append(abs(forecast.firstToken - first) / first)
        }
        errors.sort()
        #expect(errors.mean < 0.05, "mean error \(errors.mean)")
        #expect(errors.at(1) < 0.4, "largest error \(errors.at(1))")
    }

    @Test func whatCannotBeIsRefusedInASentence() throws {
        let requests = workload([[0]])
        func refused(_ scenario: Scenario, _ part: String, _ requests: Workload, _ line: Int = #line) {
            do {
                _ = try Simulation.run(requests, scenario, policy("gorgo"))
                Issue.record("line \(line): nothing was refused")
            } catch {
                #expect("\(error)".contains(part), "line \(line): \(error)")
            }
        }
        var scenario = fleet(1)
        scenario.network.rtt = [.nan]
        refused(scenario, "round trips", requests)
        scenario = fleet(1)
        scenario.servers[0].region = 3
        refused(scenario, "region 3", requests)
        scenario = fleet(1)
        scenario.faults = [Fault(at: .zero, .crash(server: 4))]
        refused(scenario, "server 5", requests)
        scenario = fleet(1)
        scenario.servers[0].engine.prefillPerToken = 0
        refused(scenario, "must take time", requests)
        scenario = fleet(1)
        scenario.servers = []
        refused(scenario, "servers", requests)
        refused(fleet(1), "holds no requests", Workload(name: "empty"))
        var later = workload([[0], [1]])
        later.requests[0].arrival = .after(request: 1, delay: .zero)
        refused(fleet(1), "waits for a later one", later)
    }
}
