import NIOCore
import NIOPosix
import Testing

/// An answer as a client sees it that trusts nobody.
struct Answer: Sendable {
    var status: Int
    var statusLine: String
    var fields: [(name: String, value: String)]
    /// Without the framing.
    var body: [UInt8]
    /// As it came, head and framing included.
    var raw: [UInt8]

    var text: String { String(decoding: body, as: UTF8.self) }
    func all(_ name: String) -> [String] { fields.filter { $0.name.lowercased() == name }.map(\.value) }
    subscript(name: String) -> String? { all(name).first }
    /// The error code of an answer of the gateway's own.
    var code: String? {
        guard let start = text.range(of: "\"code\":\"") else { return nil }
        return String(text[start.upperBound...].prefix { $0 != "\"" })
    }
}

extension String {
    /// So that the tests need no Foundation for it.
    fileprivate func range(of text: String) -> Range<Index>? { ranges(of: text).first }
}

struct Malformed: Error, CustomStringConvertible {
    var description: String
}

/// A connection to the gateway that sends any bytes.
final class RawClient: Sendable {
    struct State {
        var bytes: [UInt8] = []
        var isEnded = false
    }
    let incoming: Watched<State>
    private let channel: any Channel

    private init(_ channel: any Channel, _ incoming: Watched<State>) {
        self.channel = channel
        self.incoming = incoming
    }

    static func connect(_ port: Int, receiveBuffer: Int? = nil) async throws -> RawClient {
        let incoming = Watched(State())
        var bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Receiver(incoming: incoming))
                }
            }
        if let receiveBuffer {
            bootstrap = bootstrap.channelOption(.socketOption(.so_rcvbuf), value: .init(receiveBuffer))
        }
        return RawClient(try await bootstrap.connect(host: "127.0.0.1", port: port).get(), incoming)
    }

    private final class Receiver: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        let incoming: Watched<State>
        init(incoming: Watched<State>) { self.incoming = incoming }
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = unwrapInboundIn(data)
            incoming.update { $0.bytes += bytes.readableBytesView }
        }
        func channelInactive(context: ChannelHandlerContext) { incoming.update { $0.isEnded = true } }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    func send(_ bytes: [UInt8]) { channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }
    func send(_ text: String) { channel.writeAndFlush(ByteBuffer(string: text), promise: nil) }
    func close() { channel.close(promise: nil) }
    func setReading(_ reads: Bool) async throws { try await channel.setOption(.autoRead, value: reads).get() }
    var isEnded: Bool { incoming.read(\.isEnded) }

    /// A POST with this body.
    func post(_ path: String = "/v1/chat/completions", _ body: String = chat("hello"), fields: String = "") {
        send(
            "POST \(path) HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\n\(fields)content-length: \(body.utf8.count)\r\n\r\n\(body)"
        )
    }

    func get(_ path: String, fields: String = "") { send("GET \(path) HTTP/1.1\r\nHost: localhost\r\n\(fields)\r\n") }

    /// The next whole answer.
    func answer(toHEAD: Bool = false, within seconds: Int64 = 10) async throws -> Answer {
        try await incoming.wait("an answer", within: seconds) { state -> Result<Answer, Malformed>? in
            do throws(Malformed) {
                guard let (answer, length) = try parseAnswer(state.bytes, isEnded: state.isEnded, toHEAD: toHEAD) else {
                    return state.isEnded
                        ? .failure(
                            Malformed(
                                description:
                                    "the connection ended behind \(state.bytes.count) bytes: \(String(decoding: state.bytes.prefix(300), as: UTF8.self))"
                            )) : nil
                }
                state.bytes.removeFirst(length)
                return .success(answer)
            } catch {
                return .failure(error)
            }
        }.get()
    }

    /// The head of the next answer, taken; what follows stays.
    @discardableResult func head() async throws -> Answer {
        try await incoming.wait("a head") { state -> Result<Answer, Malformed>? in
            guard let end = state.bytes.firstRange(of: Array("\r\n\r\n".utf8)) else {
                return state.isEnded ? .failure(Malformed(description: "the connection ended before a head")) : nil
            }
            defer { state.bytes.removeFirst(end.upperBound) }
            do throws(Malformed) { return .success(try parseHead(Array(state.bytes[..<end.upperBound]))) } catch {
                return .failure(error)
            }
        }.get()
    }

    /// Exactly this comes next.
    func expect(_ text: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let wanted = Array(text.utf8)
        let got = try await incoming.wait("\(wanted.count) bytes") { state -> [UInt8]? in
            guard state.bytes.count >= wanted.count || state.isEnded else { return nil }
            defer { state.bytes.removeFirst(min(wanted.count, state.bytes.count)) }
            return Array(state.bytes.prefix(wanted.count))
        }
        #expect(String(decoding: got, as: UTF8.self) == text, sourceLocation: sourceLocation)
    }

    /// Waits for the end of the connection; gives what came and was not taken.
    @discardableResult func end(within seconds: Int64 = 10) async throws -> [UInt8] {
        try await incoming.wait("the end of the connection", within: seconds) { $0.isEnded ? $0.bytes : nil }
    }
}

/// A chat request's body.
func chat(_ text: String, more: String = "") -> String {
    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\(text)\"}]\(more)}"
}

extension [UInt8] {
    func firstRange(of wanted: [UInt8]) -> Range<Int>? {
        guard count >= wanted.count else { return nil }
        var start = 0
        while start + wanted.count <= count, let first = self[start...].firstIndex(of: wanted[0]) {
            guard first + wanted.count <= count else { return nil }
            if self[first..<first + wanted.count].elementsEqual(wanted) { return first..<first + wanted.count }
            start = first + 1
        }
        return nil
    }
}

private func parseHead(_ bytes: [UInt8]) throws(Malformed) -> Answer {
    let text = String(decoding: bytes, as: UTF8.self)
    guard text.hasSuffix("\r\n\r\n") else { throw Malformed(description: "no end of head") }
    var lines: [String] = []
    var line: [UInt8] = []
    for byte in bytes.dropLast(2) {
        line.append(byte)
        guard line.suffix(2).elementsEqual([13, 10]) else { continue }
        lines.append(String(decoding: line.dropLast(2), as: UTF8.self))
        line = []
    }
    guard let first = lines.first, first.hasPrefix("HTTP/1.1 "), let status = Int(first.dropFirst(9).prefix(3)) else {
        throw Malformed(description: "no status line: \(text)")
    }
    var fields: [(name: String, value: String)] = []
    for line in lines.dropFirst() {
        let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, !line.utf8.contains(13), !line.utf8.contains(10), !line.utf8.contains(0) else {
            throw Malformed(description: "a field line: \(line)")
        }
        fields.append((String(parts[0]), String(parts[1].drop { $0 == " " })))
    }
    return Answer(status: status, statusLine: first, fields: fields, body: [], raw: bytes)
}

/// Nil: not complete yet.
private func parseAnswer(_ bytes: [UInt8], isEnded: Bool, toHEAD: Bool) throws(Malformed) -> (Answer, length: Int)? {
    guard let end = bytes.firstRange(of: Array("\r\n\r\n".utf8))?.upperBound else { return nil }
    var answer = try parseHead(Array(bytes[..<end]))
    let lengths = answer.all("content-length")
    let codings = answer.all("transfer-encoding")
    guard lengths.count <= 1, codings.count <= 1, lengths.isEmpty || codings.isEmpty else {
        throw Malformed(description: "two framings: \(answer.fields)")
    }
    var at = end
    if toHEAD || answer.status < 200 || answer.status == 204 || answer.status == 304 {
        // No body.
    } else if codings == ["chunked"] {
        while true {
            guard let line = Array(bytes[at...]).firstRange(of: [13, 10]) else { return nil }
            let digits = String(decoding: bytes[at..<at + line.lowerBound], as: UTF8.self).prefix {
                $0 != ";" && $0 != " "
            }
            guard let size = Int(digits, radix: 16) else { throw Malformed(description: "a chunk's size: \(digits)") }
            at += line.upperBound
            if size == 0 { break }
            guard bytes.count >= at + size + 2 else { return nil }
            answer.body += bytes[at..<at + size]
            at += size + 2
            guard bytes[at - 2] == 13, bytes[at - 1] == 10 else { throw Malformed(description: "the end of a chunk") }
        }
        while true {
            guard let line = Array(bytes[at...]).firstRange(of: [13, 10]) else { return nil }
            at += line.upperBound
            if line.isEmpty || line.lowerBound == 0 { break }
        }
    } else if let length = lengths.first {
        guard let length = Int(length) else { throw Malformed(description: "content-length: \(length)") }
        guard bytes.count >= at + length else { return nil }
        answer.body = Array(bytes[at..<at + length])
        at += length
    } else {
        guard isEnded else { return nil }
        answer.body = Array(bytes[at...])
        at = bytes.count
    }
    answer.raw = Array(bytes[..<at])
    return (answer, at)
}
