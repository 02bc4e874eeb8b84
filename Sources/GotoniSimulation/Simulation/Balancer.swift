import GotoniCore

/// A router with what stands around it in a gateway: the requests that wait for a server, and what probes have shown.
///
/// The central proxy is one of these over all servers; in the distributed form there is one at each server.
final class Balancer {
    struct Placement {
        var server: Int
        var ticket: Ticket
        var matchedTokens: Int
        var uncachedTokens: Int
        var routed: Nanoseconds
    }

    /// The server it stands at; nil for a proxy.
    let home: Int?
    /// The region it stands in; nil for the central proxy, which is as far from each as the network says.
    let region: Int?
    /// The servers it may choose.
    let servers: [Int]
    let index: PrefixIndex
    /// The answers' `cached_tokens` correct the index: ours does that, the other routers do not.
    private let learnsFromAnswers: Bool
    /// A prompt counts as cached where it is sent from that moment on, not when the engine says so.
    private let predicts: Bool
    private var router: Router
    /// Requests until the tuner is frozen; 0: it is not.
    private var freezeAfter = 0
    private var evolution: EvolutionStrategy?
    private var rival: (any RivalPolicy)?
    private var chance: SplitMix64
    private var prompt: PromptDigests
    private var tokens: [UInt32] = []

    /// Requests that no server could take yet, the first to be tried first.
    var parked: [Int] = []

    private var reported: [EngineLoad]
    private var failuresInRow: [Int]
    private var isDown: [Bool]

    /// `servers`: all if not given. `tickets`: most requests at one time.
    init(
        _ rule: PolicySpec.Rule, _ scenario: Scenario, home: Int? = nil, region: Int? = nil, servers: [Int]? = nil,
        tickets: UInt32 = 1 << 20, seed: UInt64
    ) throws(RouterError) {
        let count = scenario.servers.count
        var configuration = Configuration()
        configuration.seed = seed
        configuration.blockTokens = PrefixIndex.blockTokens
        configuration.maxServers = UInt32(count)
        configuration.maxTickets = tickets
        configuration.memoryBudgetBytes = 8 << 30
        var router = try Router(configuration)
        // What runs here may wait for longer than any real gateway would let it.
        try router.set(.ticketSilenceMs, to: Knob.ticketSilenceMs.info.bounds.upperBound)
        // A poll that is late by one interval still counts.
        let ttl = max(Knob.metricsTTLMs.info.defaultValue, 2.5 * scenario.probeInterval.milliseconds)
        try router.set(.metricsTTLMs, to: min(ttl, Knob.metricsTTLMs.info.bounds.upperBound))
        switch rule {
        case .own(let policy, let knobs, let factors, let index, let search):
            router.setPolicy(policy)
            try router.set(.msPerToken, to: scenario.typicalEngine.prefillPerToken)
            for (knob, value) in knobs { try router.set(knob, to: value) }
            for (term, factor) in factors { try router.set(term, factor: factor) }
            switch search {
            case .nobody: break
            case .tuner(let settings, let freezeAfter):
                try router.startTuner(settings)
                self.freezeAfter = freezeAfter
            case .evolution:
                // What the published one turns.
                let weights: [Knob] = policy == .gorgo ? [.rttWeight, .queuedWeight] : [.decodeWeight, .othersWeight]
                evolution = EvolutionStrategy(weights.map { ($0, router.value(of: $0)) }, seed: seed)
            }
            self.index = index
            learnsFromAnswers = index != .unbounded
            predicts = true
        case .rival(let rival):
            self.rival = rival
            index = rival.index
            learnsFromAnswers = false
            predicts = rival.index != .events
        }
        self.servers = servers ?? Array(scenario.servers.indices)
        for server in self.servers {
            let configured = scenario.servers[server]
            let capacity = index == .unbounded ? UInt64.max : UInt64(configured.engine.kvTokens)
            let limit = home == nil || home == server ? scenario.maxConcurrent : nil
            try router.add(
                ServerConfiguration(id: ServerID(UInt64(server)), maxRequests: limit, kvCapacityTokens: capacity),
                now: .zero)
        }
        self.home = home
        self.region = region
        self.router = router
        prompt = try PromptDigests()
        chance = .stream(seed, 0xBA1A)
        reported = Array(repeating: EngineLoad(), count: count)
        failuresInRow = Array(repeating: 0, count: count)
        isDown = Array(repeating: false, count: count)
    }

    var tuner: TunerStatus { router.tunerStatus() }

    var needsForecast: Bool { rival?.needsForecast ?? false }

    // MARK: Requests

    /// Chooses a server, `tried` excepted unless there is no other; nil if none can take the request now.
    func route(
        _ request: Int, _ workload: Workload, tried: [Int], now: Nanoseconds, forecast: (Int) -> Forecast
    ) throws(RouterError) -> Placement? {
        try read(request, workload)
        let session = SessionKey.of(workload.requests[request].session)
        var excluded = tried
        if rival != nil {
            guard let only = try chooseByRival(request, workload, session, tried, now, forecast) else { return nil }
            excluded = reported.indices.filter { $0 != only }
        }
        if let placement = try place(session, excluding: excluded, now) { return placement }
        return rival == nil && !tried.isEmpty ? try place(session, excluding: [], now) : nil
    }

    /// Takes the request for `server`, whoever chose it.
    func accept(
        _ request: Int, _ workload: Workload, on server: Int, now: Nanoseconds
    ) throws(RouterError) -> Placement? {
        try read(request, workload)
        return try place(0, excluding: reported.indices.filter { $0 != server }, now)
    }

    func firstToken(_ placement: Placement, now: Nanoseconds) throws(RouterError) {
        try router.firstToken(placement.ticket, now: now)
        guard let weights = evolution?.observe(firstToken: now.since(placement.routed).milliseconds) else { return }
        for (knob, value) in weights { try router.set(knob, to: value) }
    }

    /// `cachedTokens`: as the answer's usage says.
    func finish(
        _ placement: Placement, _ outcome: Outcome, cachedTokens: Int?, outputTokens: Int? = nil, now: Nanoseconds
    ) throws(RouterError) {
        if learnsFromAnswers, let outputTokens {
            try router.observeOutputTokens(placement.ticket, UInt64(outputTokens), now: now)
        }
        if learnsFromAnswers, let cachedTokens {
            try router.observeCachedTokens(placement.ticket, UInt64(cachedTokens), now: now)
        }
        try router.finish(placement.ticket, outcome, now: now)
        if outcome == .ok { failuresInRow[placement.server] = 0 }
        rival?.ended(placement, now: now)
    }

    // MARK: Other proxies

    /// The cost in time of `request` at the cheapest server, in nanoseconds, as the policy has it; nil if no server can take it.
    /// `request` nil: of a prompt of one token, which is the price of being served here.
    func least(_ request: Int?, _ workload: Workload, now: Nanoseconds) throws(RouterError) -> Int64? {
        if let request {
            try read(request, workload)
        } else {
            let token: [UInt32] = [0]
            try prompt.compute(token.span, blockTokens: PrefixIndex.blockTokens, seed: 0)
        }
        let nobody: [ServerID] = []
        do throws(RouterError) {
            let decision = try router.explain(prompt, Request(), excluding: nobody.span, now: now) { _ in }
            return router.policy == .predictive ? decision.prediction.cost : decision.cost.total
        } catch .noServer, .saturated {
            return nil
        }
    }

    /// Nanoseconds that `milliseconds` of round trip and `tokens` that are not cached add to a cost.
    func cost(rtt milliseconds: Double, uncached tokens: Int) -> Int64 {
        let weight = router.policy == .gorgo ? router.value(of: .rttWeight) : 1
        return Int64(1e6 * (weight * milliseconds + router.value(of: .msPerToken) * Double(tokens)))
    }

    /// Most tokens of `request`'s prompt that one server holds, as far as this proxy knows.
    func longestMatch(_ request: Int, _ workload: Workload) throws(RouterError) -> Int {
        try read(request, workload)
        var longest = 0
        router.match(prompt) { longest = max(longest, $1) }
        return longest
    }

    /// Digests of the prompt that was read last.
    var chain: [UInt64] { prompt.chain(most: prompt.blocks) }

    func own(_ server: Int, now: Nanoseconds) throws(RouterError) -> Load {
        try router.info(ServerID(UInt64(server)), now: now).own
    }

    /// Another proxy has sent a prompt there.
    func hear(_ chain: [UInt64], on server: Int, now: Nanoseconds) throws(RouterError) {
        try prompt.take(chain, blockTokens: PrefixIndex.blockTokens)
        try router.insert(prompt, on: ServerID(UInt64(server)), now: now)
    }

    func hear(others load: Load, on server: Int, now: Nanoseconds) throws(RouterError) {
        try router.observeOthers(ServerID(UInt64(server)), load, now: now)
    }

    // MARK: Observations

    func observe(_ server: Int, rtt: Nanoseconds, now: Nanoseconds) throws(RouterError) {
        try router.observeRTT(ServerID(UInt64(server)), rtt.rawValue, now: now)
    }

    func observe(_ server: Int, load: EngineLoad, now: Nanoseconds) throws(RouterError) {
        reported[server] = load
        failuresInRow[server] = 0
        let id = ServerID(UInt64(server))
        if isDown[server] {
            isDown[server] = false
            try router.mark(id, .up, now: now)
        }
        var metrics = EngineMetrics()
        metrics.queuedRequests = UInt64(load.waiting)
        metrics.runningRequests = UInt64(load.running)
        metrics.runningLimit = UInt64(load.maxRunning)
        if learnsFromAnswers || index == .events { metrics.incarnation = UInt64(load.incarnation) }
        try router.observeMetrics(id, metrics, now: now)
    }

    /// An attempt or a probe came to nothing. After `limit` in a row the server is down until a probe succeeds.
    func observeFailure(_ server: Int, limit: Int, now: Nanoseconds) throws(RouterError) {
        failuresInRow[server] += 1
        guard failuresInRow[server] >= limit, !isDown[server] else { return }
        isDown[server] = true
        try router.mark(ServerID(UInt64(server)), .down, now: now)
    }

    /// `request`'s prompt is in the cache of `server`, or prompt and answer.
    func stored(
        _ request: Int, _ workload: Workload, withAnswer: Bool, on server: Int, now: Nanoseconds
    ) throws(RouterError) {
        try read(request, workload, withAnswer: withAnswer)
        try router.insert(prompt, on: ServerID(UInt64(server)), now: now)
    }

    /// What follows the first `keep` tokens of `request`'s prompt is not.
    func removed(
        _ request: Int, _ workload: Workload, keep: Int, on server: Int, now: Nanoseconds
    ) throws(RouterError) {
        try read(request, workload)
        try router.remove(prompt, on: ServerID(UInt64(server)), keepTokens: keep, now: now)
    }

    /// What the router's own invariants say; and after the last request nothing may be left open.
    func violation() -> String? {
        if router.statistics().openTickets > 0 { return "\(router.statistics().openTickets) tickets are still open" }
        do throws(RouterError) {
            return try router.violation()?.description
        } catch {
            return error.text.description
        }
    }

    // MARK: Pieces

    private func read(_ request: Int, _ workload: Workload, withAnswer: Bool = false) throws(RouterError) {
        tokens.removeAll(keepingCapacity: true)
        workload.appendTokens(of: request, withAnswer: withAnswer, to: &tokens)
        let tokens = tokens
        try prompt.compute(tokens.span, blockTokens: PrefixIndex.blockTokens, seed: 0)
    }

    private func chooseByRival(
        _ request: Int, _ workload: Workload, _ session: UInt64, _ tried: [Int], _ now: Nanoseconds,
        _ forecast: (Int) -> Forecast
    ) throws(RouterError) -> Int? {
        guard var rival else { return nil }
        var rows: [Row] = []
        let (reported, promptTokens) = (reported, prompt.tokens)
        do throws(RouterError) {
            let nobody: [ServerID] = []
            _ = try router.explain(prompt, Request(sessionKey: session), excluding: nobody.span, now: now) {
                candidate in
                guard candidate.verdict == .eligible else { return }
                let server = Int(candidate.server.rawValue)
                rows.append(
                    Row(
                        server: server, promptTokens: promptTokens, matchedTokens: candidate.matchedTokens,
                        own: candidate.load, reported: reported[server],
                        rtt: Double(candidate.rtt ?? 100_000_000) / 1e6,
                        forecast: rival.needsForecast ? forecast(server) : nil))
            }
            // A candidate's load counts what metrics show beyond ours; these routers keep only their own account.
            for row in rows.indices {
                let info = try router.info(ServerID(UInt64(rows[row].server)), now: now)
                rows[row].own = info.own
                rows[row].heldTokens = Int(info.heldTokens)
            }
        } catch .noServer, .saturated {
            return nil
        }
        let untried = rows.filter { !tried.contains($0.server) }
        if !untried.isEmpty { rows = untried }
        let ask = Ask(
            now: now, session: session, tokens: tokens, outputTokens: workload.requests[request].outputTokens,
            home: home)
        let choice = rival.choose(rows, ask, &chance)
        self.rival = rival
        return choice.map { rows[$0].server }
    }

    /// Nil if no server can take the request now.
    private func place(_ session: UInt64, excluding: [Int], _ now: Nanoseconds) throws(RouterError) -> Placement? {
        let excluded = excluding.map { ServerID(UInt64($0)) }
        let decision: Decision
        do throws(RouterError) {
            decision = try router.route(prompt, Request(sessionKey: session), excluding: excluded.span, now: now)
        } catch .noServer, .saturated {
            return nil
        }
        // A decision of `route` always has its ticket.
        guard let ticket = decision.ticket else { throw .ticket }
        if predicts { try router.commit(ticket, now: now) }
        let server = Int(decision.server.rawValue)
        let placement = Placement(
            server: server, ticket: ticket, matchedTokens: decision.matchedTokens,
            uncachedTokens: decision.promptTokens - decision.matchedTokens, routed: now)
        if freezeAfter > 0 {
            freezeAfter -= 1
            if freezeAfter == 0 { router.freezeTuner() }
        }
        rival?.placed(placement, tokens, now: now)
        return placement
    }
}

/// Sessions are numbered from 0, and 0 means none to the router: so they are mixed.
enum SessionKey {
    static func of(_ session: Int) -> UInt64 {
        var mix = SplitMix64(seed: UInt64(session) &+ 1)
        return mix.next() | 1
    }
}
