import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Testing

/// Plays a server: real sockets, and each request does what the test says. Probes are answered by themselves and are not
/// among the requests.
final class EngineDouble: Sendable {
    struct State {
        var all: [Arrival] = []
        var taken = 0
        var probes = 0
        var connections = 0
        var accepted = 0
        var open: [Connection] = []
        /// What is accepted or arrives from now on knows this and must not be known by it: nobody would part them.
        var stopped = false
    }
    let state = Watched(State())
    let name: String
    private let listener: NIOLockedValueBox<(any Channel)?>
    let port: Int
    private let reaction: NIOLockedValueBox<@Sendable (Arrival) -> Void>
    private let probeReaction: NIOLockedValueBox<@Sendable (Arrival) -> Void>

    /// What happens with requests: by default they are answered with an echo of their body.
    func react(_ reaction: @escaping @Sendable (Arrival) -> Void) { self.reaction.withLockedValue { $0 = reaction } }
    /// They wait for the test, which takes them from `next`.
    func hold() { react { _ in } }
    func reactToProbes(_ reaction: @escaping @Sendable (Arrival) -> Void) {
        probeReaction.withLockedValue { $0 = reaction }
    }

    init(_ name: String, port: Int = 0, reactsAtHead: Bool = false) async throws {
        self.name = name
        reaction = NIOLockedValueBox({ $0.answer(body: $0.body) })
        probeReaction = NIOLockedValueBox({ $0.answer(body: Array("{\"data\":[]}".utf8)) })
        let box = NIOLockedValueBox<EngineDouble?>(nil)
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                guard let engine = box.withLockedValue({ $0 }) else { return channel.close() }
                let connection = Connection(engine, channel, reactsAtHead: reactsAtHead)
                let isWelcome = engine.state.update { state in
                    guard !state.stopped else { return false }
                    state.connections += 1
                    state.accepted += 1
                    state.open.append(connection)
                    return true
                }
                guard isWelcome else { return channel.close() }
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Reader(connection))
                }
            }
            .bind(host: "127.0.0.1", port: port).get()
        listener = NIOLockedValueBox(channel)
        self.port = channel.localAddress?.port ?? 0
        box.withLockedValue { $0 = self }
    }

    /// Connections are refused from now on; those that are open stay.
    func refuse() async throws {
        let listener = listener.withLockedValue { listener in
            defer { listener = nil }
            return listener
        }
        try await listener?.close().get()
    }

    func closeConnections() {
        for connection in state.read(\.open) { connection.close() }
    }

    func stop() async throws {
        try await refuse()
        let open = state.update { state in
            defer { (state.all, state.open, state.stopped) = ([], [], true) }
            return state.open
        }
        for connection in open { connection.close() }
        hold()
        reactToProbes { _ in }
    }

    /// How many requests have arrived, whoever took them.
    var count: Int { state.read { $0.all.count } }

    /// The next request nobody has taken.
    func next(within seconds: Int64 = 10) async throws -> Arrival {
        try await state.wait("a request at \(name)", within: seconds) { state in
            guard state.taken < state.all.count else { return nil }
            state.taken += 1
            return state.all[state.taken - 1]
        }
    }

    fileprivate func arrived(_ arrival: Arrival) {
        if arrival.isProbe {
            state.update { $0.probes += 1 }
            probeReaction.withLockedValue { $0 }(arrival)
        } else {
            state.update { if !$0.stopped { $0.all.append(arrival) } }
            reaction.withLockedValue { $0 }(arrival)
        }
    }

    /// A connection of the gateway's.
    final class Connection: Sendable {
        fileprivate let engine: EngineDouble
        private let channel: any Channel
        let reactsAtHead: Bool
        /// When the gateway ended it.
        let ended = Watched<NIODeadline?>(nil)

        fileprivate init(_ engine: EngineDouble, _ channel: any Channel, reactsAtHead: Bool) {
            self.engine = engine
            self.channel = channel
            self.reactsAtHead = reactsAtHead
        }

        func write(_ bytes: [UInt8]) { channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }
        func write(_ text: String) { channel.writeAndFlush(ByteBuffer(string: text), promise: nil) }
        func close() { channel.close(promise: nil) }
        func writeAndClose(_ text: String) {
            channel.writeAndFlush(ByteBuffer(string: text)).whenComplete { _ in self.channel.close(promise: nil) }
        }
        var eventLoop: any EventLoop { channel.eventLoop }
        func stopReading() { _ = channel.setOption(.autoRead, value: false) }

        @discardableResult func end() async throws -> NIODeadline {
            try await ended.wait("the end of a connection") { $0 }
        }

        fileprivate func gone() {
            ended.update { $0 = .now() }
            engine.state.update {
                $0.connections -= 1
                $0.open.removeAll { $0 === self }
            }
        }
    }

    /// Takes requests apart. Strict: a request of the gateway's that is not plain is a failure of the gateway.
    private final class Reader: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        let connection: Connection
        var bytes: [UInt8] = []
        var served = 0

        init(_ connection: Connection) { self.connection = connection }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            bytes += unwrapInboundIn(data).readableBytesView
            while let end = bytes.firstRange(of: Array("\r\n\r\n".utf8)) {
                var lines = String(decoding: bytes[..<end.lowerBound], as: UTF8.self).split(
                    separator: "\r\n", omittingEmptySubsequences: false)
                let request = lines.removeFirst().split(separator: " ", omittingEmptySubsequences: false)
                let fields = lines.map { line -> (String, String) in
                    let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
                    return (String(parts[0]).lowercased(), parts.count > 1 ? trimmed(parts[1]) : "")
                }
                guard request.count == 3, request[2] == "HTTP/1.1" else {
                    Issue.record("the gateway sent \(request)")
                    return context.close(promise: nil)
                }
                let length = fields.first { $0.0 == "content-length" }.flatMap { Int($0.1) } ?? 0
                if !connection.reactsAtHead, bytes.count < end.upperBound + length { return }
                served += 1
                let available = min(bytes.count, end.upperBound + length)
                let arrival = Arrival(
                    method: String(request[0]), target: String(request[1]), fields: fields,
                    body: Array(bytes[end.upperBound..<available]), number: served, connection: connection)
                bytes.removeFirst(available)
                if connection.reactsAtHead, !arrival.isProbe {
                    bytes = []
                    connection.stopReading()
                }
                connection.engine.arrived(arrival)
            }
        }

        func channelInactive(context: ChannelHandlerContext) { connection.gone() }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}

/// Without the white space around a field's value.
private func trimmed(_ text: Substring) -> String {
    var text = text
    while text.first == " " || text.first == "\t" { text.removeFirst() }
    while text.last == " " || text.last == "\t" { text.removeLast() }
    return String(text)
}

/// A request that has arrived at a double.
struct Arrival: Sendable {
    var method: String
    var target: String
    var fields: [(name: String, value: String)]
    var body: [UInt8]
    /// Which one on its connection, from 1.
    var number: Int
    var connection: EngineDouble.Connection

    var isProbe: Bool {
        method == "GET" && ["/v1/models", "/metrics", "/get_load"].contains(target) || target.hasPrefix("/v1/loads")
    }
    func all(_ name: String) -> [String] { fields.filter { $0.name == name }.map(\.value) }
    subscript(name: String) -> String? { all(name).first }
    var text: String { String(decoding: body, as: UTF8.self) }

    func answer(_ status: Int = 200, body: [UInt8] = Array("{}".utf8), fields: String = "") {
        connection.write(
            Array(
                "HTTP/1.1 \(status) S\r\ncontent-type: application/json\r\n\(fields)content-length: \(body.count)\r\n\r\n"
                    .utf8)
                + body)
    }

    func beginStream() {
        connection.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    }
    func chunk(_ text: String) { connection.write("\(String(text.utf8.count, radix: 16))\r\n\(text)\r\n") }
    func endStream() { connection.write("0\r\n\r\n") }
}
