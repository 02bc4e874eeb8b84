import GotoniCore
import GotoniEngines
import NIOConcurrencyHelpers
import NIOCore

/// Something that was written and has not been handed to its socket.
protocol Flushable: AnyObject {
    func flush()
}

/// A connection that its loop looks after.
protocol LoopGuest: AnyObject {
    /// Ten times a second.
    func tick(now: Nanoseconds)
    /// While draining, as often.
    func closeIfIdle(for time: Nanoseconds, now: Nanoseconds)
    /// Those without an answer get one.
    func shutDown()
    func abort()
}

/// What an event loop has of its own, so that the data path takes no lock for it.
final class LoopContext {
    let loop: any EventLoop
    let dispatcher: Dispatcher
    let reader = BodyReader()
    /// Usage readers between two requests: each has memory worth keeping.
    private var usageReaders: [UsageReader] = []
    private var pools: [UInt64: UpstreamPool] = [:]
    private var clients: [ObjectIdentifier: any LoopGuest] = [:]
    private var requestCount: UInt64
    private let requestSeed: UInt64
    private var unflushed: [any Flushable] = []
    static let mostUnflushed = 8
    /// No new requests: connections end with the one they have.
    private(set) var isDraining = false
    /// How long a connection may be idle while draining.
    private var settle = Nanoseconds(0)

    init(loop: any EventLoop, dispatcher: Dispatcher, seed: UInt64) {
        self.loop = loop
        self.dispatcher = dispatcher
        requestSeed = seed
        requestCount = 0
    }

    /// A name for a request: unique in this process, and over processes as likely as 64 random bits.
    func nextRequestID() -> String {
        requestCount += 1
        var random = SplitMix64(seed: requestSeed &+ requestCount)
        return String(unsafeUninitializedCapacity: 37) { text in
            var count = 0
            func add(_ byte: UInt8) {
                text[count] = byte
                count += 1
            }
            func add(hexadecimal value: UInt64) {
                for shift in stride(from: (63 - (value | 1).leadingZeroBitCount) / 4 * 4, through: 0, by: -4) {
                    let digit = UInt8(truncatingIfNeeded: value >> UInt64(shift)) & 15
                    add(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") - 10 + digit)
                }
            }
            for byte in [UInt8(ascii: "r"), UInt8(ascii: "e"), UInt8(ascii: "q"), UInt8(ascii: "-")] { add(byte) }
            add(hexadecimal: random.next())
            add(UInt8(ascii: "-"))
            add(hexadecimal: requestCount)
            return count
        }
    }

    /// Flushes at the end of the loop's turn, together with others, so that what goes to one process wakes it once: waking
    /// the servers for each request was a sixth of the proxy's time. Not more than `mostUnflushed` wait, or the first
    /// would wait for the parsing of all.
    func flushSoon(_ written: any Flushable) {
        if unflushed.isEmpty { loop.assumeIsolated().execute { self.flush() } }
        unflushed.append(written)
        if unflushed.count >= Self.mostUnflushed { flush() }
    }

    private func flush() {
        // A connection that breaks on it may bring a request to another one here.
        let all = unflushed
        unflushed = []
        for written in all { written.flush() }
    }

    func takeUsageReader() -> UsageReader { usageReaders.popLast() ?? UsageReader() }

    func giveBack(_ reader: consuming UsageReader) {
        guard usageReaders.count < 64 else { return }
        reader.reset()
        usageReaders.append(reader)
    }

    func pool(for server: Server) -> UpstreamPool {
        if let pool = pools[server.id.rawValue] { return pool }
        let pool = UpstreamPool(
            server: server, loop: loop,
            UpstreamSettings(
                connectTimeout: dispatcher.configuration.connectTimeout,
                keepAlive: dispatcher.configuration.upstreamKeepAlive,
                spares: dispatcher.configuration.upstreamSpare,
                congestion: dispatcher.configuration.upstreamCongestion))
        pools[server.id.rawValue] = pool
        return pool
    }

    func removePool(of server: ServerID) { pools.removeValue(forKey: server.rawValue)?.close() }

    func add(_ client: any LoopGuest) { clients[ObjectIdentifier(client)] = client }
    func remove(_ client: any LoopGuest) { clients[ObjectIdentifier(client)] = nil }

    /// Ten times a second: deadlines of everything on this loop, instead of a timer for each.
    func sweep(now: Nanoseconds) {
        for client in Array(clients.values) { client.tick(now: now) }
        if !isDraining { preparePools() }
        for pool in pools.values {
            let server = pool.server
            let (isUp, isRemoved) = server.state.withLockedValue { ($0.health.state == .up, $0.isRemoved) }
            pool.sweep(
                now: now, keepsSpares: isUp && !isRemoved && !isDraining, besideOthers: server.takesIdleConnections)
        }
        if isDraining {
            for client in Array(clients.values) { client.closeIfIdle(for: settle, now: now) }
        }
    }

    /// The first request to a server finds a spare connection too.
    private func preparePools() {
        for server in dispatcher.fleet.all where pools[server.id.rawValue] == nil && server.takesIdleConnections {
            if server.state.withLockedValue(\.health.state) == .up { _ = pool(for: server) }
        }
    }

    /// Idle connections stay for `settle`, so that a request that is on its way is still answered.
    func drain(settle: Nanoseconds) {
        isDraining = true
        self.settle = settle
    }

    func refuseAll() {
        for client in Array(clients.values) { client.shutDown() }
    }

    func closeAll() {
        for client in Array(clients.values) { client.abort() }
        for pool in pools.values { pool.close() }
    }
}
