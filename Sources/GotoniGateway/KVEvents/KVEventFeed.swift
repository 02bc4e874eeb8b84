import GotoniCore
import GotoniEngines
import Logging
import NIOConcurrencyHelpers
import ZeroMQ

/// The connections to one server that publishes KV events: the subscription, whether it stands, and a replay while one is
/// wanted. On the subscriber's thread. All errors are of libzmq.
final class KVEventFeed {
    let server: Server
    let model: String
    let adapterIsModel: Bool
    private let context: ZMQContext
    private let logger: Logger
    private var intake: KVEventIntake
    private let address: String
    private let replayAddress: String?
    private let subscription: ZMQSocket
    private let monitor: ZMQSocket
    private let monitored = ZMQMessage()
    private var isConnected = false
    private var replay: (socket: ZMQSocket, deadline: Nanoseconds)?
    private let born = Clock.now()
    private var logged: (condition: String, time: Nanoseconds)?

    private static let mostWaiting: Int32 = 100_000
    /// Of one turn, so that a busy server does not keep the others waiting.
    private static let mostPerTurn = 1_000
    /// For the next message of a replay.
    private static let replayTimeout = Nanoseconds(milliseconds: 2_000)
    private static let quietBetweenLogs = Nanoseconds(milliseconds: 10_000)
    private static let timeToConnect = Nanoseconds(milliseconds: 1_000)

    init(
        _ server: Server, _ router: SharedRouter, _ ports: KVEventPorts, model: String, adapterIsModel: Bool,
        in context: ZMQContext, number: UInt64, logger: Logger
    ) throws(ZMQError) {
        self.server = server
        self.model = model
        self.adapterIsModel = adapterIsModel
        self.context = context
        self.logger = logger
        intake = KVEventIntake(
            server.id, router, model: model, adapterIsModel: adapterIsModel, hasReplay: ports.replay != nil)
        let host = server.url.host.contains(":") ? "[\(server.url.host)]" : server.url.host
        address = "tcp://\(host):\(ports.events)"
        replayAddress = ports.replay.map { "tcp://\(host):\($0)" }
        subscription = try ZMQSocket(.subscriber, in: context)
        try subscription.set(.receiveLimit, Self.mostWaiting)
        try subscription.limit(frameBytes: Int64(KVEventReader.mostBytes))
        // An engine that is back is noticed within a second, and one that is dead as well.
        try subscription.set(.reconnectInterval, 100)
        try subscription.set(.longestReconnectInterval, 500)
        try subscription.set(.connectTimeout, 1_000)
        try subscription.set(.heartbeatInterval, 500)
        try subscription.set(.heartbeatTimeout, 1_500)
        monitor = try subscription.monitor("kv-events-\(number)")
        try subscription.subscribe()
        try subscription.connect(address)
    }

    func add(to poll: inout ZMQPoll) {
        poll.add(monitor)
        poll.add(subscription)
        if let replay { poll.add(replay.socket) }
    }

    /// Takes what has come. `message`: memory to use.
    func turn(_ message: ZMQMessage, now: Nanoseconds) throws(ZMQError) {
        try watchConnection(now: now)
        // Without a connection it is kept: another engine may answer next.
        if isConnected, server.state.withLockedValue({ $0.takeForgotten() }) { intake.forgotten() }
        try takeReplay(message, now: now)
        for _ in 0..<Self.mostPerTurn {
            guard try subscription.receive(message) else { break }
            // It may be the first of a new connection: that comes first.
            try watchConnection(now: now)
            guard let number = number(message) else { continue }
            intake.live(number, message.last, now: now)
        }
        try askForReplay(now: now)
        report(now: now)
    }

    private func watchConnection(now: Nanoseconds) throws(ZMQError) {
        while try monitor.receive(monitored) {
            guard let isConnected = monitored.connection else { continue }
            self.isConnected = isConnected
            replay = nil
            if isConnected { intake.connected(now: now) }
        }
    }

    /// Numbers are eight bytes, big-endian, before the last frame. Nil: it has none, which is counted.
    private func number(_ message: ZMQMessage) -> UInt64? {
        let bytes = message.beforeLast
        guard bytes.count == MemoryLayout<UInt64>.size else {
            intake.note(unreadable: "the message has no number of eight bytes before its last frame")
            return nil
        }
        return UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
    }

    // MARK: Replays

    /// The number that ends a replay.
    private static let end = UInt64.max

    private func takeReplay(_ message: ZMQMessage, now: Nanoseconds) throws(ZMQError) {
        while let socket = replay?.socket, intake.stream.wantsReplayFrom == nil {
            guard try socket.receive(message) else {
                if let deadline = replay?.deadline, now >= deadline {
                    replay = nil
                    intake.replayFailed(now: now)
                }
                return
            }
            guard let number = number(message) else { continue }
            if number == Self.end {
                replay = nil
                intake.replayEnded(now: now)
            } else {
                replay?.deadline = now.plus(Self.replayTimeout)
                intake.replayed(number, message.last, now: now)
            }
        }
    }

    private func askForReplay(now: Nanoseconds) throws(ZMQError) {
        guard isConnected, let first = intake.stream.wantsReplayFrom, let replayAddress else { return }
        let socket = try ZMQSocket(.dealer, in: context)
        try socket.set(.receiveLimit, Self.mostWaiting)
        try socket.limit(frameBytes: Int64(KVEventReader.mostBytes))
        try socket.set(.reconnectInterval, 100)
        try socket.connect(replayAddress)
        // As a REQ socket would ask.
        _ = try socket.send([[], withUnsafeBytes(of: first.bigEndian) { Array($0) }])
        intake.askedForReplay()
        replay = (socket, now.plus(Self.replayTimeout))
    }

    // MARK: Figures

    private func report(now: Nanoseconds) {
        let figures = KVEventFigures(
            address: address, isConnected: isConnected, isLive: intake.stream.isLive,
            isComplete: intake.stream.isComplete, counts: intake.stream.counts, account: intake.account)
        let warning = server.state.withLockedValue { state in
            state.kvEvents = figures
            return state.kvEventWarning(now: now)
        }
        if !figures.isInForce, warning == nil || now.since(born) < Self.timeToConnect { return }
        let condition = warning ?? ""
        guard logged?.condition != condition else { return }
        if let logged, now.since(logged.time) < Self.quietBetweenLogs, warning != nil { return }
        logged = (condition, now)
        if let warning {
            logger.warning("KV events", metadata: ["server": "\(server.name)", "why": "\(warning)"])
        } else {
            logger.notice("KV events are in force", metadata: ["server": "\(server.name)", "from": "\(address)"])
        }
    }
}
