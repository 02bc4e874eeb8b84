public import GotoniCore
public import Logging
import Glibc
import NIOConcurrencyHelpers
public import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization

/// A running gateway: listeners, event loops, servers that are watched. Any thread.
public final class Gateway: Sendable {
    public let configuration: GatewayConfiguration
    let dispatcher: Dispatcher
    private let logger: Logger
    private let group: MultiThreadedEventLoopGroup
    private let loops: [(loop: any EventLoop, context: NIOLoopBoundBox<LoopContext>)]
    private let state = NIOLockedValueBox(State())
    private let kvEvents: KVEventSubscriber?
    let startTime = Clock.now()

    private struct State {
        var listeners: [Listener] = []
        var watches: [UInt64: Task<Void, Never>] = [:]
        var maintenance: Task<Void, Never>?
        var publishing: Task<Void, Never>?
        /// Set once stopping has begun; gives what `stop` gives.
        var stopping: Task<Bool, Never>?
    }

    /// Nothing is opened yet. Throws what is wrong with the configuration.
    public init(_ configuration: GatewayConfiguration, logger: Logger) throws {
        self.configuration = configuration
        self.logger = logger
        let dispatcher = try Dispatcher(configuration, logger: logger)
        self.dispatcher = dispatcher
        kvEvents = try configuration.kvEvents.map { try KVEventSubscriber(dispatcher, $0, logger: logger) }
        let threads = configuration.threads > 0 ? configuration.threads : min(4, System.coreCount)
        group = MultiThreadedEventLoopGroup(numberOfThreads: threads)
        var generator = SystemRandomNumberGenerator()
        let seeds = (0..<threads).map { _ in generator.next() }
        loops = zip(group.makeIterator(), seeds).map { loop, seed in
            (
                loop,
                NIOLoopBoundBox.makeBoxSendingValue(
                    LoopContext(loop: loop, dispatcher: dispatcher, seed: seed), eventLoop: loop)
            )
        }
        for entry in configuration.servers { try addServer(name: entry.name, url: entry.url) }
        if let mesh = configuration.mesh {
            try addServer(name: "local", url: mesh.engine, role: .local)
            for entry in mesh.peers { try addPeer(name: entry.name, url: entry.url) }
        }
    }

    // MARK: Running

    /// Makes a connection speak another protocol than HTTP/1.1. On its event loop.
    public typealias Pipeline = @Sendable (any Channel, PickConnection) throws -> Void

    /// Opens the listeners. Gives their addresses: the data path's, and the admin listener's if there is one. `pipeline`: at
    /// the data path nothing is carried, only picked; see `PickConnection`.
    public func start(_ pipeline: Pipeline? = nil) async throws -> (
        data: SocketAddressText, admin: SocketAddressText?
    ) {
        if let admin = configuration.adminListen, configuration.adminToken == nil, !admin.isLoopback {
            throw GatewayError("--admin-listen \(admin) is not on loopback: set GOTONI_ADMIN_TOKEN as well")
        }
        for (loop, context) in loops {
            loop.scheduleRepeatedTask(initialDelay: .milliseconds(100), delay: .milliseconds(100)) { _ in
                context.value.sweep(now: Clock.now())
            }
        }
        let data = try await listen(configuration.listen, pipeline, isAdminOnly: false)
        var admin: Listener?
        do {
            if let address = configuration.adminListen { admin = try await listen(address, isAdminOnly: true) }
        } catch {
            await data.close()
            throw error
        }
        kvEvents?.start()
        dispatcher.sharing?.start(self, logger: logger)
        let maintenance = Task { await maintain() }
        let publishing = dispatcher.mesh.map { mesh in Task { await publish(mesh) } }
        state.withLockedValue { state in
            state.listeners = [data] + (admin.map { [$0] } ?? [])
            state.maintenance = maintenance
            state.publishing = publishing
        }
        return (data.address, admin?.address)
    }

    /// Lets requests finish, closes. `settle`: how long new connections are still accepted and idle ones stay open, for
    /// requests that are on their way; each answer is the last of its connection. True: nothing was cut off. A second call
    /// waits for the first.
    public func stop(settle: Nanoseconds = Nanoseconds(milliseconds: 500)) async -> Bool {
        let stopping = state.withLockedValue { state in
            let task = state.stopping ?? Task { await drainAndClose(settle: settle) }
            state.stopping = task
            return task
        }
        return await stopping.value
    }

    private func drainAndClose(settle: Nanoseconds) async -> Bool {
        let (listeners, tasks) = state.withLockedValue { state in
            let tasks = Array(state.watches.values) + [state.maintenance, state.publishing].compactMap { $0 }
            defer {
                state.listeners = []
                state.watches = [:]
            }
            return (state.listeners, tasks)
        }
        let deadline = Clock.now().plus(configuration.drainTimeout)
        for (loop, context) in loops {
            try? await loop.submit { context.value.drain(settle: settle) }.get()
        }
        if configuration.reusePort { for listener in listeners { await SharedPort.handOver(listener.channel) } }
        try? await Task.sleep(nanoseconds: min(settle, configuration.drainTimeout).rawValue)
        for listener in listeners { await listener.close() }
        // Peers have heard that we leave, and need not wait for more.
        dispatcher.mesh?.close()
        while Clock.now() < deadline, dispatcher.counters.connections.load(ordering: .acquiring) > 0 {
            try? await Task.sleep(nanoseconds: 10_000_000)
        }
        let cut = dispatcher.counters.underWay.load(ordering: .acquiring)
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
        // What has not begun to answer is told so.
        for (loop, context) in loops { try? await loop.submit { context.value.refuseAll() }.get() }
        for (loop, context) in loops { try? await loop.submit { context.value.closeAll() }.get() }
        await kvEvents?.stop()
        await dispatcher.sharing?.stop()
        await dispatcher.tokens.stop()
        try? await group.shutdownGracefully()
        if cut > 0 { logger.warning("requests were cut off at the drain timeout", metadata: ["requests": "\(cut)"]) }
        return cut == 0
    }

    public var isDraining: Bool { state.withLockedValue { $0.stopping != nil } }

    /// Open requests, tickets and waiting requests: all zero once nothing is under way. For tests and for stopping.
    public var leftovers: (requests: Int, tickets: Int, waiting: Int) {
        let tickets =
            try? dispatcher.router.withRouter { (router) throws(RouterError) in router.statistics().openTickets }
        return (
            dispatcher.counters.underWay.load(ordering: .acquiring), tickets ?? -1, dispatcher.queueLength
        )
    }

    private func listen(
        _ address: GatewayConfiguration.Address, _ pipeline: Pipeline? = nil, isAdminOnly: Bool
    ) async throws -> Listener {
        let settings = ConnectionSettings(
            dispatcher: dispatcher, control: ControlRoutes(gateway: self),
            access: AccessRules(
                apiKeys: configuration.apiKeys, adminToken: configuration.adminToken,
                meshKey: configuration.mesh?.key ?? "", isLoopback: address.isLoopback),
            failurePolicy: FailurePolicy(retries: configuration.retries),
            authorization: configuration.upstreamAPIKey.map { .own($0) }
                ?? (configuration.apiKeys.isEmpty ? .fromClient : .none),
            isAdminOnly: isAdminOnly)
        let contexts = Dictionary(uniqueKeysWithValues: loops.map { (ObjectIdentifier($0.loop), $0.context) })
        let tls = try configuration.tls.map { try Self.serverTLS($0, speaks: pipeline == nil ? "http/1.1" : "h2") }
        let most = configuration.maxConnections
        var bootstrap = ServerBootstrap(group: group)
            // Out of descriptors it waits a moment and does not spin.
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AcceptBackoffHandler())
                }
            }
            // Large bodies come in few reads, and one that comes in one is not copied.
            .childChannelOption(
                .recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 1024, initial: 4096, maximum: 1 << 18)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let context = contexts[ObjectIdentifier(channel.eventLoop)]?.value,
                        settings.dispatcher.counters.connections.load(ordering: .relaxed) < most
                    else { throw ChannelError.connectPending }
                    let handlers = channel.pipeline.syncOperations
                    if let tls { try handlers.addHandler(NIOSSLServerHandler(context: tls)) }
                    let now = Clock.now()
                    if let pipeline {
                        let connection = PickConnection(channel, settings: settings, loop: context, now: now)
                        return try pipeline(channel, connection)
                    }
                    try handlers.addHandler(ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes)))
                    try handlers.addHandler(ClientConnection(settings: settings, loop: context, now: now))
                }
            }
        switch address {
        case .tcp(let host, let port):
            bootstrap =
                bootstrap
                .serverChannelOption(.backlog, value: 1024)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                .childChannelOption(.socketOption(.so_keepalive), value: 1)
                .childChannelOption(.tcpOption(.init(rawValue: TCP_KEEPIDLE)), value: DeadPeer.idleSeconds)
                .childChannelOption(.tcpOption(.init(rawValue: TCP_USER_TIMEOUT)), value: DeadPeer.unansweredMs)
            if configuration.reusePort {
                bootstrap = bootstrap.serverChannelOption(.socketOption(.init(rawValue: SO_REUSEPORT)), value: 1)
            }
            do {
                let channel = try await bootstrap.bind(host: host, port: port).get()
                if configuration.reusePort { await SharedPort.join(channel) }
                return Listener(channel: channel, address: Self.text(channel))
            } catch {
                throw GatewayError("cannot listen on \(address): \(error)")
            }
        case .unix(let path):
            guard !configuration.reusePort else {
                throw GatewayError("cannot listen on \(address): a socket is not shared with --reuse-port")
            }
            let (descriptor, file) = try SocketFile.bind(path, mode: configuration.socketMode)
            do {
                let channel = try await bootstrap.withBoundSocket(descriptor).get()
                SocketFile.lengthenBacklog(descriptor)
                return Listener(channel: channel, file: file, address: "\(address)")
            } catch {
                file.remove()
                throw GatewayError("cannot listen on \(address): \(error)")
            }
        }
    }

    /// An open listener, and its file if it is a Unix socket.
    private struct Listener {
        var channel: any Channel
        var file: SocketFile?
        /// As it is told to users.
        var address: SocketAddressText

        func close() async {
            // First: then it is ours still.
            file?.remove()
            try? await channel.close().get()
        }
    }

    private static func serverTLS(_ files: GatewayConfiguration.TLSFiles, speaks name: String) throws -> NIOSSLContext {
        do {
            let chain = try NIOSSLCertificate.fromPEMFile(files.certificateChain).map {
                NIOSSLCertificateSource.certificate($0)
            }
            let key = try NIOSSLPrivateKey(file: files.privateKey, format: .pem)
            var tls = TLSConfiguration.makeServerConfiguration(certificateChain: chain, privateKey: .privateKey(key))
            tls.applicationProtocols = [name]
            return try NIOSSLContext(configuration: tls)
        } catch {
            throw GatewayError("cannot use the TLS files \(files.certificateChain) and \(files.privateKey): \(error)")
        }
    }

    public typealias SocketAddressText = String
    private static func text(_ channel: any Channel) -> String {
        guard let address = channel.localAddress, let ip = address.ipAddress, let port = address.port else {
            return "?"
        }
        return ip.contains(":") ? "[\(ip)]:\(port)" : "\(ip):\(port)"
    }

    /// Limits that grow back, four times a second.
    private func maintain() async {
        var losesWindows = CongestionControl.losesIdleWindows(configuration.upstreamCongestion)
        while !Task.isCancelled {
            try? await Task.sleep(nanoseconds: 250_000_000)
            let now = Clock.now()
            for server in dispatcher.fleet.all {
                if losesWindows, let rtt = server.state.withLockedValue(\.rtt.least), rtt > Self.farMs {
                    losesWindows = false
                    warnOfIdleWindows(server, rtt)
                }
                dispatcher.reconcile(server, now: now)
                if server.role == .peer { dispatcher.reconsider(server, now: now) }
                if dispatcher.applyLimit(server, now: now) { dispatcher.freed(server) }
            }
        }
    }

    /// A round trip from which on it shows when a long prompt takes some more of them, milliseconds.
    private static let farMs = 20.0

    private func warnOfIdleWindows(_ server: Server, _ rtt: Double) {
        logger.warning(
            "long prompts take round trips more to a distant server, for connections lose their windows when idle: set --upstream-congestion bbr, or net.ipv4.tcp_slow_start_after_idle to 0",
            metadata: ["server": "\(server.name)", "rtt_ms": "\(Int(rtt.rounded()))"])
    }

    /// Tells peers what has changed, until cancelled.
    private func publish(_ mesh: Mesh) async {
        while !Task.isCancelled {
            let now = Clock.now()
            mesh.publish(dispatcher.report(isDraining: isDraining, now: now), now: now)
            try? await Task.sleep(nanoseconds: mesh.configuration.interval.rawValue)
        }
    }

    // MARK: Servers

    /// Adds another node. Throws what is wrong.
    func addPeer(name: String, url: ServerURL) throws {
        guard let mesh = configuration.mesh, !mesh.key.isEmpty else {
            throw GatewayError("peers need a key that all nodes share: set GOTONI_MESH_KEY")
        }
        try addServer(name: name, url: url, role: .peer)
    }

    /// Adds a server; it gets requests as soon as it has answered a probe. Throws what is wrong.
    @discardableResult func addServer(name: String, url: ServerURL, role: Server.Role = .engine) throws -> Server {
        guard (1...64).contains(name.utf8.count),
            name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: ",") })
        else { throw GatewayError("a server's name is 1 to 64 visible ASCII characters without commas") }
        if configuration.namesAddressesOnly, !url.isAddressOnly {
            throw GatewayError("\(url): a server must be http[s]://ADDRESS[:PORT] here, without names and paths")
        }
        let verifies = !configuration.insecureServers.contains(name) && !configuration.insecureServers.contains("*")
        var tls: NIOSSLContext?
        if url.isSecure {
            var client = TLSConfiguration.makeClientConfiguration()
            client.applicationProtocols = ["http/1.1"]
            if !verifies { client.certificateVerification = .none }
            tls = try NIOSSLContext(configuration: client)
        }
        // Peers tell their own.
        let limit = role == .peer ? 0 : configuration.maxConcurrent
        let now = Clock.now()
        let server = try dispatcher.fleet.add(name, url) { id in
            try dispatcher.router.withRouter { (router) throws(RouterError) in
                try router.add(ServerConfiguration(id: id, maxRequests: UInt32(clamping: limit)), now: now)
                // Unknown until it answers.
                try router.mark(id, .draining, now: now)
            }
            return Server(id: id, name: name, url: url, tls: tls, limit: limit, role: role)
        }
        let loop = loops[Int(server.id.rawValue) % loops.count].loop
        let watch = Watch(server: server, dispatcher: dispatcher, loop: loop, logger: logger)
        let task = Task { await watch.run() }
        state.withLockedValue { $0.watches[server.id.rawValue] = task }
        logger.info("server added", metadata: ["server": "\(name)", "url": "\(url)"])
        return server
    }

    /// It gets no more requests and is forgotten; those under way finish. False: there is none of this name.
    func removeServer(name: String) -> Bool {
        guard let server = dispatcher.fleet.remove(name: name) else { return false }
        try? dispatcher.router.withRouter { (router) throws(RouterError) in
            try router.remove(server.id, now: Clock.now())
        }
        server.state.withLockedValue { $0.isRemoved = true }
        state.withLockedValue { $0.watches.removeValue(forKey: server.id.rawValue) }?.cancel()
        for (loop, context) in loops { loop.execute { context.value.removePool(of: server.id) } }
        logger.info("server removed", metadata: ["server": "\(name)"])
        return true
    }

    /// Nothing new for it, or again. False: there is none of this name.
    func drainServer(name: String, _ drains: Bool) -> Bool {
        guard let server = dispatcher.fleet[name] else { return false }
        let isUp = server.state.withLockedValue { state in
            if drains { state.health.drain() } else { state.health.undrain() }
            return state.health.state == .up
        }
        if !isUp { dispatcher.mark(server, .draining, now: Clock.now()) }
        logger.notice("server \(drains ? "drains" : "serves again")", metadata: ["server": "\(name)"])
        return true
    }
}
