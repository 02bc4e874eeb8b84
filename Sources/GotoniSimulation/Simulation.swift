public import GotoniCore

/// What became of one request.
public struct RequestResult: Equatable, Sendable {
    public enum Outcome: String, Sendable {
        case ok
        /// No attempt gave an answer; or it broke off, or the engine refused it.
        case failed
    }

    /// When its client wanted to send it. All times are from here.
    public var scheduled: Nanoseconds
    public var outcome = Outcome.failed
    /// The server of the last attempt, nil if there was none.
    public var server: Int?
    public var attempts = 0
    /// Nanoseconds to the first and to the last token, at the client.
    public var firstToken: UInt64 = 0
    public var lastToken: UInt64 = 0
    public var cachedTokens = 0
    /// Believed cached by the router that chose the server.
    public var matchedTokens = 0
}

/// The outcome of one run: a workload in a scenario under a policy.
public struct RunResult: Sendable {
    public var policy: PolicySpec
    public var requests: [RequestResult]
    public var work: [EngineWork]
    /// When the last request ended.
    public var end: Nanoseconds
    /// Events of the simulation; for its benchmark.
    public var events: Int
}

/// Plays a workload against simulated servers in virtual time: decisions change queues and caches, which change later
/// decisions.
///
/// One run is one thread, without clock and with chance from the scenario's seed: the same arguments give the same
/// result, bit for bit.
public struct Simulation {
    private let workload: Workload
    private let scenario: Scenario
    private let spec: PolicySpec
    private let concurrency: Int?

    private var queue = EventQueue()
    /// Requests that come at a time of their own, sorted: the queue stays short without them.
    private var arrivals: [(time: UInt64, request: Int)] = []
    private var nextArrival = 0
    private var now: UInt64 = 0
    private var engines: [Engine]
    private var generations: [UInt32]
    private var isRunning: [Bool]
    private var rtt: [Double]
    private var isLost: [Bool]
    private var balancers: [Balancer]
    private var flights: [Flight]
    private var results: [RequestResult]
    private var left: Int
    private var nextInLine = 0
    private var chance: SplitMix64
    private var engineEvents: [EngineEvent] = []
    private var probes: [Probe]
    /// For each request, those that wait for it: first of them, and the next of the same.
    private var firstFollower: [Int32]
    private var nextFollower: [Int32]
    /// For the oracle: requests on their way to each server, and when they will be there.
    private var onTheWay: [[(request: Int, there: UInt64)]]
    private var kvLog: [(server: Int, events: [KVEvent])] = []
    private var homes: BlockHomes?
    private var processed = 0

    /// A request under way.
    private struct Flight {
        var attempt: UInt32 = 0
        var isDone = false
        var hasFirstToken = false
        var isParked = false
        var tried: [Int] = []
        /// At the balancer in front of the client, and at the one of the node that serves, if that is another.
        var placement: Balancer.Placement?
        var peerPlacement: Balancer.Placement?
        var cachedTokens: Int?
    }

    private struct Probe {
        var rtt = Nanoseconds.zero
        var back = Nanoseconds.zero
        var load = EngineLoad()
    }

    private init(
        _ workload: Workload, _ scenario: Scenario, _ spec: PolicySpec, _ concurrency: Int?
    ) throws(SimulationError) {
        try scenario.check()
        try workload.check()
        self.workload = workload
        self.scenario = scenario
        self.spec = spec
        self.concurrency = concurrency
        let rule = try spec.rule()
        var balancers: [Balancer] = []
        do throws(RouterError) {
            switch spec.topology {
            case .central:
                balancers.append(try Balancer(rule, scenario, home: nil, seed: scenario.seed))
            case .nodes:
                for server in scenario.servers.indices {
                    let seed = scenario.seed &+ UInt64(server) &* 0x9E37_79B9
                    balancers.append(try Balancer(rule, scenario, home: server, seed: seed))
                }
            }
        } catch {
            throw SimulationError("\(spec.label): the router could not be made: \(error.text)")
        }
        self.balancers = balancers
        engines = scenario.servers.map { Engine($0.engine) }
        let events = balancers.contains { $0.index == .events }
        for index in engines.indices { engines[index].publishesKVEvents = events }
        if events { homes = BlockHomes(workload) }
        generations = Array(repeating: 0, count: engines.count)
        isRunning = Array(repeating: true, count: engines.count)
        rtt = scenario.network.rtt
        isLost = Array(repeating: false, count: rtt.count)
        onTheWay = Array(repeating: [], count: engines.count)
        flights = Array(repeating: Flight(), count: workload.requests.count)
        results = Array(repeating: RequestResult(scheduled: .zero), count: workload.requests.count)
        left = workload.requests.count
        chance = .stream(scenario.seed, 0x51)
        probes = Array(repeating: Probe(), count: balancers.count * engines.count)
        firstFollower = Array(repeating: -1, count: workload.requests.count)
        nextFollower = Array(repeating: -1, count: workload.requests.count)
    }

    /// Plays `workload` in `scenario` under `policy`.
    ///
    /// `concurrency`: that many requests are kept under way, one after the other, and the workload's arrivals are ignored.
    /// `progress` gets the share of requests that have ended, about every hundredth.
    /// Errors: what is wrong with the input; or, in a sentence, a bug of the router or of this simulation.
    public static func run(
        _ workload: Workload, _ scenario: Scenario, _ policy: PolicySpec, concurrency: Int? = nil,
        progress: (Double) -> Void = { _ in }
    ) throws(SimulationError) -> RunResult {
        var simulation = try Simulation(workload, scenario, policy, concurrency)
        return try simulation.run(progress)
    }

    private mutating func run(_ progress: (Double) -> Void) throws(SimulationError) -> RunResult {
        do throws(RouterError) {
            try begin()
            let step = max(workload.requests.count / 100, 1)
            var next = workload.requests.count - step
            while left > 0, try playNext() {
                if left <= next {
                    progress(1 - Double(left) / Double(workload.requests.count))
                    next = left - step
                }
            }
        } catch {
            throw SimulationError("\(spec.label), at \(time.seconds) s: \(error.text)")
        }
        if let violation { throw SimulationError("\(spec.label): \(violation)") }
        return RunResult(
            policy: spec, requests: results, work: engines.map(\.work), end: time, events: processed)
    }

    /// What is wrong at the end, nil if nothing is: a request lost, a sum that does not hold.
    private var violation: String? {
        guard left == 0 else { return "\(left) requests were lost" }
        for (server, engine) in engines.enumerated() {
            if let violation = engine.violation() { return "server \(server + 1): \(violation)" }
        }
        for balancer in balancers {
            if let violation = balancer.violation() { return "router: \(violation)" }
        }
        return nil
    }

    private var time: Nanoseconds { Nanoseconds(now) }

    /// The next thing that happens; false if nothing does. Of arrivals and events at one time the arrivals come first.
    private mutating func playNext() throws(RouterError) -> Bool {
        processed += 1
        if nextArrival < arrivals.count, arrivals[nextArrival].time <= queue.nextTime ?? .max {
            now = arrivals[nextArrival].time
            arrive(arrivals[nextArrival].request)
            nextArrival += 1
            return true
        }
        guard let event = queue.next() else { return false }
        now = event.time
        try handle(event)
        return true
    }

    // MARK: The beginning

    private mutating func begin() throws(RouterError) {
        var previous: [Int32] = firstFollower
        for (request, described) in workload.requests.enumerated() {
            switch described.arrival {
            case .at(let time) where concurrency == nil:
                arrivals.append((time.rawValue, request))
            case .after(let earlier, _) where concurrency == nil:
                if previous[earlier] < 0 {
                    firstFollower[earlier] = Int32(request)
                } else {
                    nextFollower[Int(previous[earlier])] = Int32(request)
                }
                previous[earlier] = Int32(request)
            default:
                break
            }
        }
        arrivals.sort { ($0.time, $0.request) < ($1.time, $1.request) }
        for _ in 0..<min(concurrency ?? 0, workload.requests.count) { startNextInLine() }
        for (index, fault) in scenario.faults.enumerated() { queue.schedule(fault.at.rawValue, .fault, index) }
        for balancer in balancers.indices {
            for server in engines.indices {
                // The fleet has been there before the first request, and was probed.
                try balancers[balancer].observe(
                    server, rtt: Nanoseconds(milliseconds: path(balancer, server)), now: .zero)
                try balancers[balancer].observe(server, load: engines[server].load, now: .zero)
                queue.schedule(nextProbe(share: chance.uniform()), .probe, balancer, server)
            }
        }
    }

    private mutating func startNextInLine() {
        guard nextInLine < workload.requests.count else { return }
        queue.schedule(now, .arrive, nextInLine)
        nextInLine += 1
    }

    // MARK: Distances

    /// Milliseconds of round trip between a balancer and a server (or the server's balancer).
    private func path(_ balancer: Int, _ server: Int) -> Double {
        let region = scenario.servers[server].region
        guard let home = balancers[balancer].home else { return rtt[region] }
        let homeRegion = scenario.servers[home].region
        return home == server || homeRegion == region ? 0 : max(rtt[homeRegion], rtt[region])
    }

    /// Milliseconds of round trip between a request's client and its balancer.
    private func clientPath(_ request: Int) -> Double {
        switch (scenario.clients, spec.topology) {
        case (.proxy, .central), (.spread, .nodes): 0
        case (.proxy, .nodes): rtt[scenario.servers[balancer(for: request)].region]
        case (.spread, .central): rtt[homeRegion(request)]
        }
    }

    private func homeRegion(_ request: Int) -> Int { workload.requests[request].user % rtt.count }

    /// The balancer in front of the client: the proxy, or that of a server nearby.
    private func balancer(for request: Int) -> Int {
        guard spec.topology == .nodes else { return 0 }
        let region = scenario.clients == .spread ? homeRegion(request) : 0
        let near = scenario.servers.indices.filter { scenario.servers[$0].region == region }
        let choices = near.isEmpty ? Array(scenario.servers.indices) : near
        return choices[workload.requests[request].user / rtt.count % choices.count]
    }

    private func canReach(_ balancer: Int, _ server: Int) -> Bool {
        if balancers[balancer].home == server { return true }
        if let home = balancers[balancer].home, isLost[scenario.servers[home].region] { return false }
        return !isLost[scenario.servers[server].region]
    }

    private mutating func leg(_ milliseconds: Double) -> UInt64 {
        scenario.network.leg(milliseconds, &chance).rawValue
    }

    /// Sending the prompt over a path of `milliseconds`; within a place it costs nothing.
    private func upload(_ request: Int, _ milliseconds: Double) -> UInt64 {
        guard milliseconds > 0 else { return 0 }
        let tokens = workload.requests[request].promptTokens
        return Nanoseconds(milliseconds: scenario.network.upload.milliseconds(tokens: tokens, rtt: milliseconds))
            .rawValue
    }

    // MARK: Events

    private mutating func handle(_ event: EventQueue.Event) throws(RouterError) {
        let (a, b) = (Int(event.a), Int(event.b))
        switch event.kind {
        case .arrive: arrive(a)
        case .atBalancer: if isCurrent(a, event.b) { try place(a) }
        case .atPeer: if isCurrent(a, event.b) { try arriveAtPeer(a) }
        case .atEngine: if isCurrent(a, event.b) { try submit(a) }
        case .engine: if generations[a] == event.b { try advance(a) }
        case .firstToken: if isCurrent(a, event.b) { try firstToken(a) }
        case .finished: if isCurrent(a, event.b) { try finish(a) }
        case .failed: if isCurrent(a, event.b) { try failAttempt(a) }
        case .giveUp: if flights[a].isParked { try end(a, .failed) }
        case .probe: probe(a, b)
        case .sample: sample(a, b)
        case .report: try report(a, b)
        case .probeFailed:
            try balancers[a].observeFailure(b, limit: scenario.failuresToDown, now: time)
        case .fault: try apply(scenario.faults[a].kind)
        case .kvEvents: try applyKVEvents(a, b)
        }
    }

    /// Messages of an attempt that was given up are ignored.
    private func isCurrent(_ request: Int, _ attempt: UInt32) -> Bool {
        flights[request].attempt == attempt && !flights[request].isDone
    }

    private mutating func arrive(_ request: Int) {
        results[request].scheduled = time
        let distance = clientPath(request)
        queue.schedule(now + leg(distance) + upload(request, distance), .atBalancer, request)
    }

    /// At the balancer in front of the client: choose, or wait.
    private mutating func place(_ request: Int) throws(RouterError) {
        let index = balancer(for: request)
        // Who waits already comes first.
        let isFirst = !balancers[index].parked.contains { flights[$0].isParked }
        guard isFirst, try tryToPlace(request, index) else {
            flights[request].isParked = true
            balancers[index].parked.append(request)
            let limit = results[request].scheduled + scenario.patience
            queue.schedule(max(limit.rawValue, now), .giveUp, request)
            return
        }
    }

    private mutating func tryToPlace(_ request: Int, _ index: Int) throws(RouterError) -> Bool {
        let placement = try balancers[index].route(
            request, workload, tried: flights[request].tried, now: time, forecast: { forecast(request, index, $0) })
        guard let placement else { return false }
        flights[request].placement = placement
        flights[request].isParked = false
        results[request].attempts += 1
        results[request].server = placement.server
        results[request].matchedTokens = placement.matchedTokens
        send(request, from: index, to: placement.server)
        return true
    }

    private mutating func send(_ request: Int, from index: Int, to server: Int) {
        guard canReach(index, server) else {
            queue.schedule(now + scenario.timeout.rawValue, .failed, request, Int(flights[request].attempt))
            return
        }
        let distance = path(index, server)
        let there = now + leg(distance) + upload(request, distance)
        let forwarded = balancers[index].home.map { $0 != server } ?? false
        if forwarded {
            queue.schedule(there, .atPeer, request, Int(flights[request].attempt))
        } else {
            scheduleAtEngine(request, server, there)
        }
    }

    private mutating func scheduleAtEngine(_ request: Int, _ server: Int, _ there: UInt64) {
        let reading = Nanoseconds(milliseconds: scenario.servers[server].engine.request).rawValue
        onTheWay[server].append((request, there + reading))
        queue.schedule(there + reading, .atEngine, request, Int(flights[request].attempt))
    }

    /// Forwarded once, it is served there: nothing is forwarded twice.
    private mutating func arriveAtPeer(_ request: Int) throws(RouterError) {
        guard let server = flights[request].placement?.server else { return }
        flights[request].peerPlacement = try balancers[server].accept(request, workload, on: server, now: time)
        scheduleAtEngine(request, server, now)
    }

    private mutating func submit(_ request: Int) throws(RouterError) {
        guard let server = flights[request].placement?.server else { return }
        onTheWay[server].removeAll { $0.request == request }
        guard isRunning[server] else {
            return reply(request, .failed)
        }
        let described = workload.requests[request]
        let job = Job(
            id: request << 8 | Int(flights[request].attempt & 0xFF), prompt: workload.prompt(request),
            promptTokens: described.promptTokens, outputTokens: described.outputTokens, answer: described.answer)
        engines[server].submit(job, now: time, &engineEvents)
        try drain(server)
    }

    private mutating func advance(_ server: Int) throws(RouterError) {
        engines[server].advance(to: time, &engineEvents)
        try drain(server)
    }

    /// Sends on what the engine has said, and comes back when it does the next thing.
    private mutating func drain(_ server: Int) throws(RouterError) {
        for event in engineEvents {
            let (request, attempt) = (event.job >> 8, UInt32(event.job & 0xFF))
            guard isCurrent(request, attempt) else { continue }
            switch event.kind {
            case .firstToken(let cachedTokens):
                flights[request].cachedTokens = cachedTokens
                if let peer = flights[request].peerPlacement { try balancers[server].firstToken(peer, now: time) }
                reply(request, .firstToken)
            case .finished:
                try endAtPeer(request, .ok)
                reply(request, .finished)
            case .refused:
                try endAtPeer(request, .failed)
                // Another server would refuse it too.
                flights[request].tried = Array(engines.indices)
                reply(request, .failed)
            }
        }
        engineEvents.removeAll(keepingCapacity: true)
        publish(server)
        generations[server] &+= 1
        if let next = engines[server].nextEvent {
            queue.schedule(next.rawValue, .engine, server, Int(generations[server]))
        }
    }

    /// The KV events of an iteration are one message, as engines batch them.
    private mutating func publish(_ server: Int) {
        guard !engines[server].kvEvents.isEmpty else { return }
        kvLog.append((server, engines[server].kvEvents))
        engines[server].kvEvents.removeAll(keepingCapacity: true)
        for (index, balancer) in balancers.enumerated() where balancer.index == .events {
            queue.schedule(now + leg(path(index, server)), .kvEvents, kvLog.count - 1, index)
        }
    }

    /// A message back to the balancer in front of the client. If it is lost, the balancer waits for it in vain.
    private mutating func reply(_ request: Int, _ kind: EventQueue.Kind) {
        guard let server = flights[request].placement?.server else { return }
        let index = balancer(for: request)
        let attempt = Int(flights[request].attempt)
        if canReach(index, server) {
            queue.schedule(now + leg(path(index, server)), kind, request, attempt)
        } else {
            queue.schedule(now + scenario.timeout.rawValue, .failed, request, attempt)
        }
    }

    private mutating func firstToken(_ request: Int) throws(RouterError) {
        guard let placement = flights[request].placement else { return }
        flights[request].hasFirstToken = true
        try balancers[balancer(for: request)].firstToken(placement, now: time)
        results[request].firstToken = sinceScheduled(request) + leg(clientPath(request))
        results[request].cachedTokens = flights[request].cachedTokens ?? 0
        try tryParked(balancer(for: request))
    }

    private mutating func finish(_ request: Int) throws(RouterError) {
        guard let placement = flights[request].placement else { return }
        let index = balancer(for: request)
        // With jitter the last message can overtake the first; then the first token came with it.
        if !flights[request].hasFirstToken { try firstToken(request) }
        try balancers[index].finish(
            placement, .ok, cachedTokens: flights[request].cachedTokens, hadFirstToken: true, now: time)
        results[request].lastToken = max(
            sinceScheduled(request) + leg(clientPath(request)), results[request].firstToken)
        try end(request, .ok)
        try tryParked(index)
    }

    private func sinceScheduled(_ request: Int) -> UInt64 { now - results[request].scheduled.rawValue }

    /// The attempt came to nothing: again elsewhere, if the client has seen nothing of an answer yet.
    private mutating func failAttempt(_ request: Int) throws(RouterError) {
        guard let placement = flights[request].placement else { return }
        let index = balancer(for: request)
        try balancers[index].finish(
            placement, .failed, cachedTokens: nil, hadFirstToken: flights[request].hasFirstToken, now: time)
        try balancers[index].observeFailure(placement.server, limit: scenario.failuresToDown, now: time)
        if engines.indices.contains(placement.server), canReach(index, placement.server) {
            // Hanging up ends what still runs.
            engines[placement.server].cancel(
                request << 8 | Int(flights[request].attempt & 0xFF), now: time)
            try drain(placement.server)
        }
        try endAtPeer(request, .failed)
        let refusedByAll = flights[request].tried.count == engines.count
        flights[request].attempt += 1
        flights[request].tried.append(placement.server)
        flights[request].placement = nil
        flights[request].cachedTokens = nil
        if flights[request].hasFirstToken || results[request].attempts >= scenario.maxAttempts || refusedByAll {
            try end(request, .failed)
        } else {
            try place(request)
        }
    }

    private mutating func endAtPeer(_ request: Int, _ outcome: Outcome) throws(RouterError) {
        guard let peer = flights[request].peerPlacement else { return }
        flights[request].peerPlacement = nil
        try balancers[peer.server].finish(
            peer, outcome, cachedTokens: outcome == .ok ? flights[request].cachedTokens : nil,
            hadFirstToken: flights[request].cachedTokens != nil, now: time)
        try tryParked(peer.server)
    }

    private mutating func end(_ request: Int, _ outcome: RequestResult.Outcome) throws(RouterError) {
        flights[request].isDone = true
        flights[request].isParked = false
        results[request].outcome = outcome
        left -= 1
        if concurrency != nil { startNextInLine() }
        var follower = firstFollower[request]
        while follower >= 0 {
            if case .after(_, let delay) = workload.requests[Int(follower)].arrival {
                queue.schedule(now + delay.rawValue, .arrive, Int(follower))
            }
            follower = nextFollower[Int(follower)]
        }
    }

    /// Something changed at a balancer: the requests that wait there are tried in their order.
    private mutating func tryParked(_ index: Int) throws(RouterError) {
        while let request = balancers[index].parked.first {
            if flights[request].isParked, try !tryToPlace(request, index) { return }
            balancers[index].parked.removeFirst()
        }
    }

    // MARK: Probes

    private mutating func nextProbe(share: Double) -> UInt64 {
        now + UInt64(Double(scenario.probeInterval.rawValue) * share)
    }

    private mutating func probe(_ index: Int, _ server: Int) {
        if canReach(index, server), isRunning[server] {
            let distance = path(index, server)
            let (there, back) = (scenario.network.leg(distance, &chance), scenario.network.leg(distance, &chance))
            probes[index * engines.count + server].rtt = there + back
            probes[index * engines.count + server].back = back
            queue.schedule(now + there.rawValue, .sample, index, server)
        } else {
            queue.schedule(now + min(scenario.timeout, scenario.probeInterval).rawValue, .probeFailed, index, server)
        }
        queue.schedule(nextProbe(share: 0.9 + 0.2 * chance.uniform()), .probe, index, server)
    }

    private mutating func sample(_ index: Int, _ server: Int) {
        guard isRunning[server], canReach(index, server) else {
            queue.schedule(now + scenario.timeout.rawValue, .probeFailed, index, server)
            return
        }
        let place = index * engines.count + server
        probes[place].load = engines[server].load
        queue.schedule(now + probes[place].back.rawValue, .report, index, server)
    }

    private mutating func report(_ index: Int, _ server: Int) throws(RouterError) {
        let probe = probes[index * engines.count + server]
        try balancers[index].observe(server, rtt: probe.rtt, now: time)
        try balancers[index].observe(server, load: probe.load, now: time)
        try tryParked(index)
    }

    // MARK: Faults

    private mutating func apply(_ fault: Fault.Kind) throws(RouterError) {
        switch fault {
        case .crash(let server):
            isRunning[server] = false
            let lost = engines[server].restart()
            try drain(server)
            for job in lost where isCurrent(job >> 8, UInt32(job & 0xFF)) { reply(job >> 8, .failed) }
        case .start(let server): isRunning[server] = true
        case .slow(let server, let factor): engines[server].slowness = factor
        case .rtt(let region, let milliseconds): rtt[region] = milliseconds
        case .lost(let region): isLost[region] = true
        case .found(let region): isLost[region] = false
        }
    }

    private mutating func applyKVEvents(_ place: Int, _ index: Int) throws(RouterError) {
        let (server, events) = kvLog[place]
        // Prompts are evicted from their end: of several blocks of one prompt the first is what counts.
        var cut: (request: Int, keep: Int)?
        for event in events {
            switch event {
            case .removed(let block):
                guard let home = homes?[block] else { continue }
                if let known = cut, known.request == home.request {
                    cut?.keep = min(known.keep, home.keep)
                } else {
                    try remove(cut, server, index)
                    cut = home
                }
            case .stored(let job):
                try remove(cut, server, index)
                cut = nil
                try balancers[index].stored(job >> 8, workload, on: server, now: time)
            }
        }
        try remove(cut, server, index)
    }

    private func remove(_ cut: (request: Int, keep: Int)?, _ server: Int, _ index: Int) throws(RouterError) {
        guard let cut else { return }
        try balancers[index].removed(cut.request, workload, keep: cut.keep, on: server, now: time)
    }

    /// For the oracle: what would happen if balancer `index` sent `request` to `server` now.
    private func forecast(_ request: Int, _ index: Int, _ server: Int) -> Forecast {
        let distance = path(index, server)
        let described = workload.requests[request]
        let there =
            Nanoseconds(milliseconds: distance / 2 + scenario.servers[server].engine.request).rawValue
            + upload(request, distance)
        let before = onTheWay[server].filter { $0.there <= now + there }.map {
            (workload.prompt($0.request), workload.requests[$0.request].promptTokens)
        }
        var forecast = engines[server].forecast(
            workload.prompt(request), promptTokens: described.promptTokens, outputTokens: described.outputTokens,
            now: now, arrival: now + there, onTheWay: before)
        forecast.firstToken += distance / 2_000
        forecast.last += distance / 2_000
        return forecast
    }
}

/// A request in whose prompt a block stands, and how many tokens come before it there.
private struct BlockHomes {
    private var homes: [(request: Int, keep: Int)?]

    init(_ workload: Workload) {
        homes = Array(repeating: nil, count: workload.blockNames.count)
        for request in workload.requests.indices {
            var before = 0
            for segment in workload.prompt(request) {
                if homes[Int(segment.block)] == nil { homes[Int(segment.block)] = (request, before) }
                before += Int(segment.tokens)
            }
        }
    }

    subscript(block: UInt32) -> (request: Int, keep: Int)? { homes[Int(block)] }
}
