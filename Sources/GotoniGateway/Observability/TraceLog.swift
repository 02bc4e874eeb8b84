import GotoniCore
import NIOConcurrencyHelpers
import Synchronization

/// Where the time of one request went, as this gateway saw it. Never its text.
struct RequestTrace: Sendable {
    struct Attempt: Sendable {
        var server: String
        var role: Server.Role
        var begin: Nanoseconds
        /// Nil: there was no connection.
        var sent: Nanoseconds?
        var firstByte: Nanoseconds?
        var end: Nanoseconds
        /// Of the answer; nil: there was none.
        var status: Int?
        /// Why the attempt came to nothing; empty: it did not.
        var failure = ""
        /// Of the arrow to another node's part of the trace; told with the request.
        var flow: UInt64?
    }
    /// In the queue.
    struct Wait: Sendable {
        var begin: Nanoseconds
        var end: Nanoseconds
    }

    /// Which session it belongs to: one that ends in another would not fit there.
    let session: UInt64
    var requestID: String
    var path: String
    var hops: Int
    /// What the node that forwarded it told; nil: it came from a client, or no trace runs there.
    var flow: UInt64?
    /// When its head had come, and when all of it.
    var start: Nanoseconds
    let received: Nanoseconds
    var end: Nanoseconds
    var waits: [Wait] = []
    var attempts: [Attempt] = []
    var status = 0
    var error = ""
    var decision = DecisionRecord()
    var cachedTokens: Int?
    var outputTokens: Int?
    private var isWaiting = false

    init(
        session: UInt64, requestID: String, path: Substring, hops: Int, flow: UInt64?, start: Nanoseconds,
        received: Nanoseconds
    ) {
        (self.session, self.received) = (session, received)
        (self.requestID, self.path, self.hops, self.flow) = (requestID, String(path.prefix { $0 != "?" }), hops, flow)
        (self.start, end) = (start, start)
    }

    mutating func waits(from now: Nanoseconds) {
        closeOpen(now)
        waits.append(Wait(begin: now, end: now))
        isWaiting = true
    }

    /// Gives the number of the arrow, where another node serves it.
    mutating func attempts(_ server: Server, from now: Nanoseconds) -> UInt64? {
        closeOpen(now)
        let flow = server.role == .peer ? UInt64.random(in: 1..<1 << 53) : nil
        attempts.append(Attempt(server: server.name, role: server.role, begin: now, end: now, flow: flow))
        return flow
    }

    mutating func sent(at now: Nanoseconds) { change { $0.sent = now } }
    mutating func gotFirstByte(at now: Nanoseconds) { change { $0.firstByte = now } }

    mutating func gotAnswer(_ status: Int) { change { $0.status = status } }
    mutating func failed(_ why: String) { change { $0.failure = why } }

    mutating func ends(at now: Nanoseconds) {
        closeOpen(now)
        end = now
    }

    private mutating func change(_ body: (inout Attempt) -> Void) {
        if !attempts.isEmpty { body(&attempts[attempts.count - 1]) }
    }

    /// Ends the wait or the attempt that was under way.
    private mutating func closeOpen(_ now: Nanoseconds) {
        if isWaiting {
            waits[waits.count - 1].end = now
            isWaiting = false
        } else {
            change { if $0.end == $0.begin { $0.end = now } }
        }
    }
}

/// The requests of a trace that runs: the last `capacity` of them.
final class TraceLog: Sendable {
    static let capacity = 50_000

    struct Session: Sendable {
        let number: UInt64
        var id: String
        /// Times in the file count from here.
        var base: Nanoseconds
        /// The same moment, in seconds since 1970.
        var wall: Double
        var ring = Ring<RequestTrace>(capacity: TraceLog.capacity)
        /// With those that the ring no longer has.
        var ended: UInt64 = 0
    }

    private let session = NIOLockedValueBox<Session?>(nil)
    private let sessions = Atomic<UInt64>(0)
    private let runs = Atomic<UInt64>(0)

    /// The number of the session that runs; 0: none. To look at for each request.
    var running: UInt64 { runs.load(ordering: .relaxed) }

    /// Nil: one runs already.
    func start(id: String, now: Nanoseconds, wall: Double) -> Session? {
        session.withLockedValue { session in
            guard session == nil else { return nil }
            let number = sessions.add(1, ordering: .relaxed).newValue
            session = Session(number: number, id: id, base: now, wall: wall)
            runs.store(number, ordering: .relaxed)
            return session
        }
    }

    func add(_ trace: RequestTrace) {
        session.withLockedValue { session in
            guard let base = session?.base, session?.number == trace.session else { return }
            var trace = trace
            // Its head may have been read just before the trace began.
            trace.start = max(trace.start, base)
            session?.ring.add(trace)
            session?.ended += 1
        }
    }

    /// Of the session that runs, without its requests.
    var status: (id: String, base: Nanoseconds, wall: Double, ended: UInt64)? {
        session.withLockedValue { session in session.map { ($0.id, $0.base, $0.wall, $0.ended) } }
    }

    /// Nil: none runs.
    func stop() -> Session? {
        session.withLockedValue { session in
            runs.store(0, ordering: .relaxed)
            defer { session = nil }
            return session
        }
    }
}
