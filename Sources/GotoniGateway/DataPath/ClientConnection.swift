import GotoniCore
import GotoniEngines
import NIOCore
import NIOHTTP1
import Synchronization

/// What every connection of a listener shares.
struct ConnectionSettings: Sendable {
    var dispatcher: Dispatcher
    var control: ControlRoutes
    var access: AccessRules
    var failurePolicy: FailurePolicy
    var authorization: UpstreamRequest.Authorization
    /// Only the control endpoints are served here.
    var isAdminOnly: Bool
}

/// A connection of a client: reads requests one after the other, hands each to an `Exchange` or to the control
/// endpoints, writes what they say. One thread, its event loop's.
final class ClientConnection: ChannelInboundHandler, Flushable, LoopGuest {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = ByteBuffer

    private enum Stage {
        case idle
        case body(
            HTTPRequestHead, path: Substring, endpoint: Endpoint?, hops: Int, length: Int?, id: String,
            start: Nanoseconds)
        case exchange(Exchange)
        case control
        /// What still comes is not wanted; the last answer is being written.
        case closing
    }

    let settings: ConnectionSettings
    private let loop: LoopContext
    private var context: ChannelHandlerContext?
    private var stage = Stage.idle
    private var body = ByteBuffer()
    /// Parts of further requests that came before this one was done.
    private var ahead = CircularBuffer<HTTPServerRequestPart>()
    private var aheadBytes = 0
    /// What comes now is dropped; what was read before is still answered, then the connection ends. It is read all the
    /// same, for that is how one sees that a client has left.
    private var isDeaf = false
    /// When an unfinished request, or the next one, must have come.
    private var deadline: Nanoseconds
    private var idleSince: Nanoseconds
    private var lastUnsent = 0
    private var giveUpAt = Nanoseconds(0)
    private(set) var remoteAddress = "unknown"
    private(set) var keepsAlive = true
    private(set) var isHTTP10 = false
    private var isHEAD = false

    static let mostAhead = 1024
    static let mostAheadBytes = 1 << 20

    init(settings: ConnectionSettings, loop: LoopContext, now: Nanoseconds) {
        self.settings = settings
        self.loop = loop
        deadline = now.plus(settings.dispatcher.configuration.requestTimeout)
        idleSince = now
    }

    var isWritable: Bool { context?.channel.isWritable ?? false }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        remoteAddress = context.remoteAddress?.ipAddress ?? "unknown"
        loop.add(self)
        settings.dispatcher.counters.connections.add(1, ordering: .relaxed)
    }

    func handlerRemoved(context: ChannelHandlerContext) { gone() }

    func channelInactive(context: ChannelHandlerContext) {
        gone()
        context.fireChannelInactive()
    }

    private func gone() {
        guard context != nil else { return }
        context = nil
        loop.remove(self)
        settings.dispatcher.counters.connections.subtract(1, ordering: .relaxed)
        if case .exchange(let exchange) = stage { exchange.cancel() }
        stage = .closing
        ahead.removeAll()
    }

    // MARK: Reading

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = unwrapInboundIn(data)
        switch stage {
        // Who does not take its answers gets no more of them.
        case .idle where !context.channel.isWritable, .exchange, .control:
            aheadBytes += part.bodyBytes
            isDeaf = isDeaf || ahead.count >= Self.mostAhead || aheadBytes > Self.mostAheadBytes
            if !isDeaf { ahead.append(part) }
        case .closing: return
        case .idle, .body: read(part)
        }
    }

    private func read(_ part: HTTPServerRequestPart) {
        switch part {
        case .head(let head): begin(head)
        case .body(let bytes): add(bytes)
        case .end: dispatch()
        }
    }

    private func begin(_ head: HTTPRequestHead) {
        let now = Clock.now()
        deadline = now.plus(settings.dispatcher.configuration.requestTimeout)
        isHTTP10 = head.version == .http1_0
        isHEAD = head.method == .HEAD
        keepsAlive = head.isKeepAlive && !loop.isDraining
        let fields: RequestFields
        do throws(Problem) {
            fields = try RequestRules.read(head, maxBodyBytes: settings.dispatcher.configuration.maxBodyBytes)
        } catch {
            return answer(LocalAnswer(error), requestID: nil)
        }
        if fields.offersUpgrade { keepsAlive = false }
        let id = RequestRules.usableID(fields.requestID) ?? loop.nextRequestID()
        guard let path = RequestRules.path(head.uri) else {
            return answer(
                LocalAnswer(.badRequest("invalid_target", "the request target is not a path", closes: true)),
                requestID: id)
        }
        // Before its body: who may not ask need not send it.
        let isForward = settings.dispatcher.mesh.map { Hop.isFromMesh(head, key: $0.configuration.key) } ?? false
        var problem: Problem?
        var hops = 0
        if isForward {
            if let count = Hop.count(head) { hops = count } else { problem = Hop.tooFar }
        } else if !isControl(path) {
            problem = settings.access.refusesData(head)
        }
        if var problem {
            problem.closes = fields.length ?? 0 > 0 || head.headers.contains(name: "transfer-encoding")
            return answer(LocalAnswer(problem), requestID: id)
        }
        let endpoint = head.method == .POST ? Endpoint(path: path) : nil
        stage = .body(head, path: path, endpoint: endpoint, hops: hops, length: fields.length, id: id, start: now)
        body = ByteBuffer()
        if let expect = fields.expect, !isHTTP10 {
            if expect.lowercased() == "100-continue" {
                write(ByteBuffer(string: "HTTP/1.1 100 Continue\r\n\r\n"), flush: true)
            } else {
                answer(
                    LocalAnswer(
                        .badRequest(
                            "unknown_expectation", "Expect: 100-continue is all we know", status: 417, closes: true)),
                    requestID: id)
            }
        }
    }

    private func add(_ bytes: ByteBuffer) {
        guard case .body(_, _, _, _, let length, let id, _) = stage else { return }
        let most = settings.dispatcher.configuration.maxBodyBytes
        guard body.readableBytes + bytes.readableBytes <= most else {
            return answer(LocalAnswer(RequestRules.tooLarge(most)), requestID: id)
        }
        if body.readableBytes == 0, bytes.readableBytes >= length ?? 0 {
            // All of it, most often: the bytes stay where they were read to.
            body = bytes
        } else {
            if let length, body.readableBytes == 0 { body.reserveCapacity(min(length, 1 << 20)) }
            body.writeImmutableBuffer(bytes)
        }
        // Ten kilobytes a second is the slowest body we wait for.
        deadline = deadline.plus(Nanoseconds(UInt64(bytes.readableBytes) * 100_000))
    }

    private func dispatch() {
        guard case .body(let head, let path, let endpoint, let hops, _, let id, let start) = stage, let context
        else { return }
        settings.dispatcher.counters.bytesIn.add(UInt64(body.readableBytes), ordering: .relaxed)
        let taken = body
        body = ByteBuffer()
        if isControl(path) { return control(head, path, taken, id, context) }
        let exchange = Exchange(
            client: self, loop: loop, head: head, path: path, endpoint: endpoint, hops: hops, body: taken,
            requestID: id, start: start)
        stage = .exchange(exchange)
        exchange.begin()
    }

    private func isControl(_ path: Substring) -> Bool { ControlRoutes.owns(path) || settings.isAdminOnly }

    private func control(
        _ head: HTTPRequestHead, _ path: Substring, _ body: ByteBuffer, _ id: String, _ context: ChannelHandlerContext
    ) {
        stage = .control
        if let problem = settings.access.refusesControl(head, path: path, isAdminListener: settings.isAdminOnly) {
            return answer(LocalAnswer(problem), requestID: id)
        }
        let request = ControlRequest(method: head.method.rawValue, target: String(path), body: body)
        let control = settings.control
        let promise = context.eventLoop.makePromise(of: LocalAnswer.self)
        promise.completeWithTask { await control.answer(request) }
        promise.futureResult.assumeIsolated().whenSuccess { answer in self.answer(answer, requestID: id) }
    }

    // MARK: Writing

    func flush() { context?.flush() }

    func write(_ bytes: ByteBuffer, flush: Bool) {
        guard let context else { return }
        if flush {
            context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
        } else {
            context.write(wrapOutboundOut(bytes), promise: nil)
        }
    }

    /// Writes an answer of our own and goes on, or closes.
    func answer(_ answer: LocalAnswer, requestID: String?) {
        guard context != nil else { return }
        let keeps = keepsAlive && !answer.closes && !loop.isDraining
        write(answer.bytes(requestID: requestID, keepAlive: keeps, toHEAD: isHEAD), flush: true)
        exchangeEnded(keepAlive: keeps)
    }

    /// The answer is written: the next request, if there will be one.
    func exchangeEnded(keepAlive: Bool) {
        guard let context else { return }
        guard keepAlive else {
            stage = .closing
            return close(context)
        }
        let wasIdle: Bool
        if case .body = stage { wasIdle = true } else { wasIdle = false }
        stage = .idle
        idleSince = Clock.now()
        deadline = idleSince.plus(settings.dispatcher.configuration.keepAliveTimeout)
        if wasIdle, !ahead.isEmpty { return }
        readAhead(context)
    }

    /// What came while something else was under way.
    private func readAhead(_ context: ChannelHandlerContext) {
        while true {
            if case .idle = stage, !context.channel.isWritable { return }
            guard let part = ahead.popFirst() else { break }
            aheadBytes -= part.bodyBytes
            read(part)
            switch stage {
            case .exchange, .control, .closing: return
            case .idle, .body: continue
            }
        }
        if isDeaf {
            stage = .closing
            close(context)
        }
    }

    /// Closes in a way that lets the client read the last answer even while it is still sending: no more output, then
    /// what comes is read and dropped for a moment. (A close with unread input resets the connection.)
    private func close(_ context: ChannelHandlerContext) {
        deadline = Clock.now().plus(Nanoseconds(milliseconds: 1_000))
        context.close(mode: .output, promise: nil)
    }

    /// Breaks the connection off.
    func abort() {
        context?.close(promise: nil)
    }

    func closeIfIdle(for time: Nanoseconds, now: Nanoseconds) {
        if case .idle = stage, now.since(idleSince) >= time, !isStillTaking(now) { abort() }
    }

    func shutDown() {
        if case .exchange(let exchange) = stage { exchange.shutDown() }
    }

    /// The client has not yet got all of its last answer, and is getting it: slowness is no reason to cut it off.
    private func isStillTaking(_ now: Nanoseconds) -> Bool {
        let unsent = (try? context?.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
        if unsent != lastUnsent {
            lastUnsent = unsent
            giveUpAt = now.plus(Nanoseconds(milliseconds: 30_000))
        }
        return unsent > 0 && now < giveUpAt
    }

    // MARK: Time, back-pressure, errors

    func tick(now: Nanoseconds) {
        switch stage {
        case .exchange(let exchange): exchange.tick(now: now)
        case .control: return
        case .closing, .idle: if now >= deadline, !isStillTaking(now) { abort() }
        case .body(_, _, _, _, _, let id, _):
            guard now >= deadline else { return }
            keepsAlive = false
            answer(
                LocalAnswer(.badRequest("request_timeout", "the request did not arrive in time", status: 408)),
                requestID: id)
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        switch stage {
        case .exchange(let exchange): exchange.clientWritable(context.channel.isWritable)
        case .idle: if context.channel.isWritable { readAhead(context) }
        case .body, .control, .closing: break
        }
        context.fireChannelWritabilityChanged()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let problem = RequestRules.problem(for: error) else { return context.close(promise: nil) }
        switch stage {
        case .idle, .body:
            isHEAD = false
            answer(LocalAnswer(problem), requestID: nil)
        // What could not be read came behind a request that is being served: its answer is the last.
        case .exchange, .control: isDeaf = true
        case .closing: return
        }
    }
}

extension HTTPServerRequestPart {
    fileprivate var bodyBytes: Int {
        if case .body(let bytes) = self { bytes.readableBytes } else { 0 }
    }
}
