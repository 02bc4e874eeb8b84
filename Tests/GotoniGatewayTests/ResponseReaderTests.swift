import GotoniCore
import NIOCore
import TestSupport
import Testing

@testable import GotoniGateway

@Suite struct ResponseReaderTests {
    /// What reading all of an answer gave.
    struct Outcome: Equatable {
        var head: Summary?
        var payload: [UInt8] = []
        /// Bytes of the body that belong to the answer, as they are passed on.
        var passed: [UInt8] = []
        var isComplete = false
        var endsWithConnection = false
        var error: ResponseError?
        /// Bytes behind the end.
        var left: [UInt8] = []
    }

    struct Summary: Equatable {
        var status: Int
        var framing: ResponseReader.Framing
        var keepAlive: Bool
        var isEventStream: Bool
        var retryAfter: Int?
        var fields: String

        init(_ head: ResponseReader.Head) {
            (status, framing, keepAlive) = (head.status, head.framing, head.keepAlive)
            (isEventStream, retryAfter) = (head.isEventStream, head.retryAfter)
            fields = String(buffer: head.fields)
        }
    }

    /// Feeds `bytes` in reads of these sizes, over and over, as the data path does.
    static func read(_ bytes: [UInt8], sizes: [Int], toHEAD: Bool = false) -> Outcome {
        var reader = ResponseReader()
        var outcome = Outcome()
        var pending = ByteBuffer()
        var (at, turn) = (0, 0)
        while at < bytes.count, outcome.error == nil {
            let end = min(bytes.count, at + max(1, sizes[turn % sizes.count]))
            var piece = ByteBuffer(bytes: bytes[at..<end])
            (at, turn) = (end, turn + 1)
            do throws(ResponseError) {
                if outcome.head == nil {
                    pending.writeBuffer(&piece)
                    guard let head = try reader.head(from: &pending, toHEAD: toHEAD) else { continue }
                    outcome.head = Summary(head)
                    piece = pending
                }
                // In memory of exactly this size, so that a sanitizer sees a read beyond it.
                let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: piece.readableBytes, alignment: 1)
                defer { copy.deallocate() }
                copy.copyBytes(from: piece.readableBytesView)
                let consumed = try reader.body(UnsafeRawBufferPointer(copy)) { outcome.payload += $0 }
                #expect(consumed <= copy.count && (consumed == copy.count || reader.isComplete))
                outcome.passed += copy[..<consumed]
                outcome.left += copy[consumed...]
            } catch {
                outcome.error = error
            }
        }
        outcome.isComplete = reader.isComplete
        outcome.endsWithConnection = reader.endsWithConnection
        return outcome
    }

    static func read(_ text: String, toHEAD: Bool = false) -> Outcome {
        read(Array(text.utf8), sizes: [.max / 2], toHEAD: toHEAD)
    }

    // MARK: Heads

    struct HeadCase: CustomTestStringConvertible {
        var name: String
        var text: String
        var toHEAD = false
        /// Nil: malformed.
        var framing: ResponseReader.Framing?
        var keepAlive = true
        var status = 200
        var testDescription: String { name }

        init(
            _ name: String, _ text: String, _ framing: ResponseReader.Framing?, keepAlive: Bool = true,
            status: Int = 200,
            toHEAD: Bool = false
        ) {
            (self.name, self.text, self.framing, self.keepAlive) = (name, text, framing, keepAlive)
            (self.status, self.toHEAD) = (status, toHEAD)
        }
    }

    private static func ok(_ fields: String) -> String { "HTTP/1.1 200 OK\r\n\(fields)\r\n" }

    static let heads: [HeadCase] = [
        // The status line.
        HeadCase("plain", ok("Content-Length: 5\r\n"), .length(5)),
        HeadCase("no reason, with its space", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", .length(0)),
        HeadCase("no reason and no space", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", .length(0)),
        HeadCase(
            "a reason of many words", "HTTP/1.1 404 Not At All Found\r\nContent-Length: 0\r\n\r\n", .length(0),
            status: 404),
        HeadCase("status 999", "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n", .length(0), status: 999),
        HeadCase("status 099", "HTTP/1.1 099 X\r\n\r\n", nil),
        HeadCase("status of two digits", "HTTP/1.1 20 OK\r\n\r\n", nil),
        HeadCase("status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", nil),
        HeadCase("status with a sign", "HTTP/1.1 +20 OK\r\n\r\n", nil),
        HeadCase("status in hex", "HTTP/1.1 0x2 OK\r\n\r\n", nil),
        HeadCase("HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", nil),
        HeadCase("HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", nil),
        HeadCase("HTTP/0.9", "HTTP/0.9 200 OK\r\n\r\n", nil),
        HeadCase("HTTP/11", "HTTP/11 200 OK\r\n\r\n", nil),
        HeadCase("two spaces", "HTTP/1.1  200 OK\r\n\r\n", nil),
        HeadCase("a tab", "HTTP/1.1\t200 OK\r\n\r\n", nil),
        HeadCase("another protocol", "ICY 200 OK\r\n\r\n", nil),
        HeadCase("an empty line first", "\r\nHTTP/1.1 200 OK\r\n\r\n", nil),
        HeadCase("a space first", " HTTP/1.1 200 OK\r\n\r\n", nil),
        // Framing by length.
        HeadCase("zero", ok("Content-Length: 0\r\n"), .length(0)),
        HeadCase("blanks around", ok("Content-Length: \t 7 \t\r\n"), .length(7)),
        HeadCase("leading zeros", ok("Content-Length: 0007\r\n"), .length(7)),
        HeadCase("two equal lengths", ok("Content-Length: 7\r\nContent-Length: 7\r\n"), .length(7)),
        HeadCase("two different lengths", ok("Content-Length: 7\r\nContent-Length: 8\r\n"), nil),
        HeadCase("a list of lengths", ok("Content-Length: 7, 7\r\n"), nil),
        HeadCase("negative", ok("Content-Length: -1\r\n"), nil),
        HeadCase("with a plus", ok("Content-Length: +1\r\n"), nil),
        HeadCase("hex length", ok("Content-Length: 0x10\r\n"), nil),
        HeadCase("a fraction", ok("Content-Length: 1.0\r\n"), nil),
        HeadCase("a blank inside", ok("Content-Length: 1 0\r\n"), nil),
        HeadCase("empty", ok("Content-Length:\r\n"), nil),
        HeadCase("fifteen digits", ok("Content-Length: 999999999999999\r\n"), .length(999_999_999_999_999)),
        HeadCase("huge", ok("Content-Length: 9223372036854775808\r\n"), nil),
        HeadCase("huge beyond", ok("Content-Length: 99999999999999999999999999\r\n"), nil),
        // Framing by chunks.
        HeadCase("chunked", ok("Transfer-Encoding: chunked\r\n"), .chunked),
        HeadCase("in capitals", ok("TRANSFER-ENCODING: Chunked\r\n"), .chunked),
        HeadCase("chunked twice", ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), nil),
        HeadCase("a list", ok("Transfer-Encoding: chunked, chunked\r\n"), nil),
        HeadCase("gzip before it", ok("Transfer-Encoding: gzip, chunked\r\n"), nil),
        HeadCase("only gzip", ok("Transfer-Encoding: gzip\r\n"), nil),
        HeadCase("identity", ok("Transfer-Encoding: identity\r\n"), nil),
        HeadCase("length and chunks", ok("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), nil),
        HeadCase("chunks and length", ok("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), nil),
        HeadCase("a vertical tab before chunked", ok("Transfer-Encoding: \u{B}chunked\r\n"), nil),
        // By the end of the connection.
        HeadCase("neither", ok(""), .untilClose, keepAlive: false),
        HeadCase("neither, keep-alive", ok("Connection: keep-alive\r\n"), .untilClose, keepAlive: false),
        // None.
        HeadCase("204", "HTTP/1.1 204 No Content\r\n\r\n", ResponseReader.Framing.none, status: 204),
        HeadCase(
            "304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", ResponseReader.Framing.none,
            status: 304),
        HeadCase("204 with chunks", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", nil),
        HeadCase("to HEAD with a length", ok("Content-Length: 5\r\n"), ResponseReader.Framing.none, toHEAD: true),
        HeadCase(
            "to HEAD with chunks", ok("Transfer-Encoding: chunked\r\n"), ResponseReader.Framing.none, toHEAD: true),
        HeadCase("to HEAD with neither", ok(""), ResponseReader.Framing.none, toHEAD: true),
        // Whether the connection stays.
        HeadCase("close", ok("Connection: close\r\nContent-Length: 1\r\n"), .length(1), keepAlive: false),
        HeadCase(
            "Close, among others", ok("Connection: x, Close\r\nContent-Length: 1\r\n"), .length(1), keepAlive: false),
        HeadCase(
            "close in the second field", ok("Connection: x\r\nConnection: close\r\nContent-Length: 1\r\n"), .length(1),
            keepAlive: false),
        HeadCase("1.0", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", .length(1), keepAlive: false),
        HeadCase(
            "1.0 keep-alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n", .length(1)),
        HeadCase("1.0 until close", "HTTP/1.0 200 OK\r\n\r\n", .untilClose, keepAlive: false),
        // Lines.
        HeadCase("a space before the colon", ok("Content-Length : 5\r\n"), nil),
        HeadCase("a tab before the colon", ok("Content-Length\t: 5\r\n"), nil),
        HeadCase("no colon", ok("Content-Length 5\r\n"), nil),
        HeadCase("no name", ok(": 5\r\n"), nil),
        HeadCase("folded", ok("X: a\r\n b\r\nContent-Length: 5\r\n"), nil),
        HeadCase("folded by a tab", ok("X: a\r\n\tb\r\nContent-Length: 5\r\n"), nil),
        HeadCase("folded first", ok(" X: a\r\nContent-Length: 5\r\n"), nil),
        HeadCase("NUL in a value", ok("X: a\0b\r\nContent-Length: 5\r\n"), nil),
        HeadCase("NUL in a name", ok("X\0: ab\r\nContent-Length: 5\r\n"), nil),
        HeadCase("a bare CR in a value", ok("X: a\rContent-Length: 1\r\nContent-Length: 5\r\n"), nil),
        HeadCase("a bare CR in a name", ok("X\rY: a\r\nContent-Length: 5\r\n"), nil),
        HeadCase("DEL", ok("X: a\u{7F}b\r\nContent-Length: 5\r\n"), nil),
        HeadCase("not ASCII in a value", ok("X: é\r\nContent-Length: 5\r\n"), .length(5)),
        HeadCase("not ASCII in a name", ok("é: x\r\nContent-Length: 5\r\n"), nil),
        HeadCase("an empty value", ok("X:\r\nContent-Length: 5\r\n"), .length(5)),
        // A recipient may take LF alone for the end of a line; it is passed on as CRLF.
        HeadCase("bare LF", "HTTP/1.1 200 OK\nX: y\nContent-Length: 5\r\n\r\n", .length(5)),
        // Informational answers.
        HeadCase("100 first", "HTTP/1.1 100 Continue\r\n\r\n" + ok("Content-Length: 5\r\n"), .length(5)),
        HeadCase(
            "three of them",
            "HTTP/1.1 102 X\r\nA: b\r\n\r\nHTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 100 C\r\n\r\n"
                + ok("Content-Length: 5\r\n"),
            .length(5)),
        HeadCase("101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", nil),
    ]

    @Test(arguments: heads) func headsAreReadSo(_ test: HeadCase) {
        let outcome = Self.read(test.text, toHEAD: test.toHEAD)
        guard let framing = test.framing else {
            #expect(outcome.error == .malformed)
            return
        }
        #expect(outcome.error == nil)
        #expect(outcome.head?.framing == framing)
        #expect(outcome.head?.status == test.status)
        #expect(outcome.head?.keepAlive == test.keepAlive)
    }

    /// Heads that some readers would take.
    static let refused: [HeadCase] = [
        // RFC 9112, section 2.2: a bare CR would be a line's end for some clients, and the status line is passed on as it is.
        HeadCase("a bare CR in the reason", "HTTP/1.1 200 O\rX: y\r\nContent-Length: 5\r\n\r\n", nil),
        HeadCase("NUL in the reason", "HTTP/1.1 200 O\0K\r\nContent-Length: 5\r\n\r\n", nil),
        // What stands behind an empty line that ends in a bare LF is swallowed.
        HeadCase("an empty line of a bare LF", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nX: y\r\n\r\n", nil),
    ]
    @Test(arguments: refused) func headsThatMustBeRefused(_ test: HeadCase) {
        #expect(Self.read(test.text).error == .malformed)
    }

    /// RFC 9112, section 6.1: such an answer's framing is faulty; at least the connection must not be used again.
    @Test func chunksInHTTP10EndTheConnection() {
        let outcome = Self.read("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n")
        #expect(outcome.error == .malformed || outcome.head?.keepAlive == false)
    }

    @Test func whatBelongsToTheConnectionIsNotPassedOn() {
        let head = Self.read(
            """
            HTTP/1.0 200 Fine\r
            Content-Type: a/b\r
            Connection: keep-alive, X-Secret , x-other\r
            Keep-Alive: timeout=5\r
            Proxy-Authenticate: Basic\r
            Proxy-Connection: keep-alive\r
            Proxy-Authorization: x\r
            TE: trailers\r
            Upgrade: h2c\r
            x-secret: 1\r
            X-OTHER: 2\r
            X-Kept:  two  words \r
            Content-Length: 3\r
            Content-Length: 3\r
            Server: x\r
            \r

            """
        ).head
        #expect(
            head?.fields
                == "HTTP/1.1 200 Fine\r\nContent-Type: a/b\r\nX-Kept:  two  words \r\nContent-Length: 3\r\nServer: x\r\n"
        )
    }

    @Test func transferEncodingIsWrittenAnew() {
        #expect(
            Self.read(Self.ok("A: b\r\nTransfer-Encoding: chunked\r\nC: d\r\n")).head?.fields
                == "HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n")
    }

    @Test func bareLinefeedsAreNotPassedOn() {
        #expect(
            Self.read("HTTP/1.1 200 OK\nX: y\nContent-Length: 5\r\n\r\n").head?.fields
                == "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n")
    }

    @Test(arguments: [
        ("text/event-stream", true), ("Text/Event-Stream; charset=utf-8", true), ("text/event", false),
        ("application/json", false),
    ])
    func eventStreams(_ type: String, _ isEventStream: Bool) {
        #expect(Self.read(Self.ok("Content-Type: \(type)\r\n")).head?.isEventStream == isEventStream)
    }

    @Test(
        arguments: [
            ("3", 3), ("0", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", nil), ("-1", nil), ("1.5", nil), ("", nil),
        ] as [(String, Int?)])
    func retryAfter(_ value: String, _ seconds: Int?) {
        #expect(Self.read(Self.ok("Retry-After: \(value)\r\n")).head?.retryAfter == seconds)
    }

    @Test func longHeadsAreRefused() {
        let most = ResponseReader.longestHead
        func head(_ length: Int) -> String {
            let frame = "HTTP/1.1 200 OK\r\nX: \r\n\r\n".utf8.count
            return "HTTP/1.1 200 OK\r\nX: \(String(repeating: "y", count: length - frame))\r\n\r\n"
        }
        #expect(Self.read(head(most)).error == nil)
        #expect(Self.read(head(most + 1)).error == .headTooLong)
        // Also if its end never comes.
        #expect(Self.read(String(head(most + 100).dropLast(4))).error == .headTooLong)
        #expect(Self.read(Array(head(most + 100).utf8.dropLast(4)), sizes: [1000]).error == .headTooLong)
    }

    // MARK: Bodies

    struct BodyCase: CustomTestStringConvertible {
        var name: String
        var head: String
        var body: String
        /// Nil: malformed.
        var payload: String?
        var isComplete = true
        var left = ""
        var testDescription: String { name }

        init(
            _ name: String, _ head: String, _ body: String, _ payload: String?, isComplete: Bool = true,
            left: String = ""
        ) {
            (self.name, self.head, self.body, self.payload) = (name, head, body, payload)
            (self.isComplete, self.left) = (isComplete, left)
        }
    }

    private static func length(_ length: Int) -> String { "Content-Length: \(length)\r\n" }
    private static let chunked = "Transfer-Encoding: chunked\r\n"

    static let bodies: [BodyCase] = [
        BodyCase("length", length(5), "hello", "hello"),
        BodyCase("length, more follows", length(5), "helloHTTP/1.1 200 OK\r\n", "hello", left: "HTTP/1.1 200 OK\r\n"),
        BodyCase("length, less came", length(5), "hell", "hell", isComplete: false),
        BodyCase("zero length", length(0), "", ""),
        BodyCase("zero length, more follows", length(0), "x", "", left: "x"),
        BodyCase("until close", "", "anything\r\n\r\n", "anything\r\n\r\n", isComplete: false),
        BodyCase("one chunk", chunked, "5\r\nhello\r\n0\r\n\r\n", "hello"),
        BodyCase("chunks", chunked, "5\r\nhello\r\n00001\r\n \r\nA\r\n0123456789\r\n0\r\n\r\n", "hello 0123456789"),
        BodyCase("small hex digits", chunked, "a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        BodyCase("no chunk", chunked, "0\r\n\r\n", ""),
        BodyCase("zeros", chunked, "000000\r\n\r\n", ""),
        BodyCase("extension", chunked, "5;a=b;c=\"d\"\r\nhello\r\n0;z\r\n\r\n", "hello"),
        BodyCase("blank and extension", chunked, "5 ;a\r\nhello\r\n0\t\r\n\r\n", "hello"),
        BodyCase("trailer", chunked, "5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n", "hello"),
        BodyCase("more follows", chunked, "0\r\n\r\nx", "", left: "x"),
        BodyCase("a line more follows", chunked, "0\r\n\r\n\r\n", "", left: "\r\n"),
        BodyCase("CRLF as data", chunked, "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
        BodyCase("not the end yet", chunked, "5\r\nhello\r\n0\r\n", "hello", isComplete: false),
        BodyCase("not the end of the trailer", chunked, "0\r\nA: b\r\n", "", isComplete: false),
        BodyCase("not hex", chunked, "g\r\n", nil),
        BodyCase("no size", chunked, "\r\n", nil),
        BodyCase("a sign", chunked, "-5\r\nhello\r\n", nil),
        BodyCase("0x", chunked, "0x5\r\nhello\r\n", nil),
        BodyCase("a blank first", chunked, " 5\r\nhello\r\n", nil),
        BodyCase("bare LF behind the size", chunked, "5\nhello\r\n", nil),
        BodyCase("bare CR behind the size", chunked, "5\rhello\r\n", nil),
        BodyCase("data too long", chunked, "5\r\nhello!\r\n", nil),
        BodyCase("bare LF behind the data", chunked, "5\r\nhello\n", nil),
        BodyCase("CR and no LF behind the data", chunked, "5\r\nhello\rx", nil),
        BodyCase("LF in an extension", chunked, "5;a\n\r\nhello", nil),
        BodyCase("NUL in an extension", chunked, "5;a\0\r\nhello", nil),
        BodyCase("LF in a trailer", chunked, "0\r\nA: b\n\r\n", nil),
        BodyCase("NUL in a trailer", chunked, "0\r\nA: \0\r\n\r\n", nil),
        BodyCase("fifteen digits", chunked, "00000000000000a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        BodyCase("sixteen digits", chunked, "000000000000000a\r\n0123456789\r\n0\r\n\r\n", nil),
        BodyCase("huge", chunked, "fffffffffffffff\r\nx", "x", isComplete: false),
        BodyCase("a long extension", chunked, "1;\(String(repeating: "a", count: 2000))\r\nx\r\n0\r\n\r\n", nil),
    ]

    @Test(arguments: bodies, [1, 2, 3, 5, 1 << 20]) func bodiesAreReadSo(_ test: BodyCase, size: Int) {
        let outcome = Self.read(Array((Self.ok(test.head) + test.body).utf8), sizes: [size])
        guard let payload = test.payload else {
            #expect(outcome.error == .malformed)
            return
        }
        #expect(outcome.error == nil)
        #expect(String(decoding: outcome.payload, as: UTF8.self) == payload)
        #expect(outcome.isComplete == test.isComplete)
        #expect(String(decoding: outcome.left, as: UTF8.self) == test.left)
        #expect(outcome.passed + outcome.left == Array(test.body.utf8))
        #expect(outcome.endsWithConnection == test.head.isEmpty)
    }

    @Test func trailersAreBounded() {
        let line = "A: \(String(repeating: "b", count: 1000))\r\n"
        let trailer = String(repeating: line, count: ResponseReader.longestHead / line.utf8.count + 2)
        #expect(Self.read(Self.ok(Self.chunked) + "0\r\n" + trailer + "\r\n").error == .malformed)
    }

    @Test func whereSomethingMayBeWrittenBetween() throws {
        var reader = ResponseReader()
        var head = ByteBuffer(string: Self.ok(Self.chunked))
        _ = try reader.head(from: &head, toHEAD: false)
        #expect(reader.isBetweenChunks)
        for (text, isBetween) in [
            ("1", false), (";", false), ("\r", false), ("\n", false), ("x", false), ("\r", false), ("\n", true),
            ("0", false),
            ("\r\n", false), ("\r\n", false),
        ] {
            _ = try Array(text.utf8).withUnsafeBytes { try reader.body($0) { _ in } }
            #expect(reader.isBetweenChunks == isBetween, "behind \(text)")
        }
        #expect(reader.isComplete)
    }

    // MARK: Properties

    /// An answer, its content, and whether all of it is there.
    static func anyAnswer(_ random: inout SplitMix64) -> (bytes: [UInt8], body: Int, payload: [UInt8], isChunked: Bool)
    {
        var text = ""
        for _ in 0..<random.pick(0...2) { text += "HTTP/1.1 10\(random.pick(2...9)) Early\r\nX: y\r\n\r\n" }
        text += "HTTP/1.\(random.chance(90) ? 1 : 0) \(random.pick(200...203)) Some Reason\r\n"
        for index in 0..<random.pick(0...5) {
            text += "X-\(index): \(String(repeating: "v", count: random.pick(0...30)))\r\n"
        }
        let payload = (0..<random.pick(0...300)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        let kind = random.pick(0...2)
        var bytes = Array(text.utf8)
        var body: [UInt8] = []
        switch kind {
        case 0:
            bytes += Array("Content-Length: \(payload.count)\r\n\r\n".utf8)
            body = payload
        case 1:
            bytes += Array("Transfer-Encoding: chunked\r\n\r\n".utf8)
            var rest = payload[...]
            while !rest.isEmpty {
                let chunk = rest.prefix(random.pick(1...100))
                rest = rest.dropFirst(chunk.count)
                let size = String(chunk.count, radix: 16, uppercase: random.chance(50))
                body += Array((String(repeating: "0", count: random.pick(0...3)) + size).utf8)
                if random.chance(20) { body += Array(";name=\"value\"".utf8) }
                body += [13, 10] + chunk + [13, 10]
            }
            body += Array("0\r\n".utf8)
            for _ in 0..<random.pick(0...2) { body += Array("Trailer: x\r\n".utf8) }
            body += [13, 10]
        default:
            bytes += [13, 10]
            body = payload
        }
        return (bytes + body, body.count, payload, kind == 1)
    }

    @Test(arguments: Seeds.sequence(300)) func anySplitGivesTheSame(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let (answer, body, payload, _) = Self.anyAnswer(&random)
        let whole = Self.read(answer, sizes: [answer.count])
        #expect(whole.error == nil && whole.payload == payload && whole.passed.count == body, "seed \(seed)")
        #expect(whole.passed == Array(answer.suffix(body)) && whole.left.isEmpty, "seed \(seed)")
        #expect(whole.isComplete != whole.endsWithConnection, "seed \(seed)")
        for _ in 0..<20 {
            let sizes = (0..<random.pick(1...8)).map { _ in
                random.chance(50) ? random.pick(1...3) : random.pick(1...400)
            }
            #expect(Self.read(answer, sizes: sizes) == whole, "seed \(seed), reads of \(sizes)")
        }
        if whole.isComplete {
            let more = Self.read(answer + Array("HTTP/1.1 200".utf8), sizes: [random.pick(1...50)])
            #expect(
                more.left == Array("HTTP/1.1 200".utf8) && more.payload == payload && more.isComplete, "seed \(seed)")
        }
    }

    /// Whatever comes: no crash, no read beyond the end (under AddressSanitizer), and the reads do not matter.
    @Test(arguments: Seeds.sequence(300)) func mutations(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let (answer, _, _, _) = Self.anyAnswer(&random)
        for _ in 0..<20 {
            var bytes = answer
            for _ in 0..<random.pick(1...4) {
                let at = random.pick(0...bytes.count - 1)
                switch random.pick(0...3) {
                case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
                case 1: bytes[at] = [0, 9, 10, 13, 32, 58, 59, 127][random.pick(0...7)]
                case 2: bytes.remove(at: at)
                default: bytes.insert([10, 13, 48, 32][random.pick(0...3)], at: at)
                }
                if bytes.isEmpty { bytes = [0] }
            }
            let toHEAD = random.chance(10)
            let whole = Self.read(bytes, sizes: [bytes.count], toHEAD: toHEAD)
            let parts = Self.read(bytes, sizes: [random.pick(1...9), random.pick(1...60)], toHEAD: toHEAD)
            #expect(parts.head == whole.head && parts.error == whole.error, "seed \(seed)")
            #expect(parts.isComplete == whole.isComplete, "seed \(seed)")
            // What came before the mistake is passed on by smaller reads only.
            if whole.error == nil { #expect(parts == whole, "seed \(seed)") }
            if let head = whole.head {
                #expect(head.fields.utf8.allSatisfy { $0 != 0 } || head.fields.hasPrefix("HTTP/1.1"), "seed \(seed)")
            }
        }
    }
}
