import NIOCore
import NIOHTTP1

/// One request, complete.
struct Request {
    var head: HTTPRequestHead
    var body: ByteBuffer
    /// The first of its connection.
    var isFirst: Bool

    /// Without what comes behind "?".
    var path: Substring { head.uri.prefix { $0 != "?" } }
    var isChunkable: Bool { head.version.major == 1 && head.version.minor >= 1 }
}

/// What follows a write.
enum Ending {
    /// More of the same answer.
    case more
    /// The answer is complete.
    case done(keepAlive: Bool)
    /// The connection is closed in the middle of the answer.
    case cut
}

/// One client's connection: collects requests, and gives them to the server one at a time.
///
/// Answers are written as bytes, not through NIO's encoder: a token is one small write, and there may be 40,000 a
/// second. Runs on the event loop, like all of the server.
final class Connection: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = ByteBuffer

    /// Requests that may wait for the answer to the one before (pipelining), together no longer than one body may be.
    private static let mostWaiting = 16

    private let server: EngineServer
    private var context: ChannelHandlerContext?
    private var head: HTTPRequestHead?
    private var body = ByteBuffer()
    private var waiting: [Request] = []
    private var isFirst = true
    /// A request was refused half-read: what still comes is not looked at.
    private var isDone = false
    private(set) var isLoopback = false
    /// The request that is being answered.
    private(set) var exchange: Exchange?
    /// Of the distance: when the latest write leaves, and writes that have not left.
    var lastDue: UInt64 = 0
    var writesUnderWay = 0

    init(_ server: EngineServer) { self.server = server }

    // MARK: Coming in

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        let address = context.remoteAddress?.ipAddress ?? ""
        isLoopback = address.hasPrefix("127.") || address == "::1" || address.hasPrefix("::ffff:127.")
        server.opened(self)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isDone else { return }
        switch unwrapInboundIn(data) {
        case .head(let head): begin(head)
        case .body(let bytes): collect(bytes)
        case .end: end()
        }
    }

    private func begin(_ head: HTTPRequestHead) {
        self.head = head
        body = ByteBuffer()
        if let length = head.headers.first(name: "content-length").flatMap({ Int($0) }) {
            guard length <= server.settings.maxBodyBytes else {
                return refuse(.payloadTooLarge, "the body is too large")
            }
            // What is announced need not come: memory is taken as it does.
            body.reserveCapacity(min(length, 1 << 20))
        }
        if head.headers.contains(name: "expect"), exchange == nil {
            write(ByteBuffer(string: "HTTP/1.1 100 Continue\r\n\r\n"), .more)
        }
    }

    private func collect(_ bytes: ByteBuffer) {
        let held = waiting.reduce(body.readableBytes) { $0 + $1.body.readableBytes }
        guard held + bytes.readableBytes <= server.settings.maxBodyBytes else {
            return refuse(.payloadTooLarge, "the body is too large")
        }
        body.writeImmutableBuffer(bytes)
    }

    private func end() {
        guard let head else { return }
        let request = Request(head: head, body: body, isFirst: isFirst)
        (self.head, body, isFirst) = (nil, ByteBuffer(), false)
        if exchange == nil {
            exchange = server.receive(request, self)
        } else if waiting.count < Self.mostWaiting {
            waiting.append(request)
        } else {
            close()
        }
    }

    /// The request cannot be read to its end, so the connection cannot go on.
    private func refuse(_ status: HTTPResponseStatus, _ text: String) {
        isDone = true
        guard exchange == nil, let context else { return close() }
        let channel = context.channel
        // What the client still sends is read for a second and dropped: closed at once, it would lose the answer.
        context.writeAndFlush(wrapOutboundOut(Reply.error(status, text).bytes(keepAlive: false))).whenComplete { _ in
            channel.close(mode: .output, promise: nil)
            channel.eventLoop.scheduleTask(in: .seconds(1)) { channel.close(promise: nil) }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? HTTPParserError, !isDone else { return close() }
        if error == .headerOverflow {
            refuse(.requestHeaderFieldsTooLarge, "the header is too large")
        } else {
            refuse(.badRequest, "this is not HTTP")
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        waiting.removeAll()
        server.closed(self)
        exchange = nil
    }

    // MARK: Going out

    /// Writes now. Nothing happens if the connection is closed.
    func write(_ bytes: ByteBuffer, _ ending: Ending) {
        guard let context else { return }
        switch ending {
        case .more:
            context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
        case .done(true) where !server.isStopping:
            exchange = nil
            context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
            if !waiting.isEmpty, self.context != nil { exchange = server.receive(waiting.removeFirst(), self) }
        case .done, .cut:
            isDone = true
            exchange = nil
            waiting.removeAll()
            let channel = context.channel
            context.writeAndFlush(wrapOutboundOut(bytes)).whenComplete { _ in channel.close(promise: nil) }
        }
    }

    /// A client that does not read must not fill our memory.
    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if !context.channel.isWritable { close() }
    }

    func close() { context?.close(promise: nil) }
}
