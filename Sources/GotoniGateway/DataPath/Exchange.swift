import GotoniCore
import GotoniEngines
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1
import Synchronization

/// One request of a client from the moment it has been read until its answer has been passed on: its place in the queue,
/// its attempts, its ticket. Lives on the event loop of its client; exactly one of `complete`, `refuse`, `breakOff` and
/// `cancel` ends it, and each gives the ticket back.
///
///     start ─▶ tokenizing ─▶ queued ─▶ connecting ─▶ awaiting ─▶ streaming ─▶ ended
///                               ▲           └───────────┴── another server ──┐
///                               └────────────────────────────────────────────┘
final class Exchange: UpstreamUser, Waiter {
    enum Stage: Equatable {
        case tokenizing
        case queued(UInt64)
        case connecting
        case awaiting
        case streaming
        case ended
    }

    private static let longestTokenizing = Nanoseconds(milliseconds: 2_000)

    unowned let client: ClientConnection
    let loop: LoopContext
    private var dispatcher: Dispatcher { loop.dispatcher }

    let head: HTTPRequestHead
    let path: Substring
    /// Nil: passed through, without prompt and ticket.
    let endpoint: Endpoint?
    /// How often it has been forwarded between nodes.
    let hops: Int
    let body: ByteBuffer
    let requestID: String
    /// When the head had been read.
    let start: Nanoseconds

    private(set) var stage = Stage.connecting
    private var facts = BodyFacts()
    /// Nil: they are estimated, or ids that the client sent; then the loop's reader has them when it has read the body.
    private var tokens: PromptTokens?
    private var record = RequestRecord()
    private var queueDeadline = Nanoseconds(0)
    private var queuedAt: Nanoseconds?

    // The attempt under way.
    private var server: Server?
    private var ticket: Ticket?
    private var upstream: UpstreamConnection?
    /// Counts attempts, so that a connection that comes too late is recognised.
    private var attempt = 0
    private var isReused = false
    /// Of the trace's arrow.
    private var flow: UInt64?
    private var tried: [ServerID] = []
    private var retried = 0
    private var sentAt = Nanoseconds(0)
    private var lastActivity = Nanoseconds(0)
    private var lastProgress = Nanoseconds(0)

    // The answer.
    private var reader = ResponseReader()
    private var pending = ByteBuffer()
    /// From the loop's, while an answer passes.
    private var usage: UsageReader?
    private var status = 0
    private var isEventStream = false
    private var isChunked = false
    private var serverKeepsConnection = false
    private var keepsClient = true
    private var firstByteAt: Nanoseconds?

    /// While a trace runs.
    private var trace: RequestTrace?

    init(
        client: ClientConnection, loop: LoopContext, head: HTTPRequestHead, path: Substring, endpoint: Endpoint?,
        hops: Int, body: ByteBuffer, requestID: String, start: Nanoseconds
    ) {
        self.client = client
        self.loop = loop
        self.head = head
        self.path = path
        self.endpoint = endpoint
        self.hops = hops
        self.body = body
        self.requestID = requestID
        self.start = start
    }

    // MARK: Finding a server

    func begin() {
        dispatcher.counters.handled.add(1, ordering: .relaxed)
        if hops > 0 { dispatcher.counters.fromPeers.add(1, ordering: .relaxed) }
        dispatcher.counters.underWay.add(1, ordering: .relaxed)
        if endpoint != nil {
            let session = dispatcher.traces.running
            if session != 0 {
                trace = RequestTrace(
                    session: session, requestID: requestID, path: path, hops: hops,
                    flow: hops > 0 ? Hop.flow(head) : nil, start: start, received: Clock.now())
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
            connect(server, fresh: false)
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
            connect(server, fresh: false)
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

    // MARK: An attempt

    private func connect(_ server: Server, fresh: Bool) {
        self.server = server
        attempt += 1
        flow = trace?.attempts(server, from: Clock.now())
        let pool = loop.pool(for: server)
        if !fresh, let idle = pool.take() {
            isReused = true
            return send(idle)
        }
        isReused = false
        stage = .connecting
        let mine = attempt
        pool.connect { result in
            switch result {
            case .success(let connection):
                if self.stage == .connecting, self.attempt == mine {
                    self.send(connection)
                } else {
                    connection.release(now: Clock.now())
                }
            case .failure(let error):
                guard self.stage == .connecting, self.attempt == mine else { return }
                self.failed(Failure(connecting: error))
            }
        }
    }

    private func send(_ connection: UpstreamConnection) {
        guard let server else { return }
        upstream = connection
        connection.user = self
        reader = ResponseReader()
        pending = ByteBuffer()
        let hasBody = body.readableBytes > 0 || [.POST, .PUT, .PATCH].contains(head.method)
        sentAt = Clock.now()
        let forward = forward(to: server)
        let bytes = UpstreamRequest.head(
            head, path: path, to: server.url, length: hasBody ? body.readableBytes : nil, requestID: requestID,
            client: client.remoteAddress,
            authorization: forward == nil ? client.settings.authorization : client.settings.authorization.toPeer,
            forward: forward, reserve: body.readableBytes <= 4096 ? body.readableBytes : 0)
        stage = .awaiting
        lastActivity = sentAt
        trace?.sent(at: sentAt)
        connection.write(bytes, body)
        loop.flushSoon(connection)
    }

    /// What goes along to another node; nil: the server is an engine.
    private func forward(to server: Server) -> UpstreamRequest.Forward? {
        guard let mesh = dispatcher.mesh, server.role == .peer else { return nil }
        dispatcher.counters.toPeers.add(1, ordering: .relaxed)
        if queuedAt != nil { dispatcher.counters.queuedToPeers.add(1, ordering: .relaxed) }
        return UpstreamRequest.Forward(
            hops: hops + 1, key: mesh.configuration.key, waited: queuedAt.map { sentAt.since($0) }, flow: flow)
    }

    /// Ends the attempt under way: its connection and its ticket.
    private func leaveServer(_ outcome: Outcome) {
        upstream?.close()
        upstream = nil
        endTicket(outcome, cachedTokens: nil, outputTokens: nil, now: Clock.now())
    }

    private func endTicket(_ outcome: Outcome, cachedTokens: Int?, outputTokens: Int?, now: Nanoseconds) {
        guard let ticket, let server else { return }
        self.ticket = nil
        dispatcher.ended(
            ticket, outcome, on: server, cachedTokens: cachedTokens, outputTokens: outputTokens, now: now)
    }

    // MARK: The answer

    func upstreamRead(_ bytes: ByteBuffer) {
        lastActivity = Clock.now()
        do throws(ResponseError) {
            switch stage {
            case .streaming: try forward(bytes, after: nil)
            case .awaiting:
                if pending.readableBytes == 0 {
                    pending = bytes
                } else {
                    pending.writeImmutableBuffer(bytes)
                }
                guard let answer = try reader.head(from: &pending, toHEAD: head.method == .HEAD) else { return }
                try begin(answer)
            default: return
            }
        } catch {
            upstream?.close()
            upstream = nil
            failed(stage == .streaming ? .cutOff : .closedEarly)
        }
    }

    private func begin(_ answer: ResponseReader.Head) throws(ResponseError) {
        trace?.gotAnswer(answer.status)
        if answer.status >= 400, let server {
            let failure = Failure.status(answer.status)
            let (remedy, blame) = policy.decide(
                failure, .beforeFirstByte, retried: retried, isRepeatable: isRepeatable)
            dispatcher.blame(server, blame, for: failure, now: lastActivity)
            if remedy == .another, tryAnother() { return }
        }
        status = answer.status
        isEventStream = answer.isEventStream
        isChunked = answer.framing == .chunked
        serverKeepsConnection = answer.keepAlive
        stage = .streaming
        if endpoint != nil, usage == nil { usage = loop.takeUsageReader() }
        if !client.isWritable { upstream?.setReading(false) }
        keepsClient = client.keepsAlive && answer.framing != .untilClose && !loop.isDraining
        var out = answer.fields
        if isChunked {
            if client.isHTTP10 { keepsClient = false } else { out.writeStaticString("transfer-encoding: chunked\r\n") }
        }
        out.writeStaticString("x-request-id: ")
        out.writeString(requestID)
        if let queuedAt, record.queue == 0 { record.queue = sentAt.since(queuedAt).milliseconds }
        if queuedAt != nil || answer.queueWait != nil {
            out.writeString("\r\nx-queue-wait-ms: \(Int(record.queue.rounded()) + min(answer.queueWait ?? 0, 1 << 40))")
        }
        out.writeStaticString(keepsClient ? "\r\n\r\n" : "\r\nconnection: close\r\n\r\n")
        let rest = pending
        pending = ByteBuffer()
        try forward(rest, after: out)
    }

    /// Passes on what came, at once. `after`: the head, if that has not been written yet.
    private func forward(_ bytes: ByteBuffer, after answerHead: ByteBuffer?) throws(ResponseError) {
        let dechunks = isChunked && client.isHTTP10
        var content = ByteBuffer()
        var sawContent = false
        let consumed = try bytes.withUnsafeReadableBytes { raw in
            Result { () throws(ResponseError) in
                try reader.body(raw) { payload in
                    sawContent = sawContent || payload.count > 0
                    usage?.feed(payload)
                    if dechunks { content.writeBytes(payload) }
                }
            }
        }.get()
        if sawContent, firstByteAt == nil {
            firstByteAt = lastActivity
            trace?.gotFirstByte(at: lastActivity)
            lastProgress = lastActivity
            // An answer that came whole goes from queued to finished: there is no time in which it runs.
            if !reader.isComplete, let ticket, (200..<300).contains(status) {
                dispatcher.firstToken(ticket, now: lastActivity)
                record.decision.firstToken = lastActivity.since(record.decision.time).milliseconds
            }
        }
        if !dechunks {
            content = bytes
            content.moveWriterIndex(to: bytes.readerIndex + consumed)
        }
        if var answerHead {
            if content.readableBytes <= 4096 || content.readableBytes <= answerHead.writableBytes {
                answerHead.writeImmutableBuffer(content)
                // An answer that came whole is in nobody's hurry; a part of one is passed on at once.
                let isWhole = reader.isComplete && keepsClient
                client.write(answerHead, flush: !isWhole)
                if isWhole { loop.flushSoon(client) }
            } else {
                client.write(answerHead, flush: false)
                client.write(content, flush: true)
            }
        } else if content.readableBytes > 0 {
            client.write(content, flush: true)
        }
        // A write to a client that has gone ends all this before it returns.
        guard stage != .ended else { return }
        dispatcher.counters.bytesOut.add(UInt64(content.readableBytes), ordering: .relaxed)
        if reader.isComplete { complete(leftOver: consumed < bytes.readableBytes) }
    }

    private func complete(leftOver: Bool) {
        let now = Clock.now()
        let succeeded = (200..<400).contains(status)
        // Bytes behind the end belong to nothing we asked for.
        if leftOver || !serverKeepsConnection { upstream?.close() } else { upstream?.release(now: now) }
        upstream = nil
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
        client.exchangeEnded(keepAlive: keepsClient)
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

    private var policy: FailurePolicy { client.settings.failurePolicy }

    /// To be done twice changes nothing but the time it takes: prompts are, and what HTTP calls safe.
    private var isRepeatable: Bool { endpoint != nil || [.GET, .HEAD, .OPTIONS].contains(head.method) }

    func upstreamClosed(isClean: Bool) {
        upstream = nil
        switch stage {
        case .awaiting:
            // A server that had the request for a while has not closed an idle connection.
            let wasIdle = isReused && pending.readableBytes == 0 && Clock.now().since(sentAt).milliseconds < 1_000
            failed(wasIdle ? .stale : .closedEarly)
        case .streaming:
            if reader.endsWithConnection, isClean { complete(leftOver: false) } else { failed(.cutOff) }
        default: return
        }
    }

    private func failed(_ failure: Failure) {
        guard let server else { return }
        trace?.failed("\(failure)")
        let (remedy, blame) = policy.decide(
            failure, stage == .streaming ? .streaming : .beforeFirstByte, retried: retried,
            isRepeatable: isRepeatable)
        dispatcher.blame(server, blame, for: failure, now: Clock.now())
        switch remedy {
        case .fresh where server.state.withLockedValue(\.isRemoved):
            if !tryAnother() { giveUp(.upstreamFailed) }
        case .fresh:
            dispatcher.counters.staleRetries.add(1, ordering: .relaxed)
            upstream?.close()
            upstream = nil
            connect(server, fresh: true)
        case .another where tryAnother(): return
        case .another, .giveUp, .passOn:
            let isTimeout = failure == .connectTimeout || failure == .firstByteTimeout
            giveUp(isTimeout ? .upstreamTimeout : .upstreamFailed)
        case .breakOff: breakOff("\(failure)")
        }
    }

    /// True: the request is on its way to another server, or waits for one. False: there is none, nothing has changed.
    private func tryAnother() -> Bool {
        guard let current = server else { return false }
        let before = tried
        tried.append(current.id)
        guard readAgain() else { return false }
        let releases = dispatcher.releases
        if let error = route() {
            // Wait for one of the others only if this one gave no answer that could be passed on.
            guard error == .saturated, upstream == nil else {
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

    /// No server answered.
    private func giveUp(_ problem: Problem) {
        leaveServer(.failed)
        dispatcher.counters.failed.add(1, ordering: .relaxed)
        answer(problem)
    }

    /// The gateway does not serve it.
    private func refuse(_ problem: Problem) {
        if case .queued(let id) = stage { dispatcher.leaveQueue(id) }
        leaveServer(.notSent)
        dispatcher.counters.rejected.add(1, ordering: .relaxed)
        answer(problem)
    }

    private func answer(_ problem: Problem) {
        status = problem.status
        end(Clock.now(), success: false, error: "\(problem.code)", nil)
        client.answer(LocalAnswer(problem), requestID: requestID)
    }

    /// Part of an answer was passed on and the rest will not come. The client must notice: its connection ends without
    /// the end of the body, and an event stream says so first.
    private func breakOff(_ reason: String) {
        if isEventStream, isChunked, !client.isHTTP10, reader.isBetweenChunks {
            let event = "data: \(Problem.upstreamFailed.json)\n\n"
            client.write(ByteBuffer(string: "\(String(event.utf8.count, radix: 16))\r\n\(event)\r\n"), flush: true)
            guard stage != .ended else { return }
        }
        leaveServer(.failed)
        dispatcher.counters.failed.add(1, ordering: .relaxed)
        end(Clock.now(), success: false, error: reason, nil)
        client.abort()
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
        dispatcher.counters.underWay.subtract(1, ordering: .relaxed)
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

    // MARK: Time and back-pressure

    func tick(now: Nanoseconds) {
        let limits = dispatcher.configuration
        switch stage {
        case .queued:
            if now >= queueDeadline {
                refuse(.queueTimeout)
            } else if hops >= Hop.most, !dispatcher.localIsUp {
                // Nobody else may serve it from here, but where it came from others can be asked.
                refuse(.noServer)
            }
        case .awaiting:
            signOfLife(now)
            if limits.firstByteTimeout.rawValue > 0, now.since(sentAt) > limits.firstByteTimeout {
                upstream?.close()
                upstream = nil
                failed(.firstByteTimeout)
            }
        case .streaming:
            if limits.idleTimeout.rawValue > 0, now.since(lastActivity) > limits.idleTimeout {
                // A client that takes nothing is not the server's failure.
                if client.isWritable { failed(.idleTimeout) } else { client.abort() }
            } else {
                signOfLife(now)
            }
        case .tokenizing:
            // Services have their own, shorter time; this is for very long prompts when the threads have much to do.
            if now.since(start) > Self.longestTokenizing { have(nil, isLater: true) }
        case .connecting, .ended: return
        }
    }

    /// Our own deadlines decide when a request is dead, not the ticket's.
    private func signOfLife(_ now: Nanoseconds) {
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

    func clientWritable(_ isWritable: Bool) {
        if stage == .streaming { upstream?.setReading(isWritable) }
        if isWritable { lastActivity = Clock.now() }
    }
}
