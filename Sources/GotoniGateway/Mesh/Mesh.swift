public import GotoniCore
import NIOConcurrencyHelpers
import NIOCore
import Synchronization

/// What this node tells its peers, and those that wait for news of it. Any thread.
///
/// Peers ask (`GET /lb/peer`), and are answered when something has changed, at most every `interval`, or after
/// `heartbeat`. So two nodes need no third, a lost answer is asked for again, and who asks has shown that it is alive. The
/// next question takes a round trip to come, so between far nodes news come once in a round trip.
final class Mesh: Sendable {
    let configuration: MeshConfiguration
    private let state: NIOLockedValueBox<State>
    /// As configured, until it is changed.
    let runningThreshold: Synchronization.Atomic<Int>
    /// Bytes of reports and news, without HTTP around them.
    let bytesTold = Atomic<UInt64>(0)
    let bytesHeard = Atomic<UInt64>(0)
    static let heartbeat = Nanoseconds(milliseconds: 1_000)
    /// Peers that wait at one time; more are answered at once.
    static let mostWaiting = 256

    private struct State {
        var report = NodeReport()
        var log = PrefixLog()
        /// Of the log, when the report was made: news alone are a reason to tell, but only then, so that a peer is
        /// answered once in an interval.
        var toldNext: UInt64 = 0
        var waiting: [(deadline: Nanoseconds, continuation: CheckedContinuation<Void, Never>)] = []
        /// Something was forgotten that has not been told.
        var hasForgotten = false
        var isClosed = false
    }

    /// `incarnation`: random.
    init(_ configuration: MeshConfiguration, blockTokens: Int, incarnation: UInt64) {
        self.configuration = configuration
        runningThreshold = Synchronization.Atomic(configuration.runningThreshold)
        var state = State()
        state.report.incarnation = incarnation
        state.report.blockTokens = blockTokens
        self.state = NIOLockedValueBox(state)
    }

    /// Peers that wait for news.
    var waiting: Int { state.withLockedValue(\.waiting.count) }

    var incarnation: UInt64 { state.withLockedValue(\.report.incarnation) }

    /// The engine is being sent a prompt with these blocks. Should it fail there, peers believe it until the blocks would have
    /// been evicted: a wrong guess, never a wrong answer.
    func note(_ chain: [UInt64]) { state.withLockedValue { $0.log.add(chain) } }

    /// The engine's cache was emptied: whoever hears the new number forgets as well.
    func forget() {
        state.withLockedValue { state in
            state.report.incarnation &+= 1
            state.log.clear()
            state.hasForgotten = true
        }
    }

    /// Every `interval`: tells what has changed to those that wait, and that we are alive to those that have waited long.
    func publish(_ news: NodeReport, now: Nanoseconds) {
        let ready = state.withLockedValue { state in
            var report = news
            report.incarnation = state.report.incarnation
            report.sequence = state.report.sequence
            let isNew = report != state.report || state.log.next != state.toldNext || state.hasForgotten
            state.hasForgotten = false
            if isNew { report.sequence += 1 }
            state.report = report
            state.toldNext = state.log.next
            let ready = isNew ? state.waiting : state.waiting.filter { $0.deadline <= now }
            state.waiting = isNew ? [] : state.waiting.filter { $0.deadline > now }
            return ready
        }
        for waiter in ready { waiter.continuation.resume() }
    }

    /// What a peer that has heard `sequence` of `incarnation`, and prompts before `known`, does not know yet. Waits until
    /// there is something, at most for the heartbeat.
    func news(since sequence: UInt64, of incarnation: UInt64, known: UInt64?, now: Nanoseconds) async -> ByteBuffer {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let waits = state.withLockedValue { state in
                guard !state.isClosed, state.report.sequence == sequence, state.report.incarnation == incarnation,
                    known ?? 0 >= state.toldNext, state.waiting.count < Self.mostWaiting
                else { return false }
                state.waiting.append((now.plus(Self.heartbeat), continuation))
                return true
            }
            if !waits { continuation.resume() }
        }
        var out = ByteBufferAllocator().buffer(capacity: NodeReport.bytes + 64)
        state.withLockedValue { state in
            state.report.write(into: &out)
            state.log.write(from: state.report.incarnation == incarnation ? known : nil, into: &out)
        }
        bytesTold.add(UInt64(out.readableBytes), ordering: .relaxed)
        return out
    }

    /// Answers those that wait; nobody waits from now on.
    func close() {
        let waiting = state.withLockedValue { state in
            state.isClosed = true
            defer { state.waiting = [] }
            return state.waiting
        }
        for waiter in waiting { waiter.continuation.resume() }
    }
}

/// How a gateway is a node among others. Nil in `GatewayConfiguration`: it is a proxy, and its servers are engines.
public struct MeshConfiguration: Sendable {
    /// Its own, for traces and peers' pages.
    public var nodeID = ""
    /// Shared by all nodes: who sends it is one of them. Empty: there are no peers.
    public var key = ""
    /// The engine behind this node.
    public var engine: ServerURL
    public var peers: [GatewayConfiguration.ServerEntry] = []
    /// Requests at the engine below which a new one is served here whatever it costs, as the paper has it; 0: the cost
    /// always decides.
    public var runningThreshold = 0
    /// Between two reports.
    public var interval = Nanoseconds(milliseconds: 100)

    public init(engine: ServerURL) { self.engine = engine }
}
