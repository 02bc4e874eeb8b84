import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix

/// HTTP/1.1 on a Unix socket, one request for each connection.
enum UnixHTTP {
    struct Answer: Sendable {
        var status: UInt
        var body: Data
    }

    enum Failure: Error {
        /// Nobody listens there, or who did has gone.
        case closed
        case timeout
        case tooLarge
    }

    /// Ids of a million tokens are 8 MB.
    fileprivate static let mostBytes = 256 << 20

    /// POST where there is a body, otherwise GET.
    static func ask(_ path: String, _ body: Data? = nil, at socket: String, limit: Duration) async throws(Failure)
        -> Answer
    {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let promise = loop.makePromise(of: Answer.self)
        let connected = ClientBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHTTPClientHandlers()
                    try channel.pipeline.syncOperations.addHandler(Collector(path, body, promise))
                }
            }
            .connect(unixDomainSocketPath: socket)
        connected.whenFailure { _ in promise.fail(Failure.closed) }
        let deadline = loop.scheduleTask(in: TimeAmount(limit)) { promise.fail(Failure.timeout) }
        defer {
            deadline.cancel()
            connected.whenSuccess { $0.close(promise: nil) }
        }
        do {
            return try await promise.futureResult.get()
        } catch {
            throw error as? Failure ?? .closed
        }
    }
}

/// Sends a request as soon as it can, and collects the answer.
private final class Collector: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let path: String
    private let body: Data?
    private let promise: EventLoopPromise<UnixHTTP.Answer>
    private var answer = UnixHTTP.Answer(status: 0, body: Data())

    init(_ path: String, _ body: Data?, _ promise: EventLoopPromise<UnixHTTP.Answer>) {
        (self.path, self.body, self.promise) = (path, body, promise)
    }

    func channelActive(context: ChannelHandlerContext) {
        var head = HTTPRequestHead(version: .http1_1, method: body == nil ? .GET : .POST, uri: path)
        head.headers = ["host": "localhost", "connection": "close"]
        if let body { head.headers.add(contentsOf: ["content-length": "\(body.count)"]) }
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if let body { context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: body)))), promise: nil) }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): answer.status = head.status.code
        case .body(let bytes):
            answer.body.append(contentsOf: bytes.readableBytesView)
            if answer.body.count > UnixHTTP.mostBytes { promise.fail(UnixHTTP.Failure.tooLarge) }
        case .end: promise.succeed(answer)
        }
    }

    func channelInactive(context: ChannelHandlerContext) { promise.fail(UnixHTTP.Failure.closed) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { promise.fail(UnixHTTP.Failure.closed) }
}
