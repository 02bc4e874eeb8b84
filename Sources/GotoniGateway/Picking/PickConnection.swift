import GotoniCore
import GotoniEngines
public import NIOCore
import NIOHTTP1
import Synchronization

/// A connection at `--listen` that asks where requests are to go, in a protocol that the gateway does not know. Whoever
/// speaks it is given one of these with every connection, and makes picks of it. On the connection's event loop only.
public final class PickConnection: LoopGuest {
    private let settings: ConnectionSettings
    private let loop: LoopContext
    private let channel: any Channel
    private var picks: [ObjectIdentifier: Pick] = [:]
    private var idleSince: Nanoseconds
    private var isDrained = false

    /// Called once when no further request should come this way: the gateway is about to stop. Those under way go on.
    public var onDrain: (() -> Void)?

    init(_ channel: any Channel, settings: ConnectionSettings, loop: LoopContext, now: Nanoseconds) {
        (self.settings, self.loop, self.channel, idleSince) = (settings, loop, channel, now)
        loop.add(self)
        settings.dispatcher.counters.connections.add(1, ordering: .relaxed)
        channel.closeFuture.assumeIsolated().whenComplete { _ in self.gone() }
    }

    /// Of a request, in bytes.
    public var maxBodyBytes: Int { settings.dispatcher.configuration.maxBodyBytes }
    /// Of one connection.
    public var maxRequests: Int { settings.dispatcher.configuration.maxConnections }

    public struct Request {
        public var method: String
        /// Path and query.
        public var target: String
        public var requestID: String?
        public var authorization: String?
        public var body: ByteBuffer

        public init(method: String, target: String, requestID: String?, authorization: String?, body: ByteBuffer) {
            (self.method, self.target, self.requestID) = (method, target, requestID)
            (self.authorization, self.body) = (authorization, body)
        }
    }

    /// Finds a place for a request as the proxy does. `decided` is called once, before this returns or later, unless
    /// the pick is cancelled first.
    public func pick(_ request: Request, decided: @escaping (PickVerdict) -> Void) -> Pick {
        let now = Clock.now()
        let method = HTTPMethod(rawValue: request.method)
        let path = RequestRules.path(request.target)
        let pick = Pick(
            loop: loop, path: path ?? "/", endpoint: method == .POST ? path.flatMap { Endpoint(path: $0) } : nil,
            body: request.body, requestID: RequestRules.usableID(request.requestID) ?? loop.nextRequestID(),
            authorization: settings.authorization, start: now, decided: decided
        ) { [weak self] in self?.ended($0) }
        picks[ObjectIdentifier(pick)] = pick
        settings.dispatcher.counters.bytesIn.add(UInt64(request.body.readableBytes), ordering: .relaxed)
        var head = HTTPRequestHead(version: .http1_1, method: method, uri: request.target)
        if let authorization = request.authorization { head.headers.add(name: "authorization", value: authorization) }
        if path == nil {
            pick.begin(refusing: .badRequest("invalid_target", "the request target is not a path"))
        } else if request.body.readableBytes > maxBodyBytes {
            pick.begin(refusing: RequestRules.tooLarge(maxBodyBytes))
        } else if let problem = settings.access.refusesData(head) {
            pick.begin(refusing: problem)
        } else {
            pick.begin()
        }
        return pick
    }

    private func ended(_ pick: Pick) {
        picks[ObjectIdentifier(pick)] = nil
        if picks.isEmpty { idleSince = Clock.now() }
    }

    private func gone() {
        onDrain = nil
        loop.remove(self)
        settings.dispatcher.counters.connections.subtract(1, ordering: .relaxed)
        for pick in Array(picks.values) { pick.cancel() }
    }

    // MARK: A guest of its loop

    func tick(now: Nanoseconds) {
        for pick in Array(picks.values) { pick.tick(now: now) }
    }

    func closeIfIdle(for time: Nanoseconds, now: Nanoseconds) {
        if !isDrained {
            isDrained = true
            onDrain?()
        }
        if picks.isEmpty, now.since(idleSince) >= time { abort() }
    }

    func shutDown() {
        for pick in Array(picks.values) { pick.shutDown() }
    }

    func abort() { channel.close(promise: nil) }
}
