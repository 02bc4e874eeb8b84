import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// HTTP/1.1, one request for each connection.
enum HTTP {
    /// Where somebody listens.
    enum Place: Sendable, Equatable {
        /// A Unix socket's path.
        case socket(String)
        case server(host: String, port: Int, isTLS: Bool)
    }

    enum Method: String, Sendable {
        case get = "GET"
        case post = "POST"
        case patch = "PATCH"
        case delete = "DELETE"
    }

    struct Answer: Sendable {
        var status: UInt
        var body: Data
        /// What time it is there, as the field Date says.
        var date: String?
    }

    enum Failure: Error {
        /// Nobody listens there, or who did has gone.
        case closed
        /// The server's certificate is not for it, or from nobody known here.
        case certificate
        case timeout
        case tooLarge
    }

    /// Ids of a million tokens are 8 MB.
    fileprivate static let mostBytes = 256 << 20

    static func ask(
        _ method: Method, _ path: String, _ body: Data? = nil, fields: [(String, String)] = [], at place: Place,
        limit: Duration
    ) async throws(Failure) -> Answer {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let promise = loop.makePromise(of: Answer.self)
        var head = HTTPRequestHead(version: .http1_1, method: HTTPMethod(rawValue: method.rawValue), uri: path)
        head.headers = ["host": place.authority, "connection": "close"]
        for (name, value) in fields { head.headers.add(name: name, value: value) }
        if let body { head.headers.add(name: "content-length", value: "\(body.count)") }
        let request = head
        let bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(TimeAmount(limit))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if case .server(let host, _, true) = place { try pipeline.addHandler(tls(to: host)) }
                    try pipeline.addHTTPClientHandlers()
                    try pipeline.addHandler(Collector(request, body, promise))
                }
            }
        let connected =
            switch place {
            case .socket(let path): bootstrap.connect(unixDomainSocketPath: path)
            case .server(let host, let port, _): bootstrap.connect(host: host, port: port)
            }
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

    /// With the system's certificates. Of a server that is named by its address the certificate must have that.
    private static func tls(to host: String) throws -> NIOSSLClientHandler {
        let context = try NIOSSLContext(configuration: .makeClientConfiguration())
        let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
        return try NIOSSLClientHandler(context: context, serverHostname: isAddress ? nil : host)
    }
}

extension HTTP.Place: CustomStringConvertible {
    /// http://HOST[:PORT] or https://HOST[:PORT]; what is behind that may be "/" alone. Nil: it is none.
    init?(url: String) {
        guard let parts = URLComponents(string: url), let host = parts.host, !host.isEmpty,
            parts.scheme == "http" || parts.scheme == "https", parts.path.isEmpty || parts.path == "/",
            parts.query == nil, parts.user == nil, parts.fragment == nil
        else { return nil }
        let isTLS = parts.scheme == "https"
        let name = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
        self = .server(host: name, port: parts.port ?? (isTLS ? 443 : 80), isTLS: isTLS)
    }

    /// As the Host field has it.
    fileprivate var authority: String {
        switch self {
        case .socket: "localhost"
        case .server(let host, let port, let isTLS):
            (host.contains(":") ? "[\(host)]" : host) + (port == (isTLS ? 443 : 80) ? "" : ":\(port)")
        }
    }

    var description: String {
        switch self {
        case .socket(let path): "unix:\(path)"
        case .server(_, _, let isTLS): (isTLS ? "https://" : "http://") + authority
        }
    }
}

/// Sends a request as soon as it can, and collects the answer.
private final class Collector: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let head: HTTPRequestHead
    private let body: Data?
    private let promise: EventLoopPromise<HTTP.Answer>
    private var answer = HTTP.Answer(status: 0, body: Data())

    init(_ head: HTTPRequestHead, _ body: Data?, _ promise: EventLoopPromise<HTTP.Answer>) {
        (self.head, self.body, self.promise) = (head, body, promise)
    }

    func channelActive(context: ChannelHandlerContext) {
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if let body { context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: body)))), promise: nil) }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): (answer.status, answer.date) = (head.status.code, head.headers.first(name: "date"))
        case .body(let bytes):
            answer.body.append(contentsOf: bytes.readableBytesView)
            if answer.body.count > HTTP.mostBytes { promise.fail(HTTP.Failure.tooLarge) }
        case .end: promise.succeed(answer)
        }
    }

    func channelInactive(context: ChannelHandlerContext) { promise.fail(HTTP.Failure.closed) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        promise.fail(error is NIOSSLError || error is NIOSSLExtraError ? HTTP.Failure.certificate : .closed)
    }
}
