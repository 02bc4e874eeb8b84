import GotoniCore
import GotoniEngines
public import NIOCore
import Synchronization

/// A request that somebody else carries, such as Envoy: he is told where to take it, and tells what comes of it. Made by
/// `PickConnection.pick`; on its event loop only. Ends by `finish`, `failed` or `cancel`, of which the first counts, or by a
/// refusal.
public final class Pick: Placement {
    private let authorization: UpstreamRequest.Authorization
    /// Nil once it has been called.
    private var decided: ((PickVerdict) -> Void)?
    private let onEnd: (Pick) -> Void

    init(
        loop: LoopContext, path: Substring, endpoint: Endpoint?, body: ByteBuffer, requestID: String,
        authorization: UpstreamRequest.Authorization, start: Nanoseconds, decided: @escaping (PickVerdict) -> Void,
        onEnd: @escaping (Pick) -> Void
    ) {
        self.authorization = authorization
        self.decided = decided
        self.onEnd = onEnd
        super.init(
            loop: loop, path: path, endpoint: endpoint, hops: 0, body: body, requestID: requestID, start: start)
    }

    // MARK: Where it goes

    override func begin(at server: Server) {
        sentAt = Clock.now()
        if let queuedAt { record.queue = sentAt.since(queuedAt).milliseconds }
        _ = trace?.attempts(server, from: sentAt)
        trace?.sent(at: sentAt)
        stage = .awaiting
        let key: PickVerdict.Authorization =
            switch authorization {
            case .fromClient: .keep
            case .none: .remove
            case .own(let key): .replace("Bearer \(key)")
            }
        var fields = [(name: "x-request-id", value: requestID)]
        if queuedAt != nil { fields.append((name: "x-queue-wait-ms", value: "\(Int(record.queue.rounded()))")) }
        decide(.go(to: server.url.defaultName, authorization: key, answerFields: fields))
    }

    override func answer(_ problem: Problem) { decide(.refuse(LocalAnswer(problem), requestID: requestID)) }

    private func decide(_ verdict: PickVerdict) {
        let decided = decided
        self.decided = nil
        decided?(verdict)
    }

    // MARK: What comes of it

    /// The server's answer has begun. `hasContent`: there will be some, and `feed` will not be called.
    public func answerBegan(status: Int, hasContent: Bool) {
        guard stage == .awaiting else { return }
        let now = Clock.now()
        trace?.gotAnswer(status)
        self.status = status
        if status >= 400, let server {
            let failure = Failure.status(status)
            dispatcher.blame(server, FailurePolicy.blame(failure), for: failure, now: now)
        }
        stage = .streaming
        if hasContent {
            sawFirstByte(isWhole: false, now: now)
        } else if endpoint != nil {
            usage = loop.takeUsageReader()
        }
    }

    /// A part of the answer. `isLast`: nothing follows.
    public func feed(_ bytes: UnsafeRawBufferPointer, isLast: Bool) {
        guard stage == .streaming else { return }
        if bytes.count > 0 { sawFirstByte(isWhole: isLast, now: Clock.now()) }
        usage?.feed(bytes)
        dispatcher.counters.bytesOut.add(UInt64(bytes.count), ordering: .relaxed)
    }

    /// The answer is complete.
    public func finish() {
        guard stage == .streaming else { return cancel() }
        served(now: Clock.now())
    }

    /// The carrier got no answer there, and answers for the server.
    public func failed(_ failure: CarrierFailure) {
        guard stage == .awaiting, let server else { return cancel() }
        trace?.failed("\(failure)")
        dispatcher.blame(server, FailurePolicy.blame(failure.failure), for: failure.failure, now: Clock.now())
        giveUp(failure == .timeout ? .upstreamTimeout : .upstreamFailed)
    }

    /// The client left, or the carrier did.
    public override func cancel() { super.cancel() }

    override func ended() { onEnd(self) }

    override func tick(now: Nanoseconds) {
        switch stage {
        // Its carrier has the deadlines: as long as he says nothing it is alive.
        case .awaiting, .streaming: signOfLife(now)
        default: super.tick(now: now)
        }
    }
}

/// What is to become of a request.
public enum PickVerdict {
    public enum Authorization: Equatable, Sendable {
        case keep
        case remove
        case replace(String)
    }

    /// ADDRESS:PORT, IPv6 in brackets; what becomes of its Authorization field; and what the answer has beside its server's.
    case go(to: String, authorization: Authorization, answerFields: [(name: String, value: String)])
    /// It is to be answered so.
    case refuse(status: Int, fields: [(name: String, value: String)], body: ByteBuffer)

    static func refuse(_ answer: LocalAnswer, requestID: String) -> PickVerdict {
        let fields = [("content-type", "\(answer.contentType)")] + answer.fields + [("x-request-id", requestID)]
        return .refuse(status: answer.status, fields: fields.map { (name: $0.0, value: $0.1) }, body: answer.body)
    }
}

/// Why a carrier has no answer.
public enum CarrierFailure: Equatable, Sendable, CaseIterable {
    /// Nobody listens there.
    case refused
    /// No connection, or no answer, in time.
    case timeout
    /// The connection ended before an answer began.
    case closed

    var failure: Failure {
        switch self {
        case .refused: .connect
        case .timeout: .connectTimeout
        case .closed: .closedEarly
        }
    }
}
