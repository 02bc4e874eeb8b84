import GotoniCore
import GotoniEngines
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Synchronization

/// Somebody whose request waits for a place.
protocol Waiter: AnyObject {
    /// A place may be free, at this server: try. On the waiter's own event loop.
    func tryAgain(_ place: FreePlace)
}

/// Where there may be a place for one who waits, or several: who takes one offers it on, until somebody finds none.
struct FreePlace {
    /// Nil: not known where.
    var server: ServerID?
}

/// Decides where requests go and keeps the account: the router, the servers' health, the queue. Any thread.
final class Dispatcher: Sendable {
    let configuration: GatewayConfiguration
    let router: SharedRouter
    let fleet = Fleet()
    let counters = Counters()
    let requestLog: RequestLog
    let decisions = DecisionLog()
    let traces = TraceLog()
    let tokens: PromptTokenizer
    /// Nil: this is a proxy, not a node.
    let mesh: Mesh?
    /// Nil: this proxy is alone.
    let sharing: Sharing?
    private let queue: NIOLockedValueBox<Queue>
    /// Length of the queue, and how many there take a place anywhere: to look at without its lock.
    private let waiting = Atomic<Int>(0)
    private let waitingAnywhere = Atomic<Int>(0)
    private let released = Atomic<UInt64>(0)
    private let logger: Logger

    private struct Queue {
        var order: AdmissionQueue
        var waiters: [UInt64: (loop: any EventLoop, waiter: NIOLoopBound<any Waiter>, tokens: Int)] = [:]
        var nextID: UInt64 = 0
        /// Of the prompts that wait.
        var tokens = 0
    }

    init(_ configuration: GatewayConfiguration, logger: Logger) throws {
        self.configuration = configuration
        self.logger = logger
        router = try SharedRouter(configuration.router)
        tokens = PromptTokenizer(configuration, logger: logger)
        requestLog = RequestLog(capacity: configuration.requestLogSize, isOn: configuration.collectsMetrics)
        queue = NIOLockedValueBox(Queue(order: AdmissionQueue(limit: configuration.queueLimit)))
        mesh = configuration.mesh.map {
            Mesh($0, blockTokens: configuration.router.blockTokens, incarnation: UInt64.random(in: 1...UInt64.max))
        }
        sharing = configuration.sharing.map { Sharing($0, proxy: UInt64.random(in: 1...UInt64.max)) }
        try router.withRouter { (router) throws(RouterError) in
            router.setPolicy(configuration.policy)
            for (knob, value) in configuration.knobs { try router.set(knob, to: value) }
        }
    }

    // MARK: Routing

    /// Chooses a server for a prompt, takes a place there and expects the prompt in its cache from now on.
    /// `isExact`: they are the engine's own tokens.
    /// Errors: noServer, saturated, capacity, range (the prompt is too long), memory.
    func route(
        _ tokens: Span<UInt32>, _ facts: BodyFacts, isExact: Bool, excluding: [ServerID], now: Nanoseconds,
        record: inout DecisionRecord
    ) throws(RouterError) -> (Decision, Server) {
        var rows: [Candidate] = []
        let local = mesh == nil ? nil : fleet.mesh.local
        var chain: [UInt64] = []
        let decision = try router.withPrompt(tokens, namespace: facts.namespace) {
            (router, prompt) throws(RouterError) -> Decision in
            let keepsTable = router.serverCount <= DecisionRecord.mostServers
            if keepsTable { rows.reserveCapacity(router.serverCount) }
            let decision = try router.route(
                prompt, Request(sessionKey: facts.sessionKey), excluding: excluding.span, now: now,
                row: keepsTable ? { rows.append($0) } : nil)
            if let ticket = decision.ticket { try router.commit(ticket, prompt, now: now) }
            if sharing != nil || decision.server == local?.id {
                chain = prompt.chain(most: PrefixNews.mostBlocks)
            }
            return decision
        }
        guard let server = fleet[decision.server] else {
            // Removed between the two.
            if let ticket = decision.ticket { finish(ticket, .notSent) }
            throw .noServer
        }
        record.decided(decision, rows, now: now)
        if !chain.isEmpty {
            chain = chain.map { $0 & PrefixNews.digestMask }
            mesh?.note(chain)
            sharing?.note(chain, at: server)
        }
        server.state.withLockedValue {
            $0.inFlight += 1
            $0.requests += 1
            $0.promptTokens += UInt64(decision.promptTokens)
            $0.matchedTokens += UInt64(decision.matchedTokens)
            $0.notePrompt(
                tokens: decision.promptTokens, matched: decision.matchedTokens, isExact: isExact, now: now)
        }
        return (decision, server)
    }

    /// Where a request may not go: to peers, if it came from one, or if there is room here by the threshold. `tried`: where
    /// it has failed.
    func barred(hops: Int, tried: [ServerID]) -> [ServerID] {
        guard let mesh else { return tried }
        let (local, peers) = fleet.mesh
        if hops < Hop.most {
            let threshold = mesh.runningThreshold.load(ordering: .relaxed)
            guard threshold > 0, let local, !tried.contains(local.id),
                local.state.withLockedValue({
                    $0.health.state == .up && $0.inFlight < min(threshold, $0.limitInForce)
                })
            else { return tried }
        }
        return tried + peers
    }

    /// The engine of this node takes requests.
    var localIsUp: Bool { fleet.mesh.local?.state.withLockedValue { $0.health.state == .up } ?? false }

    /// An engine that can be asked about prompts: this node's, or any that is up.
    func anyEngine() -> Server? {
        if mesh != nil { return localIsUp ? fleet.mesh.local : nil }
        return anyServer(excluding: [])
    }

    /// A server for a request without a prompt: the nearest that is up, of peers those that say that they have room.
    func anyServer(excluding: [ServerID]) -> Server? {
        func distance(_ server: Server) -> Double? {
            server.state.withLockedValue { state in
                guard state.health.state == .up, server.role != .peer || state.limitInForce > 0 else { return nil }
                return server.role == .local ? 0 : state.rtt.least ?? .infinity
            }
        }
        return fleet.all.filter { !excluding.contains($0.id) }.compactMap { server in
            distance(server).map { (server, $0) }
        }.min { $0.1 < $1.1 }?.0
    }

    func firstToken(_ ticket: Ticket, now: Nanoseconds) {
        try? router.withRouter { (router) throws(RouterError) in try router.firstToken(ticket, now: now) }
    }

    func progress(_ ticket: Ticket, now: Nanoseconds) {
        try? router.withRouter { (router) throws(RouterError) in try router.progress(ticket, now: now) }
    }

    /// The request has left `server`: its place is free.
    func ended(
        _ ticket: Ticket, _ outcome: Outcome, on server: Server, cachedTokens: Int?, outputTokens: Int?,
        now: Nanoseconds
    ) {
        try? router.withRouter { (router) throws(RouterError) in
            if let cachedTokens, cachedTokens >= 0 {
                // More than the prompt has: the engine counts other tokens than we do. No news for the trie then.
                try? router.observeCachedTokens(ticket, UInt64(cachedTokens), now: now)
            }
            if let outputTokens, outputTokens >= 0 {
                try? router.observeOutputTokens(ticket, UInt64(outputTokens), now: now)
            }
            try router.finish(ticket, outcome, now: now)
        }
        server.state.withLockedValue { $0.inFlight -= 1 }
        freed(server)
    }

    private func finish(_ ticket: Ticket, _ outcome: Outcome) {
        try? router.withRouter { (router) throws(RouterError) in try router.finish(ticket, outcome, now: Clock.now()) }
    }

    // MARK: The queue

    var queueLength: Int { waiting.load(ordering: .relaxed) }
    /// Requests wait that would take any place, so a newcomer has to wait as well.
    var hasQueue: Bool { waitingAnywhere.load(ordering: .sequentiallyConsistent) > 0 }
    var oldestArrival: Nanoseconds? { queue.withLockedValue { $0.order.oldestArrival } }

    /// Off: what finds no place is refused at once. Those that wait go on waiting.
    var queueIsOn: Bool {
        get { queue.withLockedValue { $0.order.limit > 0 } }
        set { queue.withLockedValue { $0.order.limit = newValue ? max(1, configuration.queueLimit) : 0 } }
    }

    /// How often a place has become free. Whoever finds none reads this before looking: a place that became free since
    /// then may have been offered to nobody.
    var releases: UInt64 { released.load(ordering: .sequentiallyConsistent) }

    /// Nil: the queue is full. Otherwise `tryAgain` will be called when a place may be free. `avoiding`: where it has
    /// failed. `only`: it takes a place nowhere else. `triedAt`: `releases` before it tried in vain.
    func enqueue(
        _ waiter: any Waiter, on loop: any EventLoop, tokens: Int, priority: Int, deadline: Nanoseconds,
        avoiding: [ServerID], only: ServerID?, triedAt: UInt64, now: Nanoseconds
    ) -> UInt64? {
        let bound = NIOLoopBound<any Waiter>(waiter, eventLoop: loop)
        return queue.withLockedValue { queue -> UInt64? in
            queue.nextID += 1
            let id = queue.nextID
            guard
                queue.order.add(
                    id: id, priority: priority, deadline: deadline, avoiding: avoiding, only: only, now: now)
            else { return nil }
            queue.waiters[id] = (loop, bound, tokens)
            queue.tokens += tokens
            noteLengths(queue)
            // Nobody would have been offered a place that became free meanwhile, or those before it have just gone.
            let isFirst = avoiding.isEmpty && only == nil && queue.order.anywhereCount == 1
            if isFirst || releases != triedAt, queue.order.take(id: id) {
                loop.execute { bound.value.tryAgain(FreePlace()) }
            }
            return id
        }
    }

    func leaveQueue(_ id: UInt64) {
        queue.withLockedValue { queue in
            queue.order.remove(id: id)
            if let waiter = queue.waiters.removeValue(forKey: id) { queue.tokens -= waiter.tokens }
            noteLengths(queue)
        }
    }

    private func noteLengths(_ queue: Queue) {
        waiting.store(queue.order.count, ordering: .sequentiallyConsistent)
        waitingAnywhere.store(queue.order.anywhereCount, ordering: .sequentiallyConsistent)
    }

    /// `server` has room that it had not.
    func freed(_ server: Server) {
        released.add(1, ordering: .sequentiallyConsistent)
        if waiting.load(ordering: .sequentiallyConsistent) > 0 { offer(FreePlace(server: server.id)) }
    }

    /// It found no place. True: one has become free since `triedAt`, so try again at once.
    func putBack(_ id: UInt64, triedAt: UInt64) -> Bool {
        queue.withLockedValue { queue in
            queue.order.putBack(id: id)
            return releases != triedAt && queue.order.take(id: id)
        }
    }

    /// Offers a free place to whose turn it is.
    func offer(_ place: FreePlace) {
        let next = queue.withLockedValue { queue in
            queue.order.take(at: place.server, now: Clock.now()).flatMap { queue.waiters[$0] }
        }
        if let next { next.loop.execute { next.waiter.value.tryAgain(place) } }
    }

    // MARK: Health

    /// A request was answered in full.
    func answered(_ server: Server, isProbe: Bool, now: Nanoseconds) {
        let settings = configuration.healthSettings(server.role)
        let change = server.state.withLockedValue { state in
            let change = state.health.answered(isProbe: isProbe, now: now, settings)
            if state.health.isAvailable(settings) { state.downtime.ends(now: now) }
            return change
        }
        apply(change, server, now: now)
    }

    func blame(_ server: Server, _ blame: Blame, for failure: Failure, now: Nanoseconds) {
        switch blame {
        case .none: return
        case .overloaded:
            server.state.withLockedValue { $0.health.overloaded(inFlight: $0.inFlight, now: now) }
            applyLimit(server, now: now)
        case .failed, .dead:
            let mayEject = mayEject(server, isDead: blame == .dead)
            let change = server.state.withLockedValue {
                $0.failures += 1
                $0.lastFailure = "request: \(failure)"
                return $0.health.failed(
                    isDead: blame == .dead, mayEject: mayEject, now: now, configuration.healthSettings(server.role))
            }
            apply(change, server, now: now)
        }
    }

    func probeFailed(_ server: Server, isDead: Bool, why: String, now: Nanoseconds) {
        let mayEject = mayEject(server, isDead: isDead)
        let settings = configuration.healthSettings(server.role)
        let (change, failures, isOut) = server.state.withLockedValue { state in
            state.lastFailure = "probe: \(why)"
            let change = state.health.probeFailed(isDead: isDead, mayEject: mayEject, now: now, settings)
            // Also of one that the floor keeps.
            let isOut =
                state.health.state == .up && !state.health.isAvailable(settings) && state.downtime.begins(now: now)
            return (change, state.health.consecutiveProbeFailures, isOut)
        }
        if isOut, isDead, server.role == .local { mesh?.forget() }
        // Once for each time it stops answering, also for one that never did, or that the floor keeps.
        if change == .none, failures == configuration.unhealthyAfter {
            logger.warning("server does not answer", metadata: ["server": "\(server.name)", "why": "\(why)"])
        }
        apply(change, server, now: now)
    }

    /// Health and limit change under one lock, and what the router knows of them under another: what got in between is
    /// mended here.
    func reconcile(_ server: Server, now: Nanoseconds) {
        let info = try? router.withRouter { (router) throws(RouterError) in try router.info(server.id, now: now) }
        guard let info else { return }
        // Looked at last: a server that has come up between the two looks must not be taken out again.
        let (shouldServe, limit, capacity) = server.state.withLockedValue {
            ($0.health.state == .up, $0.limitInForce, $0.cacheCapacity(now: now))
        }
        if (info.state == .up) != shouldServe { mark(server, shouldServe ? .up : .draining, now: now) }
        let isAsTold = info.maxRequests == UInt32(clamping: limit)
        guard !isAsTold || info.kvCapacityTokens != capacity ?? configuration.router.defaultKVCapacityTokens else {
            return
        }
        tellLimit(server, now: now)
        if !isAsTold { freed(server) }
    }

    /// The floor: of those that were ever up, half stay; a dead one may go as long as another is left.
    private func mayEject(_ server: Server, isDead: Bool) -> Bool {
        var (up, known) = (0, 0)
        for other in fleet.all {
            let state = other.state.withLockedValue { $0.health.state }
            if state == .up { up += 1 }
            if state == .up || state == .ejected { known += 1 }
        }
        return isDead ? up > 1 : up > 1 && (up - 1) * 2 >= known
    }

    private func apply(_ change: ServerHealth.Change, _ server: Server, now: Nanoseconds) {
        switch change {
        case .none: return
        case .nowUp:
            logger.notice("server is up", metadata: ["server": "\(server.name)"])
            applyLimit(server, now: now)
            mark(server, .up, now: now)
            freed(server)
        case .nowEjected(let isDead):
            logger.warning(
                "server is ejected",
                metadata: [
                    "server": "\(server.name)", "dead": "\(isDead)",
                    "why": "\(server.state.withLockedValue(\.lastFailure))",
                ])
            _ = server.state.withLockedValue { $0.downtime.begins(now: now) }
            counters.ejections.add(1, ordering: .relaxed)
            if isDead, server.role == .local { mesh?.forget() }
            mark(server, isDead ? .down : .draining, now: now)
        }
    }

    func mark(_ server: Server, _ state: ServerState, now: Nanoseconds) {
        try? router.withRouter { (router) throws(RouterError) in try router.mark(server.id, state, now: now) }
        if state == .down { forgot(server) }
    }

    /// What its engine found cached of a prompt.
    func note(predicted: Int, found: Int, at server: Server) {
        let (before, difference, isOff) = server.state.withLockedValue { state in
            let before = state.parity.isOff
            state.parity.note(predicted: predicted, found: found, blockTokens: configuration.router.blockTokens)
            return (before, state.parity.difference, state.parity.isOff)
        }
        guard before != isOff else { return }
        let metadata: Logger.Metadata = [
            "server": "\(server.name)", "percent": "\(Int((difference ?? 0) * 100))",
        ]
        if isOff {
            logger.warning("what is predicted to be cached is not what the engine finds", metadata: metadata)
        } else {
            logger.notice("what is predicted to be cached is what the engine finds again", metadata: metadata)
        }
    }

    /// Forgets what `server` holds; nil: what all of them hold. Gives how many nodes of the trie there were.
    @discardableResult func clearPrefixes(of server: Server?, now: Nanoseconds) throws(RouterError) -> Int {
        defer { for one in server.map({ [$0] }) ?? fleet.all { forgot(one) } }
        return try router.withRouter { (router) throws(RouterError) in
            let before = router.prefixStatistics().nodes
            if let server { try router.clearPrefixes(of: server.id, now: now) } else { router.clearPrefixes(now: now) }
            return before - router.prefixStatistics().nodes
        }
    }

    /// The router has forgotten what `server` holds; its KV events are to begin anew.
    func forgot(_ server: Server) { server.state.withLockedValue { $0.noteForgotten() } }

    /// The load and the incarnation that an engine has told of itself.
    func observe(_ report: EngineReport, of server: Server, hasRestarted: Bool, now: Nanoseconds) {
        var metrics = report.metrics
        metrics.kvCapacityTokens = server.state.withLockedValue { $0.cacheCapacity(now: now) }
        let observed = metrics
        try? router.withRouter { (router) throws(RouterError) in
            try router.observeMetrics(server.id, observed, now: now)
        }
        if hasRestarted { forgot(server) }
    }

    /// Tells the router the limit in force now. True: it was raised.
    @discardableResult func applyLimit(_ server: Server, now: Nanoseconds) -> Bool {
        let settings = configuration.healthSettings(server.role)
        let (before, limit) = server.state.withLockedValue { state in
            let before = state.limitInForce
            _ = state.health.rampEnded(now: now, settings)
            state.limitInForce = state.health.limit(state.limit, now: now, settings)
            return (before, state.limitInForce)
        }
        if before != limit { tellLimit(server, now: now) }
        return limit > before
    }

    /// Tokens of so many prompts of the mean length; nil while few have come.
    func tokens(ofPrompts count: Int) -> Int? {
        let statistics = try? router.withRouter { (router) throws(RouterError) in router.statistics() }
        guard let statistics, statistics.routed >= Self.fewPrompts else { return nil }
        return max(count * Int(clamping: statistics.promptTokens / statistics.routed), 1)
    }

    private static let fewPrompts = 4

    private func tellLimit(_ server: Server, now: Nanoseconds) {
        let (limit, capacity) = server.state.withLockedValue { ($0.limitInForce, $0.cacheCapacity(now: now)) }
        try? router.withRouter { (router) throws(RouterError) in
            try router.update(
                ServerConfiguration(id: server.id, maxRequests: UInt32(clamping: limit), kvCapacityTokens: capacity),
                now: now)
        }
    }

    // MARK: Peers

    /// A peer has told about itself. True: it has more room than before.
    func hear(_ report: NodeReport, of server: Server, now: Nanoseconds) -> Bool {
        var metrics = EngineMetrics()
        metrics.queuedRequests = UInt64(report.queuedRequests + report.waitingRequests)
        metrics.runningRequests = UInt64(report.runningRequests)
        metrics.queuedTokens = UInt64(report.owedTokens + report.waitingTokens)
        metrics.runningTokens = UInt64(report.runningTokens)
        metrics.kvCapacityTokens = report.kvCapacityTokens.map { UInt64($0) }
        metrics.incarnation = report.incarnation
        let observed = metrics
        try? router.withRouter { (router) throws(RouterError) in
            try router.observeMetrics(server.id, observed, now: now)
        }
        server.state.withLockedValue { state in
            state.node = report
            state.nodeTime = now
            // Ours there are in its report or on their way; only the others' take room from us.
            let others = max(0, report.queuedRequests + report.runningRequests - state.inFlight)
            state.limit = report.takesRequests ? max(0, report.limit - others - report.waitingRequests) : 0
        }
        answered(server, isProbe: true, now: now)
        return applyLimit(server, now: now)
    }

    /// A peer's engine has these prompts.
    func hold(_ chains: [[UInt64]], at server: Server, now: Nanoseconds) {
        for chain in chains {
            // A beginning may have fitted: that is all one can do.
            try? router.withChain(chain) { (router, prompt) throws(RouterError) in
                try router.insert(prompt, on: server.id, now: now)
            }
        }
    }

    /// A peer that has said nothing for long gets nothing until it does; one that has said something since it was ejected
    /// need not be heard again.
    func reconsider(_ server: Server, now: Nanoseconds) {
        let (change, isBack) = server.state.withLockedValue { state in
            guard let heard = state.nodeTime else { return (ServerHealth.Change.none, false) }
            guard now.since(heard) > PeerLink.silence(roundTrip: state.rtt.most) else {
                return (.none, state.health.ejectedAt.map { heard > $0 } ?? false)
            }
            let change = state.health.fellSilent(now: now)
            if change != .none { state.lastFailure = "it is silent" }
            return (change, false)
        }
        apply(change, server, now: now)
        if isBack { answered(server, isProbe: true, now: now) }
    }

    /// What to tell peers of this node.
    func report(isDraining: Bool, now: Nanoseconds) -> NodeReport {
        var report = NodeReport()
        report.blockTokens = configuration.router.blockTokens
        (report.waitingRequests, report.waitingTokens) = queue.withLockedValue { ($0.order.count, $0.tokens) }
        guard let local = fleet.mesh.local else { return report }
        let settings = configuration.healthSettings(local.role)
        (report.limit, report.takesRequests) = local.state.withLockedValue {
            ($0.limitInForce, !isDraining && $0.health.isAvailable(settings))
        }
        let info = try? router.withRouter { (router) throws(RouterError) in try router.info(local.id, now: now) }
        guard let info else { return report }
        var load = info.own
        if let foreign = info.foreign {
            load.queuedRequests += foreign.queuedRequests
            load.runningRequests += foreign.runningRequests
            load.owedTokens += foreign.owedTokens
            load.runningTokens += foreign.runningTokens
        }
        report.queuedRequests = Int(clamping: load.queuedRequests)
        report.runningRequests = Int(clamping: load.runningRequests)
        report.owedTokens = Int(clamping: load.owedTokens)
        report.runningTokens = Int(clamping: load.runningTokens)
        report.kvCapacityTokens = info.kvCapacityTokens == .max ? nil : Int(clamping: info.kvCapacityTokens)
        return report
    }
}
