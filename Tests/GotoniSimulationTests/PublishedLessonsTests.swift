import GotoniCore
import Testing

@testable import GotoniSimulation

/// What GORGO's experiments taught, seen again in the simulated world: a laboratory in which these did not show would tell
/// nothing about policies. Engines and distances are theirs (2×L40S in three regions), the users are generated.
@Suite struct PublishedLessonsTests {
    static func regions() -> Scenario { Scenario(network: .believed, engine: .l40s, perRegion: 1) }

    static func users(_ count: Int) throws -> Workload {
        var agentic = AgenticWorkload()
        agentic.users = count
        return try agentic.make(seed: 1)
    }

    static func run(_ name: String, _ workload: Workload, _ scenario: Scenario = regions()) throws -> RunResult {
        try Simulation.run(workload, scenario, policy(name))
    }

    /// Without a price for queues everything goes to the nearest server. Its users see first tokens soonest, for continuous
    /// batching hands them out however many wait for the rest, and last tokens latest (v3, appendix: 17 % better p95 TTFT,
    /// 4.8 times worse p95 E2E).
    @Test func withoutAPriceForQueuesTheFirstTokenComesSoonestAndTheLastOneLatest() throws {
        let workload = try Self.users(60)
        let hacked = try Self.run("gorgo:queued_weight=0:running_cost_factor=0", workload)
        #expect(hacked.served(3)[0] > workload.requests.count * 95 / 100)
        for name in ["gorgo", "gorgo-v3", "session-affinity", "least-load", "least-request", "random"] {
            let other = try Self.run(name, workload)
            #expect(hacked.ttfts.at(0.5) < other.ttfts.at(0.5), "\(name)")
            #expect(hacked.ttfts.at(0.95) < other.ttfts.at(0.95), "\(name)")
            #expect(hacked.e2es.at(0.95) > 2 * other.e2es.at(0.95), "\(name)")
        }
    }

    /// Where users come back often and servers are nearly full, keeping every session where its cache is does the least
    /// work, and least-anything moves sessions about (v3, load sweep: session affinity has the best p95 TTFT at time scale
    /// 1 and 2, and the worst p95 E2E when one of its servers is overloaded).
    @Test func nearTheKneeSessionAffinityIsStrongOnTheFirstToken() throws {
        let workload = try Self.users(180)
        let affinity = try Self.run("session-affinity", workload)
        for name in ["least-load", "least-request", "random", "gorgo-v3"] {
            let other = try Self.run(name, workload)
            #expect(affinity.ttfts.at(0.95) < other.ttfts.at(0.95), "\(name)")
            #expect(affinity.cachedTokens > other.cachedTokens, "\(name)")
        }
    }

    /// A hash of the first 256 tokens puts all users of a system prompt on one server (v3: 49.8 % of requests).
    @Test func hashingTheFirstTokensConcentrates() throws {
        let workload = try Self.users(60)
        let share = { (run: RunResult) in Double(run.served(3).max() ?? 0) / Double(workload.requests.count) }
        let simple = share(try Self.run("simple-session-affinity", workload))
        let rendezvous = share(try Self.run("session-affinity", workload))
        #expect(simple > 0.45)
        #expect(simple > rendezvous + 0.05)
    }

    /// The knee: at half the load twice the room; beyond it, waiting grows with everything that comes (v3, load sweep).
    @Test func waitingGrowsWithoutEndBeyondTheKnee() throws {
        var noReuse = NoReuseWorkload()
        noReuse.requests = 2_000
        // A server prefills 1 / 0.125 ms = 8,000 tokens/s, six of them 48,000; a prompt has 2,750 on average.
        func run(_ load: Double) throws -> RunResult {
            noReuse.requestsPerSecond = load * 48_000 / 2_750
            let scenario = Scenario(network: .believed, engine: .neutral, perRegion: 2)
            return try Self.run("gorgo", noReuse.make(seed: 2), scenario)
        }
        let (half, near, beyond) = (try run(0.45), try run(0.8), try run(1.3))
        #expect(near.ttfts.at(0.95) < 4 * half.ttfts.at(0.95))
        #expect(beyond.ttfts.at(0.95) > 10 * half.ttfts.at(0.95))
        // The later a request comes, the longer it waits.
        let waits = beyond.requests.map { Double($0.firstToken) }
        #expect(Array(waits[1_500..<2_000]).mean > 2 * Array(waits[500..<1_000]).mean)
    }

    /// Where nothing is asked for twice, knowing caches is worth nothing: the policies differ by load and distance only.
    @Test func withoutReuseCachesCannotHelp() throws {
        let workload = try NoReuseWorkload().make(seed: 3)
        let scenario = Scenario(network: Network(rtt: [40, 40, 40]), engine: .neutral, perRegion: 2)
        let loads = try Self.run("least-load", workload, scenario)
        #expect(workload.reusableTokens() == 0)
        for name in ["gorgo", "prefix-tree", "dynamo-kv", "gorgo:kv_events=1"] {
            let run = try Self.run(name, workload, scenario)
            #expect(run.cachedTokens == 0, "\(name)")
            // They count load in different ways, which is all that is left.
            #expect(abs(run.ttfts.mean / loads.ttfts.mean - 1) < 0.25, "\(name)")
        }
        // Without a match anywhere it is the other, decision by decision.
        #expect(try Self.run("prefix-tree", workload, scenario).requests == loads.requests)
    }

    /// One proxy that sees everything against balancers that see their own region (arXiv v1, three-way comparison): with
    /// balancers at the nodes, and users near one of them, that node overflows late and on old news.
    @Test func aProxyThatSeesEverythingBeatsBalancersThatSeeTheirOwn() throws {
        let workload = try Self.users(120)
        let central = try Self.run("gorgo", workload)
        let paper = try Self.run("gorgo-v1@nodes", workload)
        let ours = try Self.run("gorgo@nodes", workload)
        #expect(central.e2es.at(0.95) < paper.e2es.at(0.95))
        #expect(ours.e2es.at(0.95) < paper.e2es.at(0.95))
        #expect(central.failed + paper.failed + ours.failed == 0)
    }
}
