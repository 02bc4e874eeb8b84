import GotoniCore
import NIOConcurrencyHelpers

/// The table behind one decision, and what was decided.
struct DecisionRecord: Sendable {
    /// With more servers than this no table is kept: only what was chosen.
    static let mostServers = 64

    var policy = PolicyID.gorgo
    var reason = Reason.policy
    /// Decided with weights that the tuner has on trial.
    var isTrial = false
    var chosen: ServerID?
    var time = Nanoseconds(0)
    var promptTokens = 0
    var matchedTokens = 0
    /// Expected prefill and wait on the chosen server, without the round trip, in nanoseconds.
    var predictedPrefill: Int64 = 0
    /// From the decision to the first token: nanoseconds as predicted, whatever the policy, and milliseconds as it was. Nil:
    /// an answer that came whole, or none, has no first token that teaches anything.
    var predictedFirstToken: Int64 = 0
    var firstToken: Double?
    var queuedTokens: UInt64 = 0
    var runningTokens: UInt64 = 0
    var candidates: [Candidate] = []

    mutating func decided(_ decision: Decision, _ rows: [Candidate], now: Nanoseconds) {
        policy = decision.policy
        reason = decision.reason
        isTrial = decision.isTrial
        chosen = decision.server
        time = now
        promptTokens = decision.promptTokens
        matchedTokens = decision.matchedTokens
        predictedPrefill = decision.cost.total - decision.cost.rtt
        predictedFirstToken = decision.prediction.firstToken
        firstToken = nil
        candidates = rows
        if let row = rows.first(where: { $0.server == decision.server }) {
            queuedTokens = row.load.queuedTokens
            runningTokens = row.load.runningTokens
        }
    }
}

/// What became of one request. Never its text.
struct RequestRecord: Sendable {
    var requestID = ""
    /// Seconds since 1970.
    var time = 0.0
    var promptBytes = 0
    var tokens = 0
    var tokensFrom = TokenOrigin.estimate
    /// Of the prompt, as the engine counted them.
    var engineTokens: Int?
    var cachedTokens: Int?
    var outputTokens: Int?
    /// Milliseconds. Nil: it never came to that.
    var network: Double?
    var ttft: Double?
    var total: Double?
    var queue = 0.0
    var server = ""
    var serverHost = ""
    var status = 0
    var isSuccess = false
    var error = ""
    var retries = 0
    var decision = DecisionRecord()
}

/// The last requests, in a ring.
final class RequestLog: Sendable {
    private struct State: Sendable {
        var isOn: Bool
        var ring: Ring<RequestRecord>
    }
    private let state: NIOLockedValueBox<State>

    init(capacity: Int, isOn: Bool) {
        state = NIOLockedValueBox(State(isOn: isOn, ring: Ring(capacity: capacity)))
    }

    var isOn: Bool {
        get { state.withLockedValue(\.isOn) }
        set { state.withLockedValue { $0.isOn = newValue } }
    }

    func add(_ record: RequestRecord) {
        state.withLockedValue { if $0.isOn { $0.ring.add(record) } }
    }

    /// Oldest first.
    var records: [RequestRecord] { state.withLockedValue { $0.ring.elements } }

    /// Gives how many there were.
    func clear() -> Int {
        state.withLockedValue {
            let count = $0.ring.elements.count
            $0.ring = Ring(capacity: $0.ring.capacity)
            return count
        }
    }
}

/// The last decisions with their tables, for /proxy/explain. Kept also while the request log is off.
final class DecisionLog: Sendable {
    struct Entry: Sendable {
        var requestID: String
        var time: Double
        var queueMs: Double
        /// Nil: no answer began.
        var ttftMs: Double?
        var decision: DecisionRecord
    }
    private let ring = NIOLockedValueBox(Ring<Entry>(capacity: 100))

    func add(_ entry: Entry) { ring.withLockedValue { $0.add(entry) } }
    /// Newest first.
    func last(_ count: Int) -> [Entry] { Array(ring.withLockedValue { $0.elements }.reversed().prefix(count)) }
}

/// The last `capacity` elements. Memory grows to that and no further.
struct Ring<Element: Sendable>: Sendable {
    let capacity: Int
    private var storage: [Element] = []
    private var next = 0

    init(capacity: Int) { self.capacity = max(1, capacity) }

    mutating func add(_ element: Element) {
        if storage.count < capacity {
            storage.append(element)
        } else {
            storage[next] = element
            next = (next + 1) % capacity
        }
    }

    /// Oldest first.
    var elements: [Element] { Array(storage[next...]) + storage[..<next] }
}
