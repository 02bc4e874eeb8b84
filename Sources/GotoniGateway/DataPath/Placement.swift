import GotoniCore
import GotoniEngines
import NIOConcurrencyHelpers
import NIOCore
import Synchronization

/// What a request is to a router, whoever carries it: its prompt's tokens, its turn in the queue, its place on a server, its
/// ticket, its record. A subclass sends it there and reads the answer. Exactly one of `served`, `refuse`, `giveUp`,
/// `brokeOff` and `cancel` ends it, and each gives the ticket back. Lives on one event loop.
public class Placement: Waiter {
    enum Stage: Equatable {
        case tokenizing
        case queued(UInt64)
        case connecting
        case awaiting
        case streaming
        case ended
    }

    private static let longestTokenizing = Nanoseconds(milliseconds: 2_000)

    let loop: LoopContext
    var dispatcher: Dispatcher { loop.dispatcher }

    let path: Substring
    /// Nil: passed through, without prompt and ticket.
    let endpoint: Endpoint?
    /// How often it has been forwarded between nodes.
    let hops: Int
    let body: ByteBuffer
    let requestID: String
    /// When the head had been read.
    let start: Nanoseconds

    final var stage = Stage.connecting
    private var facts = BodyFacts()
    /// Nil: they are estimated, or ids that the client sent; then the loop's reader has them when it has read the body.
    private var tokens: PromptTokens?
    final var record = RequestRecord()
    private var queueDeadline = Nanoseconds(0)
    private(set) final var queuedAt: Nanoseconds?

    // The attempt under way.
    private(set) final var server: Server?
    private(set) final var ticket: Ticket?
    private var tried: [ServerID] = []
    private(set) final var retried = 0
    final var sentAt = Nanoseconds(0)
    private(set) final var lastProgress = Nanoseconds(0)

    // The answer.
    /// From the loop's, while an answer passes.
    final var usage: UsageReader?
    final var status = 0
    private(set) final var firstByteAt: Nanoseconds?

    /// While a trace runs.
    final var trace: RequestTrace?

    init(
        loop: LoopContext, path: Substring, endpoint: Endpoint?, hops: Int, body: ByteBuffer, requestID: String,
        start: Nanoseconds
    ) {
        self.loop = loop
        self.path = path
        self.endpoint = endpoint
        self.hops = hops
        self.body = body
        self.requestID = requestID
        self.start = start
    }

    // MARK: A subclass's part

    /// It has a place on `server`: send it there.
    func begin(at server: Server) { fatalError("a subclass's") }

    /// It is over, and this is its answer.
    func answer(_ problem: Problem) { fatalError("a subclass's") }

    /// Ends the connection to the server, if there is one.
    func disconnect() {}

    /// It is over: nothing more will be asked of it.
    func ended() {}

    /// Its server's answer has begun and can be passed on.
    var hasAnswer: Bool { false }

    // MARK: Finding a server

    /// `flow`: the trace's arrow from another node.
    func begin(flow: UInt64? = nil) {
        dispatcher.counters.handled.add(1, ordering: .relaxed)
        if hops > 0 { dispatcher.counters.fromPeers.add(1, ordering: .relaxed) }
        dispatcher.counters.underWay.add(1, ordering: .relaxed)
        if endpoint != nil {
            let session = dispatcher.traces.running
            if session != 0 {
                trace = RequestTrace(
                    session: session, requestID: requestID, path: path, hops: hops, flow: flow, start: start,
                    received: Clock.now())
            }
            do throws(BodyError) {
                facts = try read()
            } catch {
                let status = error == .tooLarge ? 413 : error == .memory ? 503 : 400
                return refuse(.badRequest("invalid_body", "\(error.text)", status: status))
            }
            record.promptBytes = facts.promptTokens * 4
            findTokens()
        } else {
            findServer()
        }
    }

    /// As `begin`, of a request that is known to be wrong.
    final func begin(refusing problem: Problem) {
        dispatcher.counters.handled.add(1, ordering: .relaxed)
        dispatcher.counters.underWay.add(1, ordering: .relaxed)
        refuse(problem)
    }

    private func findTokens() {
        guard let endpoint else { return }
        stage = .tokenizing
        var isLater = false
        dispatcher.tokens.find(.init(loop: loop, facts: facts, endpoint: endpoint, body: body)) { found in
            self.have(found, isLater: isLater)
        }
        isLater = true
    }

    /// Nil: the estimate must do. `isLater`: others have used the loop's reader.
    private func have(_ found: PromptTokens?, isLater: Bool) {
        // The client left, the gateway ended, or it was not waited for.
        guard stage == .tokenizing else { return }
        tokens = found
        if let found {
            facts.promptTokens = found.ids.count
        } else if isLater, !readAgain() {
            return refuse(.internalError)
        }
        record.tokens = facts.promptTokens
        record.tokensFrom = tokensFrom
        dispatcher.tokens.count(tokensFrom)
        stage = .connecting
        findServer()
    }

    private var tokensFrom: TokenOrigin { tokens?.origin ?? (facts.isExact ? .client : .estimate) }

    private func findServer() {
        let releases = dispatcher.releases
        if endpoint != nil, dispatcher.hasQueue { return enqueue(triedAt: releases) }
        if let error = route() { notRouted(error, triedAt: releases) }
    }

    /// The prompt into the loop's reader, which others have used since then, unless its tokens are at hand.
    private func readAgain() -> Bool { tokens != nil || (try? read()) != nil }

    /// The prompt and what else the body says, into the loop's reader; nothing if it is passed through.
    private func read() throws(BodyError) -> BodyFacts {
        guard let endpoint else { return BodyFacts() }
        return try body.withUnsafeReadableBytes { bytes in
            Result { () throws(BodyError) in try loop.reader.read(bytes, endpoint) }
        }
        .get()
    }

    /// Takes a place on a server and begins there; what is passed through needs none. Nil: done; otherwise why not.
    private func route() -> RouterError? {
        guard endpoint != nil else {
            guard let server = dispatcher.anyServer(excluding: dispatcher.barred(hops: hops, tried: tried)) else {
                return .noServer
            }
            leaveServer(.failed)
            self.server = server
            begin(at: server)
            return nil
        }
        let now = Clock.now()
        do throws(RouterError) {
            let (decision, server) = try PromptTokens.of(tokens, loop.reader) {
                (tokens: Span<UInt32>) throws(RouterError) in
                try dispatcher.route(
                    tokens, facts, isExact: tokensFrom.isExact, excluding: dispatcher.barred(hops: hops, tried: tried),
                    now: now,
                    record: &record.decision)
            }
            leaveServer(.failed)
            ticket = decision.ticket
            self.server = server
            begin(at: server)
            return nil
        } catch {
            return error
        }
    }

    private func notRouted(_ error: RouterError, triedAt releases: UInt64) {
        switch error {
        case .saturated: enqueue(triedAt: releases)
        case .noServer:
            // Servers that have not answered yet may do so any moment.
            let hopes = dispatcher.fleet.all.contains { server in
                (hops < Hop.most || server.role == .local)
                    && server.state.withLockedValue { $0.health.state == .unknown }
            }
            if hopes { enqueue(triedAt: releases) } else { refuse(.noServer) }
        case .range:
            refuse(.badRequest("prompt_too_long", "the prompt has more tokens than this proxy accepts", status: 413))
        default: refuse(.saturated)
        }
    }

    private func enqueue(triedAt releases: UInt64) {
        let now = Clock.now()
        if queuedAt == nil {
            dispatcher.counters.queued.add(1, ordering: .relaxed)
            queuedAt = now
            queueDeadline = now.plus(dispatcher.configuration.queueTimeout)
        }
        guard
            let id = dispatcher.enqueue(
                self, on: loop.loop, tokens: facts.promptTokens, priority: facts.priority, deadline: queueDeadline,
                avoiding: tried, only: hops < Hop.most ? nil : dispatcher.fleet.mesh.local?.id, triedAt: releases,
                now: now)
        else { return refuse(.queueFull) }
        trace?.waits(from: now)
        stage = .queued(id)
    }

    func tryAgain(_ place: FreePlace) {
        guard case .queued(let id) = stage else {
            // Gone meanwhile: the place is for the next.
            return dispatcher.offer(place)
        }
        guard readAgain() else {
            refuse(.internalError)
            return dispatcher.offer(place)
        }
        while true {
            let releases = dispatcher.releases
            stage = .connecting
            if route() == nil {
                dispatcher.leaveQueue(id)
                // There may be more: one that became free while all who waited were trying was offered to nobody.
                dispatcher.offer(place)
                if place.server != nil { dispatcher.offer(FreePlace()) }
                return
            }
            stage = .queued(id)
            guard dispatcher.putBack(id, triedAt: releases) else { return }
        }
    }

    // MARK: Its place

    /// Ends the attempt under way: its connection and its ticket.
    final func leaveServer(_ outcome: Outcome) {
        disconnect()
        endTicket(outcome, cachedTokens: nil, outputTokens: nil, now: Clock.now())
    }

    private func endTicket(_ outcome: Outcome, cachedTokens: Int?, outputTokens: Int?, now: Nanoseconds) {
        guard let ticket, let server else { return }
        self.ticket = nil
        dispatcher.ended(
            ticket, outcome, on: server, cachedTokens: cachedTokens, outputTokens: outputTokens, now: now)
    }

    /// True: the request is on its way to another server, or waits for one. False: there is none, nothing has changed.
    final func tryAnother() -> Bool {
        guard let current = server else { return false }
        let before = tried
        tried.append(current.id)
        guard readAgain() else { return false }
        let releases = dispatcher.releases
        if let error = route() {
            // Wait for one of the others only if this one gave no answer that could be passed on.
            guard error == .saturated, !hasAnswer else {
                tried = before
                return false
            }
            leaveServer(.failed)
            enqueue(triedAt: releases)
        }
        retried += 1
        dispatcher.counters.retried.add(1, ordering: .relaxed)
        return true
    }

    // MARK: The answer

    /// The first byte of an answer's content came. `isWhole`: with all others, so there is no time in which it runs.
    final func sawFirstByte(isWhole: Bool, now: Nanoseconds) {
        guard firstByteAt == nil else { return }
        firstByteAt = now
        trace?.gotFirstByte(at: now)
        lastProgress = now
        guard !isWhole, let ticket, (200..<300).contains(status) else { return }
        dispatcher.firstToken(ticket, now: now)
        record.decision.firstToken = now.since(record.decision.time).milliseconds
    }

    /// It has been answered to the end. `disconnect` is not called.
    final func served(now: Nanoseconds) {
        let succeeded = (200..<400).contains(status)
        let used = succeeded ? usage?.usage() : nil
        endTicket(
            succeeded ? .ok : .failed, cachedTokens: used.flatMap(cachedTokens), outputTokens: used?.outputTokens,
            now: now)
        if let used, facts.sequences == 1 {
            dispatcher.tokens.note(
                ours: facts.promptTokens, tokensFrom, engine: used.promptTokens,
                predicted: record.decision.matchedTokens, found: used.cachedTokens)
            // Estimates are no measure for what the engine counts.
            if let server, tokensFrom.isExact, let found = used.cachedTokens {
                dispatcher.note(predicted: record.decision.matchedTokens, found: found, at: server)
            }
        }
        // A client error speaks neither for nor against the server.
        if succeeded, let server { dispatcher.answered(server, isProbe: false, now: now) }
        dispatcher.counters.forwarded.add(1, ordering: .relaxed)
        if server?.role == .peer { dispatcher.counters.answeredByPeers.add(1, ordering: .relaxed) }
        end(now, success: succeeded, error: "", used)
    }

    /// The engine's count of cached tokens in our tokens. Where ours are estimates it is the engine's share of its own
    /// prompt; densities differ along a text, so a share within a tenth of what was expected counts as agreement.
    private func cachedTokens(_ used: Usage) -> Int? {
        guard let cached = used.cachedTokens else { return nil }
        let ours = record.decision.promptTokens
        if tokensFrom.isExact { return min(cached, ours) }
        guard let theirs = used.promptTokens, theirs > 0 else { return nil }
        let scaled = Int(Double(min(cached, theirs)) / Double(theirs) * Double(ours))
        let expected = record.decision.matchedTokens
        return abs(scaled - expected) * 10 <= ours ? expected : scaled
    }

    // MARK: Failure

    /// No server answered.
    final func giveUp(_ problem: Problem) {
        leaveServer(.failed)
        dispatcher.counters.failed.add(1, ordering: .relaxed)
        end(problem)
    }

    /// The gateway does not serve it.
    final func refuse(_ problem: Problem) {
        if case .queued(let id) = stage { dispatcher.leaveQueue(id) }
        leaveServer(.notSent)
        dispatcher.counters.rejected.add(1, ordering: .relaxed)
        end(problem)
    }

    private func end(_ problem: Problem) {
        status = problem.status
        end(Clock.now(), success: false, error: "\(problem.code)", nil)
        answer(problem)
    }

    /// What was passed on of the answer is all that will come.
    final func brokeOff(_ reason: String) {
        leaveServer(.failed)
        dispatcher.counters.failed.add(1, ordering: .relaxed)
        end(Clock.now(), success: false, error: reason, nil)
    }

    /// The client left.
    func cancel() {
        guard stage != .ended else { return }
        if case .queued(let id) = stage { dispatcher.leaveQueue(id) }
        leaveServer(.cancelled)
        dispatcher.counters.cancelled.add(1, ordering: .relaxed)
        end(Clock.now(), success: false, error: "client left", nil)
    }

    private func end(_ now: Nanoseconds, success: Bool, error: String, _ used: Usage?) {
        stage = .ended
        if let usage { loop.giveBack(usage) }
        usage = nil
        defer {
            // Last, and releasing: who sees nothing under way finds every request written down.
            dispatcher.counters.underWay.subtract(1, ordering: .releasing)
            ended()
        }
        guard endpoint != nil else { return }
        let wall = WallClock.seconds()
        record.requestID = requestID
        record.time = wall - now.since(start).milliseconds / 1000
        record.total = now.since(start).milliseconds
        if let queuedAt, record.queue == 0 {
            record.queue = (sentAt > queuedAt ? sentAt : now).since(queuedAt).milliseconds
        }
        if let firstByteAt, (200..<300).contains(status) {
            let ttft = firstByteAt.since(start)
            record.ttft = ttft.milliseconds
            record.network = firstByteAt.since(sentAt).milliseconds
            dispatcher.counters.ttft.add(seconds: ttft.milliseconds / 1000)
            server?.state.withLockedValue { $0.ttft.add(ttft.milliseconds) }
        }
        record.server = server?.name ?? ""
        record.serverHost = server?.url.host ?? ""
        record.status = status
        record.isSuccess = success
        record.error = error
        record.retries = retried
        record.engineTokens = used?.promptTokens
        record.cachedTokens = used?.cachedTokens
        record.outputTokens = used?.outputTokens
        if record.decision.chosen != nil {
            dispatcher.decisions.add(
                DecisionLog.Entry(
                    requestID: requestID, time: record.time, queueMs: record.queue, ttftMs: record.ttft,
                    decision: record.decision))
        }
        dispatcher.requestLog.add(record)
        if var trace {
            trace.ends(at: now)
            (trace.status, trace.error, trace.decision) = (status, error, record.decision)
            // The tables behind the decision are not in the file.
            trace.decision.candidates = []
            (trace.cachedTokens, trace.outputTokens) = (used?.cachedTokens, used?.outputTokens)
            dispatcher.traces.add(trace)
            self.trace = nil
        }
    }

    // MARK: Time

    /// Deadlines before there is a server.
    func tick(now: Nanoseconds) {
        switch stage {
        case .queued:
            if now >= queueDeadline {
                refuse(.queueTimeout)
            } else if hops >= Hop.most, !dispatcher.localIsUp {
                // Nobody else may serve it from here, but where it came from others can be asked.
                refuse(.noServer)
            }
        case .tokenizing:
            // Services have their own, shorter time; this is for very long prompts when the threads have much to do.
            if now.since(start) > Self.longestTokenizing { have(nil, isLater: true) }
        case .connecting, .awaiting, .streaming, .ended: return
        }
    }

    /// Our own deadlines decide when a request is dead, not the ticket's.
    final func signOfLife(_ now: Nanoseconds) {
        guard let ticket, now.since(lastProgress).milliseconds > 5_000 else { return }
        lastProgress = now
        dispatcher.progress(ticket, now: now)
    }

    /// The gateway ends: who has no answer yet gets one.
    func shutDown() {
        switch stage {
        case .tokenizing, .queued, .connecting, .awaiting: refuse(.shuttingDown)
        case .streaming, .ended: return
        }
    }
}
