import GotoniCore
import NIOCore

/// A request of the gateway's own: metrics, probes, tokens. On the event loop of its pool.
final class Fetch: UpstreamUser {
    struct Answer: Sendable {
        var status: Int
        var body: ByteBuffer
        /// From sending to the first byte of the answer; nil on a connection's first request, which may contain a TLS
        /// handshake.
        var roundTrip: Nanoseconds?
    }

    enum FetchError: Error, Equatable {
        case refused
        case unreachable
        case timeout
        case closed
        case tooLarge
    }

    static let mostBytes = 8 << 20

    private let promise: EventLoopPromise<Answer>
    private let content: ByteBuffer?
    private var reader = ResponseReader()
    private var head: ResponseReader.Head?
    private var pending = ByteBuffer()
    private var body = ByteBuffer()
    private var connection: UpstreamConnection?
    private var sentAt = Nanoseconds(0)
    private var firstByteAt: Nanoseconds?
    private var isFirst = true
    private var isDone = false
    private var deadline: Scheduled<Void>?
    /// A connection holds its user weakly.
    private var keep: Fetch?

    /// Begins GET `path`, or POST with a body; `answer` fails with `FetchError`. Call on the loop.
    init(
        _ path: String, posting body: ByteBuffer? = nil, from pool: UpstreamPool, on loop: any EventLoop,
        timeout: Nanoseconds, apiKey: String?
    ) {
        content = body
        promise = loop.makePromise()
        keep = self
        deadline = loop.assumeIsolated().scheduleTask(in: timeout.timeAmount) { self.fail(.timeout) }
        if let idle = pool.take() {
            send(path, on: idle, pool, apiKey)
        } else {
            pool.connect { result in
                switch result {
                case .success(let connection):
                    if self.isDone { connection.close() } else { self.send(path, on: connection, pool, apiKey) }
                case .failure(let error): self.fail(Failure(connecting: error) == .connect ? .refused : .unreachable)
                }
            }
        }
    }

    var answer: EventLoopFuture<Answer> { promise.futureResult }

    func cancel() { fail(.closed) }

    private func send(_ path: String, on connection: UpstreamConnection, _ pool: UpstreamPool, _ apiKey: String?) {
        self.connection = connection
        connection.user = self
        isFirst = connection.served == 0
        let key = apiKey.map { "authorization: Bearer \($0)\r\n" } ?? ""
        sentAt = Clock.now()
        let length = content.map { "content-type: application/json\r\ncontent-length: \($0.readableBytes)\r\n" } ?? ""
        let head = """
            \(content == nil ? "GET" : "POST") \(pool.server.url.prefix)\(path) HTTP/1.1\r
            host: \(pool.server.url.authority)\r
            \(length)\(key)\r

            """
        connection.write(ByteBuffer(string: head), content ?? ByteBuffer())
        connection.flush()
    }

    func upstreamRead(_ bytes: ByteBuffer) {
        if firstByteAt == nil { firstByteAt = Clock.now() }
        var bytes = bytes
        do throws(ResponseError) {
            if head == nil {
                pending.writeBuffer(&bytes)
                guard let head = try reader.head(from: &pending, toHEAD: false) else { return }
                self.head = head
                bytes = pending
            }
            let consumed = try bytes.withUnsafeReadableBytes { raw in
                Result { () throws(ResponseError) in try reader.body(raw) { body.writeBytes($0) } }
            }.get()
            guard body.readableBytes <= Self.mostBytes else { return fail(.tooLarge) }
            if reader.isComplete { succeed(keepsConnection: consumed == bytes.readableBytes) }
        } catch {
            fail(.closed)
        }
    }

    func upstreamClosed(isClean: Bool) {
        connection = nil
        if reader.endsWithConnection, isClean { succeed(keepsConnection: false) } else { fail(.closed) }
    }

    private func succeed(keepsConnection: Bool) {
        guard !isDone, let head else { return }
        isDone = true
        deadline?.cancel()
        if keepsConnection, head.keepAlive { connection?.release(now: Clock.now()) } else { connection?.close() }
        connection = nil
        keep = nil
        promise.succeed(Answer(status: head.status, body: body, roundTrip: isFirst ? nil : firstByteAt?.since(sentAt)))
    }

    private func fail(_ error: FetchError) {
        guard !isDone else { return }
        isDone = true
        deadline?.cancel()
        connection?.close()
        connection = nil
        keep = nil
        promise.fail(error)
    }
}
