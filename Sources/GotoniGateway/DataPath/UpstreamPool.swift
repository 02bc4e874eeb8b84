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

/// What a pool keeps open, and how it connects.
struct UpstreamSettings {
    var connectTimeout = Nanoseconds(0)
    /// Of idle connections; see `GatewayConfiguration.upstreamKeepAlive`.
    var keepAlive = Nanoseconds(milliseconds: 600_000)
    /// Idle connections that are kept, and opened ahead of the requests that need them.
    var spares = 0
    /// Nil: the kernel's choice.
    var congestion: CongestionControl?
}

/// The connections of one event loop to one server. The one used last is used next: its congestion window is the least
/// aged, and the rest may age and go.
final class UpstreamPool {
    let server: Server
    private let loop: any EventLoop
    private let settings: UpstreamSettings
    /// Those never used first, for their windows are the smallest; behind them in the order of last use.
    private(set) var idle: [UpstreamConnection] = []
    /// Open or being opened, with the idle ones.
    private(set) var connections = 0
    private var isClosed = false
    private var isOpeningSpare = false
    /// A server that cannot be reached, or ends connections that it was not asked on, is not dialled all the time just to
    /// have a spare one.
    private var nextSpare = Nanoseconds(0)
    static let mostIdle = 256
    static let sparePause = Nanoseconds(milliseconds: 2_000)

    init(server: Server, loop: any EventLoop, _ settings: UpstreamSettings) {
        self.server = server
        self.loop = loop
        self.settings = settings
    }

    /// An idle connection, now the caller's.
    func take() -> UpstreamConnection? {
        while let connection = idle.popLast() {
            guard connection.isOpen else { continue }
            // A spare one was needed: the next may be opened at once.
            if connection.served == 0 { nextSpare = Nanoseconds(0) }
            return connection
        }
        return nil
    }

    /// Opens a connection; `done` is called on the loop.
    func connect(_ done: @escaping (Result<UpstreamConnection, any Error>) -> Void) {
        connections += 1
        if let path = server.url.socketPath { return connect(socket: path, done) }
        var bootstrap = ClientBootstrap(group: loop)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.socketOption(.so_keepalive), value: 1)
            .channelOption(.tcpOption(.init(rawValue: TCP_KEEPIDLE)), value: DeadPeer.idleSeconds)
            .channelOption(.tcpOption(.init(rawValue: TCP_USER_TIMEOUT)), value: DeadPeer.unansweredMs)
            .channelOption(
                .recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 1024, initial: 4096, maximum: 65536))
        if settings.connectTimeout.rawValue > 0 {
            bootstrap = bootstrap.connectTimeout(settings.connectTimeout.timeAmount)
        }
        let (tls, host, congestion) = (server.tls, server.url.host, settings.congestion)
        let address = try? SocketAddress(ipAddress: host, port: server.url.port)
        let isAddress = address != nil
        let made = NIOLoopBound(UpstreamConnection(pool: self), eventLoop: loop)
        bootstrap = bootstrap.channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                congestion?.set(on: channel)
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
        let bootstrap = ClientBootstrap(group: loop).connectTimeout(settings.connectTimeout.timeAmount)
            .channelInitializer { channel in
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
        idle.insert(connection, at: connection.served == 0 ? 0 : idle.endIndex)
    }

    /// It ended.
    func forget(_ connection: UpstreamConnection) {
        connections -= 1
        idle.removeAll { $0 === connection }
    }

    /// Closes what has been idle for long but for the spare ones, and opens one of these if they are too few: who needs a
    /// new connection waits for a round trip, or three with TLS. `besideOthers`: also while others are open.
    func sweep(now: Nanoseconds, keepsSpares: Bool, besideOthers: Bool = true) {
        let kept = keepsSpares ? settings.spares : 0
        while idle.count > kept, let old = idle.firstIndex(where: { now.since($0.idleSince) > settings.keepAlive }) {
            idle.remove(at: old).close()
        }
        guard idle.count < kept, besideOthers || connections == 0, !isOpeningSpare, !isClosed, now >= nextSpare else {
            return
        }
        nextSpare = now.plus(Self.sparePause)
        isOpeningSpare = true
        connect { result in
            self.isOpeningSpare = false
            if case .success(let connection) = result { connection.release(now: Clock.now()) }
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
