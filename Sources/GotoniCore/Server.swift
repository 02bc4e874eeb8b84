/// Whether a server takes requests.
public enum ServerState: UInt8, Sendable, BitwiseCopyable {
    /// Takes requests.
    case up = 0
    /// Finishes what it has, takes nothing new, keeps its prefixes.
    case draining = 1
    /// Takes nothing; its prefixes are forgotten, for a restart empties the cache.
    case down = 2
}

/// What a server is added or updated with.
public struct ServerConfiguration: Sendable, BitwiseCopyable {
    public var id: ServerID
    /// Most requests at one time, from route to finish; nil: no limit.
    public var maxRequests: UInt32?
    /// KV cache in tokens; nil: the router's default.
    public var kvCapacityTokens: UInt64?

    public init(id: ServerID, maxRequests: UInt32? = nil, kvCapacityTokens: UInt64? = nil) {
        self.id = id
        self.maxRequests = maxRequests
        self.kvCapacityTokens = kvCapacityTokens
    }
}

/// Requests and prompt tokens on a server, before their first token (queued) and after it (running).
public struct Load: Equatable, Sendable, BitwiseCopyable {
    public var queuedRequests: UInt64 = 0
    public var runningRequests: UInt64 = 0
    public var queuedTokens: UInt64 = 0
    public var runningTokens: UInt64 = 0
    /// Of the queued tokens, those that are not believed cached: prefill that is still to be done.
    public var owedTokens: UInt64 = 0

    public init() {}

    @inlinable public var requests: UInt64 { queuedRequests &+ runningRequests }
    @inlinable public var tokens: UInt64 { queuedTokens &+ runningTokens }

    /// One request of `tokens` tokens before its first token, `cached` of them found cached, and after it.
    static func queued(_ tokens: UInt64, cached: UInt64) -> Load {
        var load = Load()
        load.queuedRequests = 1
        load.queuedTokens = tokens
        load.owedTokens = tokens - min(cached, tokens)
        return load
    }

    static func running(_ tokens: UInt64) -> Load {
        var load = Load()
        load.runningRequests = 1
        load.runningTokens = tokens
        return load
    }

    static func + (a: Load, b: Load) -> Load {
        var sum = a
        sum.queuedRequests &+= b.queuedRequests
        sum.runningRequests &+= b.runningRequests
        sum.queuedTokens &+= b.queuedTokens
        sum.runningTokens &+= b.runningTokens
        sum.owedTokens &+= b.owedTokens
        return sum
    }

    static func - (a: Load, b: Load) -> Load {
        var difference = a
        difference.queuedRequests &-= b.queuedRequests
        difference.runningRequests &-= b.runningRequests
        difference.queuedTokens &-= b.queuedTokens
        difference.runningTokens &-= b.runningTokens
        difference.owedTokens &-= b.owedTokens
        return difference
    }

    /// Each figure over `count`, rounded down.
    func divided(by count: UInt64) -> Load {
        var mean = Load()
        guard count > 0 else { return mean }
        mean.queuedRequests = queuedRequests / count
        mean.runningRequests = runningRequests / count
        mean.queuedTokens = queuedTokens / count
        mean.runningTokens = runningTokens / count
        mean.owedTokens = owedTokens / count
        return mean
    }
}

/// A load as somebody saw it; nil: nobody has, or it is long ago.
struct TimedLoad: BitwiseCopyable {
    var load = Load()
    var time: Nanoseconds?

    mutating func forgetIfStale(now: Nanoseconds, ttl: Nanoseconds) {
        if let time, now.since(time) > ttl { self = TimedLoad() }
    }
}

/// What is known about one server, for status pages.
public struct ServerInfo: Sendable {
    public var id: ServerID
    public var state: ServerState
    public var maxRequests: UInt32?
    public var kvCapacityTokens: UInt64
    public var heldTokens: UInt64
    /// Filtered round trip time in nanoseconds; nil: never observed.
    public var rtt: UInt64?
    /// Ours: routed by this router and not finished.
    public var own: Load
    /// What other routers say of themselves, and what its metrics report beyond these and ours; nil while no fresh observation
    /// exists.
    public var foreign: Load?
    public var parity: Parity
    public var events: EventCounts
    public var learned = Learned()

    /// What its answers have taught; before the first one, what the other servers' have. Milliseconds.
    public struct Learned: Equatable, Sendable, BitwiseCopyable {
        /// First tokens that were compared with what was predicted; of the last 200 the mean time from decision to first token,
        /// the mean of observed less predicted, and its mean size.
        public var predictions: UInt64 = 0
        public var mean = 0.0
        public var bias = 0.0
        public var error = 0.0
        /// Of every request, besides its round trip.
        public var overhead = 0.0
        /// With nobody beside it; and of the whole prompt, cached or not.
        public var prefillPerToken = 0.0
        public var readingPerToken = 0.0
        /// Of the round trips that a long prompt needs on an idle connection, the share taken.
        public var uploadRoundTrips = 0.0
        /// Of a whole answer of mean length alone, from its first token on, and added by each request beside it.
        public var decode = 0.0
        public var decodePerRequest = 0.0
    }

    /// Predicted against reported cached tokens, over the requests whose engine reported them.
    public struct Parity: Equatable, Sendable, BitwiseCopyable {
        public var predictedTokens: UInt64 = 0
        public var reportedTokens: UInt64 = 0
        public var reports: UInt64 = 0
    }

    /// KV events taken in, in engine blocks.
    public struct EventCounts: Equatable, Sendable, BitwiseCopyable {
        public var stored: UInt64 = 0
        public var removed: UInt64 = 0
        public var orphaned: UInt64 = 0
    }
}

/// A row of the server table.
struct ServerRow: BitwiseCopyable {
    var id = ServerID(0)
    var state = ServerState.up
    var isUsed = false
    var metricsKnown = false
    var maxRequests: UInt32 = .max
    /// The filter's estimate in nanoseconds; nil while there is none.
    var rtt: UInt64?
    /// Ours, kept by the ledger.
    var own = Load()
    /// What others put there, the sum of the next two; zero while both are unknown.
    var foreign = Load()
    /// By its metrics, beyond ours and what others said by then; and by what others say of themselves.
    var reported = TimedLoad()
    var told = TimedLoad()
    /// Of the later of the two.
    var metricsTime = Nanoseconds(0)
    /// The order in which metrics grow stale; 0 is none, else slot + 1.
    var metricsNewer: UInt32 = 0
    var metricsOlder: UInt32 = 0
    /// As the engine last reported it; nil if never.
    var incarnation: UInt64?
    /// As given; `UInt64.max`: no bound.
    var kvCapacityTokens: UInt64 = 0
    var rttFilter = RTTFilter()
    /// When the engine began with the prompt that it works on now, and half a round trip: when we could have heard of it.
    var workingSince = Nanoseconds(0)
    /// Most requests that the engine runs at one time; 0: not known.
    var runningLimit: UInt32 = 0
    var parity = ServerInfo.Parity()
    var events = ServerInfo.EventCounts()

    /// As a decision sees it; `prior` stands for others' load while that is unknown.
    @inline(__always) func load(prior: Load) -> Load { own + (metricsKnown ? foreign : prior) }
}
