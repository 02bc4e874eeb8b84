import GotoniCore
import TestSupport
import Testing

@testable import GotoniSimulation

@Suite struct ReportTests {
    @Test func percentilesLieBetweenTheNearestRanks() {
        #expect(percentile([1, 2, 3, 4], 0.5) == 2.5)
        #expect(percentile([1, 2, 3, 4], 0) == 1)
        #expect(percentile([1, 2, 3, 4], 1) == 4)
        #expect(percentile([10], 0.95) == 10)
        #expect(percentile(Array(stride(from: 0.0, through: 100, by: 1)), 0.95) == 95)
    }

    /// An interval of 95 % holds the truth about 95 times of 100, for values that depend on nothing.
    @Test func intervalsHoldTheTruthAsOftenAsTheySay() {
        let tries = Seeds.scaled(400)
        var (mean, median, tail) = (0, 0, 0)
        for seed in 0..<UInt64(tries) {
            var chance = SplitMix64(seed: seed &* 7_919)
            // Exponential, mean 1: the median is ln 2, the 95th percentile -ln 0.05.
            let values: [Double?] = (0..<3_000).map { _ in chance.exponential() }
            guard let figures = BlockBootstrap(requests: 3_000, seed: seed).distribution(values) else { continue }
            if (figures.mean.low...figures.mean.high).contains(1) { mean += 1 }
            if (figures.p50.low...figures.p50.high).contains(0.693_147) { median += 1 }
            if (figures.p95.low...figures.p95.high).contains(2.995_732) { tail += 1 }
        }
        for hits in [mean, median, tail] {
            #expect(Double(hits) / Double(tries) > 0.9 && Double(hits) / Double(tries) <= 0.995, "\(hits) of \(tries)")
        }
    }

    @Test func neighboursThatAreAlikeWidenTheInterval() throws {
        var chance = SplitMix64(seed: 9)
        let free = (0..<2_000).map { _ in chance.normal() }
        // The same values, in runs that belong together.
        let runs = free.sorted()
        let bootstrap = BlockBootstrap(requests: 2_000, seed: 1)
        let (a, b) = (try #require(bootstrap.mean(free)), try #require(bootstrap.mean(runs)))
        #expect(abs(a.value - b.value) < 1e-9)
        #expect(b.high - b.low > 3 * (a.high - a.low))
    }

    @Test func aPercentileOfADrawIsThatOfTheDrawnBlocks() throws {
        // One block only has values: every draw that has it gives its percentile.
        let values: [Double?] = (0..<1_000).map { $0 < 20 ? Double($0) : nil }
        let figures = try #require(BlockBootstrap(requests: 1_000, seed: 3).distribution(values))
        #expect(figures.p50.low == figures.p50.high)
        #expect(BlockBootstrap(requests: 10, seed: 3).distribution(Array(repeating: nil, count: 10)) == nil)
    }

    /// Looking percentiles up in groups finds what counting from the beginning finds, also at the groups' edges.
    @Test func percentilesOfDrawsAreThoseOfTheDrawnValues() {
        for seed in Seeds.sequence(50) {
            var chance = SplitMix64(seed: seed)
            let count = 250 + chance.next(below: 600)
            let sorted = (0..<count).map { (value: Double($0), block: chance.next(below: 4)) }
            let sample = SortedSample(sorted, blocks: 4)
            for share in [0.01, 0.25, 0.5, 0.75, 0.95, 1] {
                let weights = (0..<4).map { _ in Double(chance.next(below: 3)) }
                let drawn = sorted.flatMap { value in Array(repeating: value.value, count: Int(weights[value.block])) }
                let wanted = drawn.isEmpty ? nil : drawn[max(Int((share * Double(drawn.count)).rounded(.up)) - 1, 0)]
                #expect(sample.percentile(share, weights: weights) == wanted, "seed \(seed), share \(share)")
            }
        }
    }

    @Test func aPercentileAtTheEdgeOfAGroupIsTheLastOfTheGroupBefore() {
        let sample = SortedSample((0..<512).map { (value: Double($0), block: 0) }, blocks: 1)
        #expect(sample.percentile(0.5, weights: [1]) == 255)
    }

    @Test func jainsIndexIsOneIfAllAreEqual() {
        #expect(jainIndex([3, 3, 3]) == 1)
        #expect(abs(jainIndex([1, 0, 0, 0]) - 0.25) < 1e-12)
        #expect(jainIndex([]) == 1)
    }

    @Test func failuresCountAgainstGoodputAndNotInLatencies() throws {
        let requests = workload((0..<10).map { [UInt32($0)] }, every: 1)
        var scenario = fleet(1)
        scenario.maxAttempts = 1
        scenario.faults = [Fault(at: Nanoseconds(seconds: 4.5), .crash(server: 0))]
        scenario.patience = Nanoseconds(seconds: 5)
        let run = try Simulation.run(requests, scenario, policy("gorgo"))
        let report = PolicyReport(
            run, requests, scenario, ServiceLimits(ttft: 1_000, itl: 100), reusable: 0, oracle: run)
        #expect(report.failed == 5)
        #expect(report.goodput?.value == 0.5)
        #expect(report.ttft?.p99.value ?? 1e9 < 1_000)
        #expect(report.regretTTFT?.value == 0)
        #expect(report.hitShareOfCeiling == nil)
        // Each of the ten users has one request: there is nothing to be fair between.
        #expect(report.fairness == nil)
    }

    @Test func whoIsNotServedIsNotTreatedFairly() throws {
        // Two users in turn; the server is gone for the second half.
        let requests = workload((0..<20).map { [UInt32($0)] }, every: 1, sessions: (0..<20).map { $0 / 10 })
        var scenario = fleet(1)
        scenario.faults = [Fault(at: Nanoseconds(seconds: 9.5), .crash(server: 0))]
        scenario.patience = Nanoseconds(seconds: 2)
        let run = try Simulation.run(requests, scenario, policy("gorgo"))
        let limits = ServiceLimits(ttft: 1_000, itl: 100)
        let report = PolicyReport(run, requests, scenario, limits, reusable: 0, oracle: nil)
        #expect(report.failed == 10)
        #expect(abs((report.fairness ?? 1) - 0.5) < 1e-9)
    }

    @Test func theBusiestByTokensNeedNotBeTheBusiestByRequests() throws {
        // In turn: to the first server 320 tokens and later 160, to the second 1,600.
        let prompts = [blocks(0, 2), blocks(2, 10), blocks(12, 1)]
        let requests = workload(prompts, every: 10)
        let scenario = fleet(2)
        let run = try Simulation.run(requests, scenario, policy("round-robin"))
        let limits = ServiceLimits(ttft: 1_000, itl: 100)
        let report = PolicyReport(run, requests, scenario, limits, reusable: 0, oracle: nil)
        #expect(report.busiestShare == 2 / 3.0 && report.busiestPromptShare == 1_600 / 2_080.0)
        #expect(report.busiestServer == (run.requests[0].server ?? 9) + 1)
    }

    @Test func theReportOfALoneServerIsWhatHappened() throws {
        // Two sessions of five turns with 320 tokens each, which they repeat.
        let requests = workload((0..<10).map { blocks($0 % 2 * 2, 2) }, every: 10, sessions: (0..<10).map { $0 % 2 })
        let scenario = lonely()
        let run = try Simulation.run(requests, scenario, policy("gorgo"))
        let limits = ServiceLimits(ttft: 1_000, itl: 100)
        let report = PolicyReport(run, requests, scenario, limits, reusable: requests.reusableTokens(), oracle: nil)
        // Eight of ten find 304 of 320 tokens, in pages of 16; an endless cache with pages of 1 finds 319.
        #expect(abs(report.hitShare - 8 * 304 / 3_200.0) < 1e-12)
        #expect(abs((report.hitShareOfCeiling ?? 0) - 304 / 319.0) < 1e-12)
        #expect(report.busiestShare == 1 && report.busiestPromptShare == 1)
        #expect(report.failed == 0 && report.goodput?.value == 1)
        // 40 ms without cache, 2 ms with: the median is with.
        #expect(report.ttft?.p50.value == 2)
        #expect(report.itl?.p50.value == 6.5)
        // Both users wait for the same things.
        #expect(report.fairness == 1)
        #expect(report.regretTTFT == nil)
    }
}

@Suite struct PolicySpecTests {
    @Test func namesTopologyAndParametersAreRead() throws {
        let spec = try PolicySpec("gorgo@nodes:queued_weight=0.5:rtt_weight=2")
        #expect(spec.name == "gorgo" && spec.topology == .nodes)
        #expect(spec.parameters == ["queued_weight": 0.5, "rtt_weight": 2])
        #expect(try PolicySpec("least-loaded").topology == .central)
        #expect(try PolicySpec("least-load@apart").topology == .proxies(.nothing))
        let sharing = try PolicySpec("gorgo@sharing:tell_ms=200:rtt_weight=2")
        #expect(sharing.topology == .proxies(.everything(tellMs: 200)) && sharing.parameters == ["rtt_weight": 2])
        var digest = RegionDigestSettings()
        (digest.every, digest.bits) = (4, 0)
        let regions = try PolicySpec("gorgo@regions:digest_every=4:digest_bits=0")
        #expect(regions.topology == .proxies(.regions(tellMs: 50, digest)))
    }

    @Test(arguments: [
        ("gorg", "no policy \"gorg\""), ("gorgo@edge", "behind @"), ("gorgo:x=1", "no parameter \"x\""),
        ("gorgo:queued_weight", "not parameter=number"), ("gorgo:queued_weight=nan", "not parameter=number"),
        ("gorgo:queued_weight=-1", "must be between"), ("", "no policy"), ("gorgo:", "not parameter=number"),
        ("oracle:others=1e9", "must be between"), ("random:cost=1", "no parameter"),
        ("predictive:x_upload=10.1", "x_upload must be between 0.0 and 10.0"),
        ("predictive:x_uplaod=0", "predictive has no parameter \"x_uplaod\""),
        ("gorgo@sharing@nodes", "behind @"), ("gorgo@nodes:tell_ms=5", "no parameter \"tell_ms\""),
        ("gorgo@sharing:digest_bits=8", "no parameter \"digest_bits\""),
        ("gorgo@regions:digest_every=0", "digest_every must be between"),
        ("least-load@regions", "regions compare costs in time"), ("oracle@regions", "regions compare costs in time"),
        ("gorgo:x_upload=0", "gorgo has no parameter \"x_upload\""),
    ])
    func whatIsNotUnderstoodIsSaid(_ text: String, _ part: String) {
        do {
            _ = try PolicySpec(text)
            Issue.record("\(text) was accepted")
        } catch {
            #expect("\(error)".contains(part), "\(error)")
        }
    }

    @Test func everyPolicyOfTheListCanBeMade() throws {
        for policy in Catalogue.policies { #expect(try PolicySpec(policy.name).label == policy.name) }
        #expect(Set(Catalogue.policies.map(\.name)).count == Catalogue.policies.count)
    }
}
