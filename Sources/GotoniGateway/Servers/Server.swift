import GotoniCore
import GotoniEngines
import NIOConcurrencyHelpers
import NIOSSL

/// A server as the gateway knows it. The figures that change are behind one lock; it is never held during I/O or while
/// the router's is taken.
final class Server: Sendable {
    let id: ServerID
    let name: String
    /// What other proxies call it.
    let key: UInt64
    let url: ServerURL
    let tls: NIOSSLContext?
    let role: Role

    enum Role: Sendable {
        /// Serves requests itself.
        case engine
        /// The engine of this very node.
        case local
        /// Another node, with an engine behind it.
        case peer
    }

    struct State {
        var health = ServerHealth()
        var downtime = Downtime()
        /// Configured; what is in force may be less, see `ServerHealth.limit`.
        var limit: Int
        /// As last told to the router.
        var limitInForce: Int
        var inFlight = 0
        var requests: UInt64 = 0
        var failures: UInt64 = 0
        var promptTokens: UInt64 = 0
        var matchedTokens: UInt64 = 0
        var report: EngineReport?
        var reportTime: Nanoseconds?
        var reportPath: String?
        /// What a peer has told of itself, and when it was heard.
        var node: NodeReport?
        var nodeTime: Nanoseconds?
        /// Of the engine, as requests and its events name it; nil: not known yet.
        var model: String?
        /// Nil: none are to come from here.
        var kvEvents: KVEventFigures?
        /// The router has forgotten what this server holds, and the KV events do not know it yet.
        private var isForgotten = false
        /// When a prompt whose tokens were estimated went there.
        var lastInexact: Nanoseconds?
        /// When one went there that the engine must say something about, and has not yet.
        var awaitsEvents: Nanoseconds?
        var parity = RecentParity()
        var rtt = RoundTrips()
        var ttft = RecentValues()
        /// No longer in the fleet; requests may still be under way there.
        var isRemoved = false
        /// What went wrong last, for the log.
        var lastFailure = ""

        init(limit: Int) { (self.limit, limitInForce) = (limit, limit) }

        mutating func noteForgotten() { isForgotten = true }

        /// Once for each time.
        mutating func takeForgotten() -> Bool {
            defer { isForgotten = false }
            return isForgotten
        }
    }
    let state: NIOLockedValueBox<State>

    /// llama.cpp's server does not mind requests but connections: each takes one of its few threads, idle or not, for as long
    /// as five seconds, and who comes when all are taken waits.
    var takesIdleConnections: Bool { state.withLockedValue { $0.report?.kind != .llamacpp } }

    init(id: ServerID, name: String, url: ServerURL, tls: NIOSSLContext?, limit: Int, role: Role = .engine) {
        self.id = id
        self.name = name
        key = ServerKey.of(name)
        self.url = url
        self.tls = tls
        self.role = role
        state = NIOLockedValueBox(State(limit: limit))
    }
}

/// Round trip samples as /proxy/latency has them. (What the cost uses is the router's `RTTFilter`.)
struct RoundTrips {
    var current: Double?
    var average: Double?
    var least: Double?
    var most: Double?

    mutating func add(_ milliseconds: Double) {
        current = milliseconds
        average = average.map { $0 + 0.3 * (milliseconds - $0) } ?? milliseconds
        least = min(least ?? milliseconds, milliseconds)
        most = max(most ?? milliseconds, milliseconds)
    }
}

/// The last 256 values, for percentiles.
struct RecentValues {
    private var values: [Float] = []
    private var next = 0
    static let capacity = 256

    mutating func add(_ value: Double) {
        if values.count < Self.capacity {
            values.append(Float(value))
        } else {
            values[next] = Float(value)
            next = (next + 1) % Self.capacity
        }
    }

    /// Nearest rank; nil while there is none.
    func percentile(_ share: Double) -> Double? { Self.percentile(values, share) }

    static func percentile(_ values: [Float], _ share: Double) -> Double? {
        guard !values.isEmpty else { return nil }
        let sorted = values.sorted()
        return Double(sorted[min(sorted.count - 1, max(0, Int((share * Double(sorted.count)).rounded(.up)) - 1))])
    }
}

/// How long a server was out, and how often.
struct Downtime: Sendable {
    private(set) var intervals = 0
    private var past = Nanoseconds(0)
    private var since: Nanoseconds?

    /// False: it was out already.
    mutating func begins(now: Nanoseconds) -> Bool {
        guard since == nil else { return false }
        since = now
        intervals += 1
        return true
    }

    mutating func ends(now: Nanoseconds) {
        guard since != nil else { return }
        past = total(now: now)
        since = nil
    }

    func total(now: Nanoseconds) -> Nanoseconds { past.plus(since.map { now.since($0) } ?? Nanoseconds(0)) }
}
