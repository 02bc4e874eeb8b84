import GotoniCore

/// What counts as good service; a request that fails is never good.
public struct ServiceLimits: Codable, Equatable, Sendable {
    /// Milliseconds to the first token, and between tokens (the mean of a request).
    public var ttft: Double
    public var itl: Double

    public enum CodingKeys: String, CodingKey {
        case ttft = "ttft_ms"
        case itl = "itl_ms"
    }

    public init(ttft: Double, itl: Double) {
        self.ttft = ttft
        self.itl = itl
    }
}

/// What the router's tuner has done in a run.
public struct TunerReport: Codable, Equatable, Sendable {
    public var phase: String
    public var accepted: UInt64
    public var rejected: UInt64
    public var undecided: UInt64
    public var rolledBack: UInt64
    public var wentHome: UInt64
    /// In good requests.
    public var spent: Double
    /// By knob: what the incumbent has at the end.
    public var weights: [String: Double] = [:]

    /// Nil: there was none.
    init?(_ status: TunerStatus) {
        guard status.phase != .off else { return nil }
        phase = "\(status.phase.name)"
        (accepted, rejected) = (status.counts.accepted, status.counts.rejected)
        (undecided, rolledBack) = (status.counts.undecided, status.counts.rolledBack)
        (wentHome, spent) = (status.counts.wentHome, status.spent)
        for index in 0..<status.weightCount {
            weights["\(status.weights[index].knob.info.name)"] = status.weights[index].incumbent
        }
    }
}

/// How one policy did. Times are milliseconds from the moment the client wanted to send.
public struct PolicyReport: Codable, Equatable, Sendable {
    public var policy: String
    public var ttft: Distribution?
    public var e2e: Distribution?
    /// Between the tokens of an answer: one figure per request, its mean.
    public var itl: Distribution?
    /// Share of all requests that met both limits, and how many of them per second.
    public var goodput: Estimate?
    public var goodPerSecond: Double
    /// Share of prompt tokens found cached, of requests that got an answer; and of the tokens that an endless cache would
    /// have found.
    public var hitShare: Double
    public var hitShareOfCeiling: Double?
    /// What the router that chose believed to be cached, as a share of prompt tokens.
    public var predictedHitShare: Double
    /// Share of the requests that the busiest server served, share of all prompt tokens that one server had at most, and share of
    /// time that the servers were busy on average.
    public var busiestShare: Double
    public var busiestPromptShare: Double
    public var busiestServer: Int
    public var utilization: Double
    /// Jain's index over users of their mean speed: the TTFT of a lone, uncached request on the nearest server over that of
    /// each request, 0 if it failed. Nil where users have no two requests on average.
    public var fairness: Double?
    /// Milliseconds by which requests were slower than under the oracle, on average, paired by request, where both got an
    /// answer. The oracle looks at the last token and at others, so on the first token a policy can beat it.
    public var regretTTFT: Estimate?
    public var regretE2E: Estimate?
    public var failed: Int
    /// Attempts beyond the first.
    public var retries: Int
    public var preemptions: Int
    public var evictedTokens: Int
    public var seconds: Double
    public var tuner: TunerReport?
    /// Nil: there were not several proxies.
    public var sharing: SharingWork?

    public enum CodingKeys: String, CodingKey {
        case policy, goodput, fairness, utilization, failed, retries, preemptions, seconds, tuner, sharing
        case ttft = "ttft_ms"
        case e2e = "e2e_ms"
        case itl = "itl_ms"
        case goodPerSecond = "good_per_second"
        case hitShare = "hit_share"
        case hitShareOfCeiling = "hit_share_of_ceiling"
        case predictedHitShare = "predicted_hit_share"
        case busiestShare = "busiest_share"
        case busiestPromptShare = "busiest_prompt_share"
        case busiestServer = "busiest_server"
        case regretTTFT = "regret_ttft_ms"
        case regretE2E = "regret_e2e_ms"
        case evictedTokens = "evicted_tokens"
    }

    /// `reusable`: `Workload.reusableTokens()`. `oracle`: a run of the same workload and scenario.
    public init(
        _ run: RunResult, _ workload: Workload, _ scenario: Scenario, _ limits: ServiceLimits, reusable: Int,
        oracle: RunResult?
    ) {
        // The order of arrival, for the bootstrap.
        let order = run.requests.indices.sorted {
            (run.requests[$0].scheduled, $0) < (run.requests[$1].scheduled, $1)
        }
        let bootstrap = BlockBootstrap(requests: order.count, seed: scenario.seed)
        let times = order.map { Times(run.requests[$0], workload.requests[$0].outputTokens) }
        policy = run.policy.label
        tuner = TunerReport(run.tuner)
        sharing = run.sharing
        ttft = bootstrap.distribution(times.map(\.?.ttft))
        e2e = bootstrap.distribution(times.map(\.?.e2e))
        itl = bootstrap.distribution(times.map { $0?.itl })
        let good = times.map { $0.map { $0.ttft <= limits.ttft && ($0.itl ?? 0) <= limits.itl } ?? false ? 1.0 : 0 }
        goodput = bootstrap.mean(good)
        seconds = run.end.since(run.requests.map(\.scheduled).min() ?? .zero).seconds
        goodPerSecond = good.reduce(0, +) / max(seconds, 1e-9)

        let answered = run.requests.indices.filter { run.requests[$0].outcome == .ok }
        let promptTokens = Double(max(answered.reduce(0) { $0 + workload.requests[$1].promptTokens }, 1))
        let cached = Double(answered.reduce(0) { $0 + run.requests[$1].cachedTokens })
        hitShare = cached / promptTokens
        hitShareOfCeiling = reusable > 0 ? cached / Double(reusable) : nil
        predictedHitShare = Double(answered.reduce(0) { $0 + run.requests[$1].matchedTokens }) / promptTokens

        var served = [Int](repeating: 0, count: scenario.servers.count)
        var tokens = served
        for index in answered {
            guard let server = run.requests[index].server else { continue }
            served[server] += 1
            tokens[server] += workload.requests[index].promptTokens
        }
        let most = served.indices.max { (served[$0], -$0) < (served[$1], -$1) } ?? 0
        busiestServer = most + 1
        busiestShare = Double(served[most]) / Double(max(served.reduce(0, +), 1))
        busiestPromptShare = Double(tokens.max() ?? 0) / promptTokens
        utilization =
            run.work.reduce(0) { $0 + Double($1.busy) } / Double(scenario.servers.count) / 1e9 / max(seconds, 1e-9)

        fairness = Self.fairness(run, workload, scenario)
        if let oracle {
            let best = order.map { Times(oracle.requests[$0], workload.requests[$0].outputTokens) }
            regretTTFT = bootstrap.mean(zip(times, best).map { a, b in a.flatMap { a in b.map { a.ttft - $0.ttft } } })
            regretE2E = bootstrap.mean(zip(times, best).map { a, b in a.flatMap { a in b.map { a.e2e - $0.e2e } } })
        }
        failed = run.requests.count { $0.outcome != .ok }
        retries = run.requests.reduce(0) { $0 + max($1.attempts - 1, 0) }
        preemptions = run.work.reduce(0) { $0 + $1.preemptions }
        evictedTokens = run.work.reduce(0) { $0 + $1.evictedTokens }
    }

    private static func fairness(_ run: RunResult, _ workload: Workload, _ scenario: Scenario) -> Double? {
        let nearest = scenario.servers.min { scenario.network.rtt[$0.region] < scenario.network.rtt[$1.region] }
        guard let nearest, workload.users * 2 <= workload.requests.count,
            run.requests.contains(where: { $0.outcome == .ok })
        else { return nil }
        let rtt = scenario.network.rtt[nearest.region]
        var speeds = [Double](repeating: 0, count: workload.users)
        var counts = speeds
        for (result, request) in zip(run.requests, workload.requests) {
            counts[request.user] += 1
            guard result.outcome == .ok, result.firstToken > 0 else { continue }
            let lone =
                nearest.engine.lonePrefill(promptTokens: request.promptTokens, cached: 0).milliseconds + rtt
                + scenario.network.upload.milliseconds(tokens: request.promptTokens, rtt: rtt)
            speeds[request.user] += lone / (Double(result.firstToken) / 1e6)
        }
        return jainIndex(zip(speeds, counts).map { $0 / max($1, 1) })
    }
}

/// The times of a request that got its answer, in milliseconds.
public struct Times: Sendable {
    public var ttft: Double
    public var e2e: Double
    /// Nil for an answer of one token.
    public var itl: Double?

    public init?(_ result: RequestResult, _ outputTokens: Int) {
        guard result.outcome == .ok else { return nil }
        ttft = Double(result.firstToken) / 1e6
        e2e = Double(result.lastToken) / 1e6
        itl = outputTokens > 1 ? (e2e - ttft) / Double(outputTokens - 1) : nil
    }
}
