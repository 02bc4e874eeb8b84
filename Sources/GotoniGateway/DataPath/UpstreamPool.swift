import Glibc
import GotoniCore
import NIOCore
import NIOPosix
import NIOSSL

/// When a peer that vanished without a word is given up: probes begin after a quiet time, and what was sent must be
/// acknowledged in another.
enum DeadPeer {
    static let idleSeconds: Int = 30
    static let unansweredMs: Int = 60_000
}

/// The connections of one event loop to one server. The one used last is used next, so the rest may age and go.
final class UpstreamPool {
    let server: Server
    private let loop: any EventLoop
    private let connectTimeout: Nanoseconds
    private let keepAlive: Nanoseconds
    private var idle: [UpstreamConnection] = []
    /// Open or being opened, with the idle ones.
    private(set) var connections = 0
    private var isClosed = false
    /// A server that could not be reached is not dialled again at once just to keep a connection warm.
    private var warmNext = Nanoseconds(0)
    static let mostIdle = 256

    init(server: Server, loop: any EventLoop, connectTimeout: Nanoseconds, keepAlive: Nanoseconds) {
        self.server = server
        self.loop = loop
        self.connectTimeout = connectTimeout
        self.keepAlive = keepAlive
    }

    /// An idle connection, now the caller's.
    func take() -> UpstreamConnection? {
        while let connection = idle.popLast() {
            if connection.isOpen { return connection }
        }
        return nil
    }

    /// Opens a connection; `done` is called on the loop.
    func connect(_ done: @escaping (Result<UpstreamConnection, any Error>) -> Void) {
        connections += 1
        if let path = server.url.socketPath { return connect(socket: path, done) }
        var bootstrap = ClientBootstrap(group: loop)
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelOption(.socketOption(.so_keepalive), value: 1)
            .channelOption(.tcpOption(.init(rawValue: TCP_KEEPIDLE)), value: DeadPeer.idleSeconds)
            .channelOption(.tcpOption(.init(rawValue: TCP_USER_TIMEOUT)), value: DeadPeer.unansweredMs)
            .channelOption(
                .recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 1024, initial: 4096, maximum: 65536))
        if connectTimeout.rawValue > 0 { bootstrap = bootstrap.connectTimeout(connectTimeout.timeAmount) }
        let (tls, host) = (server.tls, server.url.host)
        let address = try? SocketAddress(ipAddress: host, port: server.url.port)
        let isAddress = address != nil
        let made = NIOLoopBound(UpstreamConnection(pool: self), eventLoop: loop)
        bootstrap = bootstrap.channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                let pipeline = channel.pipeline.syncOperations
                if let tls {
                    try pipeline.addHandler(
                        try NIOSSLClientHandler(context: tls, serverHostname: isAddress ? nil : host))
                }
                try pipeline.addHandler(made.value)
            }
        }
        // Names are looked up one after the other on a thread of the loop's: addresses need not wait there.
        let opened = address.map(bootstrap.connect(to:)) ?? bootstrap.connect(host: host, port: server.url.port)
        finish(opened, made.value, done)
    }

    private func connect(socket path: String, _ done: @escaping (Result<UpstreamConnection, any Error>) -> Void) {
        let made = NIOLoopBound(UpstreamConnection(pool: self), eventLoop: loop)
        let bootstrap = ClientBootstrap(group: loop).connectTimeout(connectTimeout.timeAmount).channelInitializer {
            channel in
            channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(made.value) }
        }
        finish(bootstrap.connect(unixDomainSocketPath: path), made.value, done)
    }

    private func finish(
        _ opened: EventLoopFuture<any Channel>, _ made: UpstreamConnection,
        _ done: @escaping (Result<UpstreamConnection, any Error>) -> Void
    ) {
        opened.assumeIsolated().whenComplete { result in
            switch result {
            case .success:
                if self.isClosed {
                    made.close()
                    done(.failure(ChannelError.alreadyClosed))
                } else {
                    done(.success(made))
                }
            case .failure(let error):
                self.connections -= 1
                done(.failure(error))
            }
        }
    }

    func giveBack(_ connection: UpstreamConnection) {
        guard !isClosed, idle.count < Self.mostIdle else { return connection.close() }
        idle.append(connection)
    }

    /// It ended.
    func forget(_ connection: UpstreamConnection) {
        connections -= 1
        idle.removeAll { $0 === connection }
    }

    /// Closes what has been idle for long, and keeps one connection warm: a new one costs round trips.
    func sweep(now: Nanoseconds, keepsWarm: Bool) {
        while let oldest = idle.first, now.since(oldest.idleSince) > keepAlive, idle.count > (keepsWarm ? 1 : 0) {
            idle.removeFirst()
            oldest.close()
        }
        if keepsWarm, connections == 0, !isClosed, now >= warmNext {
            warmNext = now.plus(Nanoseconds(milliseconds: 2_000))
            connect { result in
                if case .success(let connection) = result { connection.release(now: Clock.now()) }
            }
        }
    }

    /// The server was removed, or the gateway ends. Requests under way go on.
    func close() {
        isClosed = true
        let leaving = idle
        idle = []
        for connection in leaving { connection.close() }
    }
}
