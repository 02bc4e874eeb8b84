import GotoniCore
import GotoniEngines
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1
import Synchronization

/// One request of a client from the moment it has been read until its answer has been passed on: a placement with a
/// connection to its server. Lives on the event loop of its client; exactly one of `complete`, `refuse`, `giveUp`,
/// `breakOff` and `cancel` ends it, and each gives the ticket back.
///
///     start ─▶ tokenizing ─▶ queued ─▶ connecting ─▶ awaiting ─▶ streaming ─▶ ended
///                               ▲           └───────────┴── another server ──┐
///                               └────────────────────────────────────────────┘
final class Exchange: Placement, UpstreamUser {
    unowned let client: ClientConnection
    let head: HTTPRequestHead

    // The attempt under way.
    private var upstream: UpstreamConnection?
    /// Counts attempts, so that a connection that comes too late is recognised.
    private var attempt = 0
    private var isReused = false
    /// Of the trace's arrow.
    private var flow: UInt64?
    private var lastActivity = Nanoseconds(0)

    // The answer.
    private var reader = ResponseReader()
    private var pending = ByteBuffer()
    private var isEventStream = false
    private var isChunked = false
    private var serverKeepsConnection = false
    private var keepsClient = true

    init(
        client: ClientConnection, loop: LoopContext, head: HTTPRequestHead, path: Substring, endpoint: Endpoint?,
        hops: Int, body: ByteBuffer, requestID: String, start: Nanoseconds
    ) {
        self.client = client
        self.head = head
        super.init(
            loop: loop, path: path, endpoint: endpoint, hops: hops, body: body, requestID: requestID, start: start)
    }

    func begin() { begin(flow: hops > 0 ? Hop.flow(head) : nil) }

    // MARK: An attempt

    override func begin(at server: Server) { connect(server, fresh: false) }

    private func connect(_ server: Server, fresh: Bool) {
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

    override func disconnect() {
        upstream?.close()
        upstream = nil
    }

    override var hasAnswer: Bool { upstream != nil }

    /// What goes along to another node; nil: the server is an engine.
    private func forward(to server: Server) -> UpstreamRequest.Forward? {
        guard let mesh = dispatcher.mesh, server.role == .peer else { return nil }
        dispatcher.counters.toPeers.add(1, ordering: .relaxed)
        if queuedAt != nil { dispatcher.counters.queuedToPeers.add(1, ordering: .relaxed) }
        return UpstreamRequest.Forward(
            hops: hops + 1, key: mesh.configuration.key, waited: queuedAt.map { sentAt.since($0) }, flow: flow)
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
            disconnect()
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
        // An answer that came whole goes from queued to finished: there is no time in which it runs.
        if sawContent { sawFirstByte(isWhole: reader.isComplete, now: lastActivity) }
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
        // Bytes behind the end belong to nothing we asked for.
        if leftOver || !serverKeepsConnection { upstream?.close() } else { upstream?.release(now: now) }
        upstream = nil
        served(now: now)
        client.exchangeEnded(keepAlive: keepsClient)
    }

    override func answer(_ problem: Problem) {
        client.answer(LocalAnswer(problem), requestID: requestID)
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
            disconnect()
            connect(server, fresh: true)
        case .another where tryAnother(): return
        case .another, .giveUp, .passOn:
            let isTimeout = failure == .connectTimeout || failure == .firstByteTimeout
            giveUp(isTimeout ? .upstreamTimeout : .upstreamFailed)
        case .breakOff: breakOff("\(failure)")
        }
    }

    /// Part of an answer was passed on and the rest will not come. The client must notice: its connection ends without
    /// the end of the body, and an event stream says so first.
    private func breakOff(_ reason: String) {
        if isEventStream, isChunked, !client.isHTTP10, reader.isBetweenChunks {
            let event = "data: \(Problem.upstreamFailed.json)\n\n"
            client.write(ByteBuffer(string: "\(String(event.utf8.count, radix: 16))\r\n\(event)\r\n"), flush: true)
            guard stage != .ended else { return }
        }
        brokeOff(reason)
        client.abort()
    }

    // MARK: Time and back-pressure

    override func tick(now: Nanoseconds) {
        let limits = dispatcher.configuration
        switch stage {
        case .awaiting:
            signOfLife(now)
            if limits.firstByteTimeout.rawValue > 0, now.since(sentAt) > limits.firstByteTimeout {
                disconnect()
                failed(.firstByteTimeout)
            }
        case .streaming:
            if limits.idleTimeout.rawValue > 0, now.since(lastActivity) > limits.idleTimeout {
                // A client that takes nothing is not the server's failure.
                if client.isWritable { failed(.idleTimeout) } else { client.abort() }
            } else {
                signOfLife(now)
            }
        default: super.tick(now: now)
        }
    }

    func clientWritable(_ isWritable: Bool) {
        if stage == .streaming { upstream?.setReading(isWritable) }
        if isWritable { lastActivity = Clock.now() }
    }
}
