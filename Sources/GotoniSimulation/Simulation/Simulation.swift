import GotoniCore

/// Plays a workload against simulated servers in virtual time: decisions change queues and caches, which change later
/// decisions.
///
/// One run is one thread, without clock and with chance from the scenario's seed: the same arguments give the same
/// result, bit for bit.
public struct Simulation {
    let workload: Workload
    let scenario: Scenario
    let spec: PolicySpec
    let concurrency: Int?

    var queue = EventQueue()
    /// Requests that come at a time of their own, sorted: the queue stays short without them.
    var arrivals: [(time: UInt64, request: Int)] = []
    var nextArrival = 0
    var now: UInt64 = 0
    var engines: [Engine]
    var generations: [UInt32]
    var isRunning: [Bool]
    var rtt: [Double]
    var isLost: [Bool]
    var balancers: [Balancer]
    let balancersByRegion: [[Int]]
    /// Nil: nobody tells anybody anything.
    var talk: ProxyTalk?
    var flights: [Flight]
    var results: [RequestResult]
    var left: Int
    /// With a fixed concurrency: the requests that wait for no answer, and which of them is next.
    var line: [Int] = []
    var nextInLine = 0
    /// One generator for the ways of requests and one for probes: what one draws changes nothing for the other.
    var chance: SplitMix64
    var probeChance: SplitMix64
    var engineEvents: [EngineEvent] = []
    var probes: [Probe] = []
    var freeProbes: [Int] = []
    /// For each request, those that wait for it: first of them, and the next of the same.
    var firstFollower: [Int32]
    var nextFollower: [Int32]
    /// For the oracle alone: requests on their way to each server, and when they will be there.
    let foretells: Bool
    var onTheWay: [[(request: Int, there: UInt64)]]
    /// KV events under way, until the last balancer has them; and when each balancer has all so far, by server: they keep
    /// their order.
    var kvLog: [KVMessage] = []
    var kvDelivered: [UInt64]
    var homes: BlockHomes?
    var processed = 0

    /// A request under way.
    struct Flight {
        /// Who has it, and the region that it was passed on from; nil: it was not.
        var balancer = 0
        var passedBy: Int?
        /// Tokens that a digest promised there, until that is known.
        var expectedTokens: Int?
        var attempt: UInt32 = 0
        var isDone = false
        var hasFirstToken = false
        var isParked = false
        /// The attempt that ends now ended because the engine cannot hold the request.
        var wasRefused = false
        /// The client was cut off while its answer came.
        var isCutOff = false
        var tried: [Int] = []
        /// At the balancer in front of the client, and at the one of the node that serves, if that is another.
        var placement: Balancer.Placement?
        var peerPlacement: Balancer.Placement?
        var cachedTokens: Int?
    }

    /// A look at a server, under way; several of one balancer at one server can be.
    struct Probe {
        var balancer = 0
        var server = 0
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
        let rule = try spec.rule(for: scenario.typicalEngine)
        do throws(RouterError) {
            balancers = try Self.balancers(rule, scenario, spec.topology)
        } catch {
            throw SimulationError("\(spec.label): the router could not be made: \(error.text)")
        }
        var byRegion: [[Int]] = Array(repeating: [], count: scenario.network.rtt.count)
        for (index, balancer) in balancers.enumerated() {
            if let region = balancer.region { byRegion[region].append(index) }
        }
        balancersByRegion = byRegion
        if case .proxies(let sharing) = spec.topology {
            talk = ProxyTalk(sharing, scenario, proxies: balancers.count)
        }
        engines = scenario.servers.map { Engine($0.engine) }
        let events = balancers.contains { $0.index == .events }
        for index in engines.indices { engines[index].publishesKVEvents = events }
        if events { homes = BlockHomes(workload) }
        generations = Array(repeating: 0, count: engines.count)
        isRunning = Array(repeating: true, count: engines.count)
        rtt = scenario.network.rtt
        isLost = Array(repeating: false, count: rtt.count)
        kvDelivered = Array(repeating: 0, count: engines.count * balancers.count)
        onTheWay = Array(repeating: [], count: engines.count)
        foretells = balancers.contains { $0.needsForecast }
        flights = Array(repeating: Flight(), count: workload.requests.count)
        results = Array(repeating: RequestResult(scheduled: .zero), count: workload.requests.count)
        left = workload.requests.count
        chance = .stream(scenario.seed, 0x51)
        probeChance = .stream(scenario.seed, 0x9B)
        firstFollower = Array(repeating: -1, count: workload.requests.count)
        nextFollower = Array(repeating: -1, count: workload.requests.count)
    }

    private static func balancers(
        _ rule: PolicySpec.Rule, _ scenario: Scenario, _ topology: PolicySpec.Topology
    ) throws(RouterError) -> [Balancer] {
        let seed = { (index: Int) in scenario.seed &+ UInt64(index) &* 0x9E37_79B9 }
        var balancers: [Balancer] = []
        switch topology {
        case .central:
            balancers.append(try Balancer(rule, scenario, seed: scenario.seed))
        case .nodes:
            for server in scenario.servers.indices {
                let region = scenario.servers[server].region
                balancers.append(try Balancer(rule, scenario, home: server, region: region, seed: seed(server)))
            }
        case .proxies(let sharing):
            for proxy in 0..<scenario.proxies {
                let region = proxy % scenario.network.rtt.count
                var servers = Array(scenario.servers.indices)
                if case .regions = sharing { servers.removeAll { scenario.servers[$0].region != region } }
                balancers.append(
                    try Balancer(
                        rule, scenario, region: region, servers: servers, tickets: 1 << 14, seed: seed(proxy)))
            }
        }
        return balancers
    }

    /// Plays `workload` in `scenario` under `policy`.
    ///
    /// `concurrency`: that many conversations (requests, where none continues another) are kept under way, one after the
    /// other, and the workload's own times of arrival are ignored.
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
            policy: spec, requests: results, work: engines.map(\.work), end: time,
            tuner: balancers[0].tuner, sharing: talk?.work, events: processed)
    }

    /// What is wrong at the end, nil if nothing is: a request lost, a sum that does not hold.
    var violation: String? {
        guard left == 0 else { return "\(left) requests were lost" }
        for (server, engine) in engines.enumerated() {
            if let violation = engine.violation() { return "server \(server + 1): \(violation)" }
        }
        for balancer in balancers {
            if let violation = balancer.violation() { return "router: \(violation)" }
        }
        return nil
    }

    var time: Nanoseconds { Nanoseconds(now) }

    /// The next thing that happens; false if nothing does. Of arrivals and events at one time the arrivals come first.
    mutating func playNext() throws(RouterError) -> Bool {
        processed += 1
        if nextArrival < arrivals.count, arrivals[nextArrival].time <= queue.nextTime ?? .max {
            now = arrivals[nextArrival].time
            arrive(arrivals[nextArrival].request)
            nextArrival += 1
            return true
        }
        // Probes go on for ever: when nothing else is left to happen, nothing will.
        guard nextArrival < arrivals.count || queue.hasWork, let event = queue.next() else { return false }
        now = event.time
        try handle(event)
        return true
    }

    mutating func handle(_ event: EventQueue.Event) throws(RouterError) {
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
        case .giveUp: if flights[a].isParked || flights[a].isCutOff, !flights[a].isDone { try end(a, .failed) }
        case .probe: probe(a, b)
        case .sample: sample(a)
        case .report: try report(a)
        case .probeFailed:
            try balancers[a].observeFailure(b, limit: scenario.failuresToDown, now: time)
        case .fault: try apply(scenario.faults[a].kind)
        case .kvEvents: try applyKVEvents(a, b)
        }
    }

    /// Messages of an attempt that was given up are ignored.
    func isCurrent(_ request: Int, _ attempt: UInt32) -> Bool {
        flights[request].attempt == attempt && !flights[request].isDone
    }

    mutating func begin() throws(RouterError) {
        var previous: [Int32] = firstFollower
        for (request, described) in workload.requests.enumerated() {
            switch described.arrival {
            case .at(let time):
                if concurrency == nil { arrivals.append((time.rawValue, request)) } else { line.append(request) }
            case .after(let earlier, _):
                if previous[earlier] < 0 {
                    firstFollower[earlier] = Int32(request)
                } else {
                    nextFollower[Int(previous[earlier])] = Int32(request)
                }
                previous[earlier] = Int32(request)
            }
        }
        arrivals.sort { ($0.time, $0.request) < ($1.time, $1.request) }
        for _ in 0..<min(concurrency ?? 0, line.count) { startNextInLine(at: now) }
        for (index, fault) in scenario.faults.enumerated() { queue.schedule(fault.at.rawValue, .fault, index) }
        for balancer in balancers.indices {
            for server in balancers[balancer].servers {
                // The fleet has been there before the first request, and was probed.
                try balancers[balancer].observe(
                    server, rtt: Nanoseconds(milliseconds: path(balancer, server)), now: .zero)
                try balancers[balancer].observe(server, load: engines[server].load, now: .zero)
                queue.schedule(nextProbe(share: probeChance.uniform()), .probe, balancer, server)
            }
        }
    }

    /// With a fixed concurrency: the next conversation begins.
    mutating func startNextInLine(at time: UInt64) {
        guard nextInLine < line.count else { return }
        queue.schedule(time, .arrive, line[nextInLine])
        nextInLine += 1
    }
}
