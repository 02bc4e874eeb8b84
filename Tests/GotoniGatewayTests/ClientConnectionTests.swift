import GotoniCore
import NIOCore
import TestSupport
import Testing

@testable import GotoniGateway

extension Sockets {
    /// What comes over the wire from clients nobody knows.
    @Suite struct ClientConnectionTests {
        private static let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

        struct Hostile: CustomTestStringConvertible {
            var name: String
            var text: String
            var status: Int
            var testDescription: String { name }
            init(_ name: String, _ text: String, _ status: Int = 400) {
                (self.name, self.text, self.status) = (name, text, status)
            }
        }

        private static func post(_ fields: String, _ body: String = "0\r\n\r\n") -> String {
            "POST /x HTTP/1.1\r\nHost: a\r\n\(fields)\r\n\(body)"
        }

        static let hostile: [Hostile] = [
            // Two framings, or one that two readers may read in two ways.
            Hostile("CL and TE", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n")),
            Hostile("TE and CL", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n")),
            Hostile("TE twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
            Hostile("TE identity, chunked", post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n")),
            Hostile("TE chunked, identity", post("Transfer-Encoding: chunked, identity\r\n")),
            Hostile("TE gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n")),
            Hostile("TE xchunked", post("Transfer-Encoding: xchunked\r\n")),
            Hostile("TE quoted", post("Transfer-Encoding: \"chunked\"\r\n")),
            Hostile("TE with a vertical tab", post("Transfer-Encoding: \u{B}chunked\r\n")),
            Hostile("TE and a space before the colon", post("Transfer-Encoding : chunked\r\nContent-Length: 5\r\n")),
            Hostile("TE folded", post("Transfer-Encoding:\r\n chunked\r\n")),
            Hostile("CL twice, different", post("Content-Length: 5\r\nContent-Length: 0\r\n")),
            Hostile("CL twice, equal", post("Content-Length: 5\r\nContent-Length: 5\r\n")),
            Hostile("CL list", post("Content-Length: 5, 5\r\n")),
            Hostile("CL plus", post("Content-Length: +5\r\n")),
            Hostile("CL minus", post("Content-Length: -5\r\n")),
            Hostile("CL hex", post("Content-Length: 0x5\r\n")),
            Hostile("CL with a space inside", post("Content-Length: 5 5\r\n")),
            Hostile("CL fraction", post("Content-Length: 5.0\r\n")),
            Hostile("CL empty", post("Content-Length:\r\n")),
            Hostile("CL overflow", post("Content-Length: 18446744073709551621\r\n")),
            Hostile("CL and a space before the colon", post("Content-Length : 5\r\n")),
            // Lines.
            Hostile("obs-fold", post("X: a\r\n b\r\nContent-Length: 5\r\n")),
            Hostile("obs-fold by a tab", post("X: a\r\n\tb\r\nContent-Length: 5\r\n")),
            Hostile("a bare CR in a value", post("X: a\rY: b\r\nContent-Length: 5\r\n")),
            Hostile("NUL in a value", post("X: a\0b\r\nContent-Length: 5\r\n")),
            Hostile("NUL in a name", post("X\0: b\r\nContent-Length: 5\r\n")),
            Hostile("a space in a name", post("X Y: b\r\nContent-Length: 5\r\n")),
            Hostile("no name", post(": b\r\nContent-Length: 5\r\n")),
            Hostile("no colon", post("nonsense\r\nContent-Length: 5\r\n")),
            Hostile("a bare CR ends the head", "POST /x HTTP/1.1\r\nHost: a\r\rGET /smuggled HTTP/1.1\r\n\r\n"),
            // Host.
            Hostile("no Host", "GET /x HTTP/1.1\r\n\r\n"),
            Hostile("two Hosts", "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
            // The request line.
            Hostile("HTTP/1.2", "GET /x HTTP/1.2\r\nHost: a\r\n\r\n", 505),
            Hostile("HTTP/2.0", "GET /x HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            Hostile("HTTP/3.7", "GET /x HTTP/3.7\r\nHost: a\r\n\r\n", 505),
            Hostile("HTTP/0.9", "GET /x\r\n\r\n"),
            Hostile("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            Hostile("HTPT", "GET /x HTPT/1.1\r\nHost: a\r\n\r\n"),
            Hostile("a space in the target", "GET /x y HTTP/1.1\r\nHost: a\r\n\r\n"),
            Hostile("a tab in the target", "GET /x\ty HTTP/1.1\r\nHost: a\r\n\r\n"),
            Hostile("NUL in the target", "GET /x\0y HTTP/1.1\r\nHost: a\r\n\r\n"),
            Hostile("no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n"),
            Hostile("no path", "GET x HTTP/1.1\r\nHost: a\r\n\r\n"),
            Hostile("another scheme", "GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n"),
            Hostile("an unknown method", "FOO /x HTTP/1.1\r\nHost: a\r\n\r\n"),
            Hostile("a method in small letters", "get /x HTTP/1.1\r\nHost: a\r\n\r\n"),
            Hostile("CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
            Hostile("TRACE", "TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n", 501),
            Hostile("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}"),
            Hostile("garbage", "garbage\r\n\r\n"),
            // Too much.
            Hostile(
                "a huge field", "GET /x HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "y", count: 200_000))\r\n\r\n",
                431),
            Hostile(
                "many fields", "GET /x HTTP/1.1\r\nHost: a\r\n\(String(repeating: "X: y\r\n", count: 20_000))\r\n", 431),
            Hostile("a huge target", "GET /\(String(repeating: "y", count: 200_000)) HTTP/1.1\r\nHost: a\r\n\r\n", 431),
            Hostile("a body over the limit", post("Content-Length: 2000001\r\n"), 413),
            Hostile("a body far over the limit", post("Content-Length: 9223372036854775807\r\n"), 413),
            Hostile("another expectation", post("Content-Length: 5\r\nExpect: the-worst\r\n"), 417),
            // Chunks.
            Hostile("a chunk size that is none", post("Transfer-Encoding: chunked\r\n", "xyz\r\n")),
            Hostile("a chunk size with a sign", post("Transfer-Encoding: chunked\r\n", "-5\r\nhello\r\n0\r\n\r\n")),
            Hostile("a chunk size with 0x", post("Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n")),
            Hostile("a chunk size beyond 64 bits", post("Transfer-Encoding: chunked\r\n", "FFFFFFFFFFFFFFFFF\r\nx")),
            Hostile("a chunk that is longer", post("Transfer-Encoding: chunked\r\n", "2\r\nhello\r\n0\r\n\r\n")),
            Hostile("bare LF behind a chunk size", post("Transfer-Encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n")),
        ]

        /// One answer that says what is wrong, then the end; nothing of it, and nothing behind it, has reached a server.
        @Test(arguments: hostile) func isRefused(_ test: Hostile) async throws {
            try await withGateway({ $0.maxBodyBytes = 2_000_000 }) { running in
                let client = try await running.client()
                client.send(test.text + Self.smuggled)
                let answer = try await client.answer()
                let isRefusal = (400...505).contains(answer.status)
                #expect(
                    isRefusal && answer.status == test.status
                        || test.status == 400 && [400, 501, 505].contains(answer.status))
                #expect(answer.code != nil)
                #expect(answer["connection"] == "close")
                let rest = try await client.end()
                #expect(rest.isEmpty)
                #expect(running.engines[0].count == 0)
                #expect(running.gateway.leftovers == (0, 0, 0))
                let other = try await running.client()
                other.post()
                #expect(try await other.answer().status == 200)
            }
        }

        /// A request that is refused behind one that is served: first the one answer, then the other.
        @Test(arguments: ["GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"])
        func aHostileRequestBehindAGoodOne(_ bad: String) async throws {
            try await withGateway { running in
                running.engines[0].hold()
                let client = try await running.client()
                client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n" + bad + Self.smuggled)
                try await running.engines[0].next().answer()
                #expect(try await client.answer().status == 200)
                #expect([400, 501].contains(try await client.answer().status))
                #expect(try await client.end().isEmpty)
                #expect(running.engines[0].count == 1)
            }
        }

        /// What cannot be read at all behind a request whose answer has begun: that answer is whole, then the connection
        /// ends.
        @Test func garbageBehindAStreamEndsTheConnection() async throws {
            try await withGateway { running in
                running.engines[0].hold()
                let client = try await running.client()
                client.post(chatBody: true)
                let request = try await running.engines[0].next()
                request.beginStream()
                request.chunk("one")
                try await client.head()
                try await client.expect("3\r\none\r\n")
                client.send("garbage\r\n\r\n")
                // The gateway has it before the next chunk: the same loop reads both.
                let other = try await running.client()
                other.get("/health")
                _ = try await other.answer()
                request.chunk("two")
                request.endStream()
                try await client.expect("3\r\ntwo\r\n0\r\n\r\n")
                #expect(try await client.end(within: 5).isEmpty)
            }
        }

        @Test func pipelinedRequestsAreAnsweredInOrder() async throws {
            try await withGateway { running in
                let client = try await running.client()
                var text = ""
                for index in 0..<40 {
                    switch index % 4 {
                    case 0: text += "GET /health HTTP/1.1\r\nHost: localhost\r\nx-request-id: r\(index)\r\n\r\n"
                    case 1:
                        text +=
                            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nx-request-id: r\(index)\r\nContent-Length: \(chat("\(index)").utf8.count)\r\n\r\n\(chat("\(index)"))"
                    case 2:
                        text +=
                            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nx-request-id: r\(index)\r\nContent-Length: 1\r\n\r\n{"
                    default:
                        text +=
                            "POST /x HTTP/1.1\r\nHost: a\r\nx-request-id: r\(index)\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
                    }
                }
                // In one piece, and in many.
                client.send(text)
                for round in 0..<2 {
                    for index in 0..<40 {
                        let answer = try await client.answer()
                        #expect(answer.all("x-request-id") == ["r\(index)"])
                        #expect(answer.status == (index % 4 == 2 ? 400 : 200))
                        if index % 4 == 1 { #expect(answer.text == chat("\(index)")) }
                        if index % 4 == 3 { #expect(answer.text == "ab") }
                    }
                    if round == 0 { for piece in Array(text.utf8).chunks(7) { client.send(piece) } }
                }
                #expect(running.engines[0].count == 40)
            }
        }

        /// Far more than is read ahead: what is answered is whole and in order, then the connection ends, so that the client
        /// knows what it has to send again.
        @Test func manyPipelinedRequests() async throws {
            try await withGateway { running in
                let client = try await running.client()
                let one = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
                running.engines[0].hold()
                client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n" + String(repeating: one, count: 3000))
                try await running.engines[0].next().answer()
                #expect(try await client.answer().status == 200)
                var answered = 0
                while let answer = try? await client.answer() {
                    #expect(answer.status == 400)
                    answered += 1
                }
                #expect((ClientConnection.mostAhead / 2 - 1...ClientConnection.mostAhead).contains(answered))
                let other = try await running.client()
                other.get("/health")
                #expect(try await other.answer().status == 200)
            }
        }

        /// A client that is read no further is still noticed when it leaves.
        @Test func aClientThatPipelinesAndLeaves() async throws {
            try await withGateway { running in
                running.engines[0].hold()
                let client = try await running.client()
                let get = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
                client.send(String(repeating: get, count: 20_000))
                let request = try await running.engines[0].next()
                client.close()
                try await request.connection.end()
            }
        }

        @Test func targets() async throws {
            try await withGateway { running in
                let client = try await running.client()
                for (target, path) in [
                    ("http://other.example/v1/files?x", "/v1/files?x"), ("HTTP://other.example", "/"),
                    ("/a//b/../c", "/a//b/../c"),
                    ("/a%00b", "/a%00b"), ("/?", "/?"), ("/a\"b", "/a\"b"),
                ] {
                    client.get(target)
                    #expect(try await client.answer().status == 200, "\(target)")
                    #expect(try await running.engines[0].next().target == path)
                }
                // In the absolute form as well these are the gateway's own.
                client.get("http://localhost/proxy/status")
                #expect(try await client.answer()["content-type"] == "application/json")
                #expect(running.engines[0].state.read { $0.all.count == $0.taken })
            }
        }

        @Test func continueIsSaidAtOnce() async throws {
            try await withGateway({ $0.maxBodyBytes = 1000 }) { running in
                let client = try await running.client()
                let body = chat("patient")
                for _ in 0..<2 {
                    client.send(
                        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: \(body.utf8.count)\r\n\r\n"
                    )
                    let early = try await client.answer()
                    #expect(early.status == 100 && early.fields.isEmpty)
                    client.send(body)
                    #expect(try await client.answer().text == body)
                    #expect(try await running.engines[0].next()["expect"] == nil)
                }
                // What is refused anyway need not be sent.
                client.send("POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
                #expect(try await client.answer().status == 413)
                try await client.end()
            }
        }

        @Test func oldClients() async throws {
            try await withGateway { running in
                let body = chat("old")
                let engine = running.engines[0]
                // Close is what 1.0 means.
                let first = try await running.client()
                first.send("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
                let answer = try await first.answer()
                #expect(answer.text == body && answer["connection"] == "close")
                try await first.end()
                // Unless it says otherwise.
                let second = try await running.client()
                for _ in 0..<2 {
                    second.send("POST /x HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab")
                    #expect(try await second.answer().text == "ab")
                }
                // It knows no chunks: they are taken apart, and the end of the connection is the end.
                engine.react { request in
                    request.beginStream()
                    request.connection.write("3;x\r\none\r\n")
                    request.connection.write("3\r\ntwo\r\n0\r\nT: u\r\n\r\n")
                }
                second.send(
                    "POST /v1/chat/completions HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
                )
                let stream = try await second.answer()
                #expect(
                    stream.text == "onetwo" && stream["transfer-encoding"] == nil && stream["connection"] == "close")
            }
        }

        @Test func closeIsClose() async throws {
            try await withGateway { running in
                let client = try await running.client()
                client.post(fields: "Connection: close\r\n")
                #expect(try await client.answer()["connection"] == "close")
                #expect(try await client.end().isEmpty)
            }
        }

        @Test func bodiesThatGrowOverTheLimit() async throws {
            try await withGateway({ $0.maxBodyBytes = 1000 }) { running in
                let client = try await running.client()
                client.send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in 0..<11 { client.send("64\r\n\(String(repeating: "x", count: 100))\r\n") }
                let answer = try await client.answer()
                #expect(answer.status == 413 && answer.code == "body_too_large" && answer["connection"] == "close")
                #expect(try await client.end().isEmpty)
                let exact = try await running.client()
                exact.post("/x", String(repeating: "x", count: 1000))
                #expect(try await exact.answer().status == 200)
                #expect(running.engines[0].count == 1)
            }
        }

        @Test func theRefusalIsReadableWhileTheClientStillSends() async throws {
            try await withGateway({ $0.maxBodyBytes = 1000 }) { running in
                for _ in 0..<10 {
                    let client = try await running.client()
                    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n")
                    client.send([UInt8](repeating: 120, count: 8_000_000))
                    #expect(try await client.answer().status == 413)
                }
            }
        }

        @Test func slowRequestsAreGivenUp() async throws {
            try await withGateway({
                $0.requestTimeout = Nanoseconds(milliseconds: 200)
                $0.keepAliveTimeout = Nanoseconds(milliseconds: 300)
            }) { running in
                let body = try await running.client()
                body.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
                let answer = try await body.answer()
                #expect(answer.status == 408 && answer.code == "request_timeout" && answer["connection"] == "close")
                try await body.end()
                // A head that does not end, or does not begin, has no request to answer.
                for text in ["", "GET / HTTP/1.1\r\nHo"] {
                    let client = try await running.client()
                    client.send(text)
                    #expect(try await client.end().isEmpty)
                }
                let idle = try await running.client()
                idle.get("/health")
                _ = try await idle.answer()
                try await idle.end()
                #expect(running.engines[0].count == 0)
            }
        }

        /// Clients such as Java's offer h2c with their first request; that must not make the connection deaf.
        @Test(arguments: ["GET", "POST"]) func anOfferToUpgradeIsIgnored(_ method: String) async throws {
            try await withGateway { running in
                let client = try await running.client()
                let body = method == "POST" ? "ab" : ""
                let length = body.isEmpty ? "" : "Content-Length: 2\r\n"
                client.send(
                    "\(method) /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\(length)\r\n\(body)"
                )
                let answer = try await client.answer()
                #expect(answer.status == 200)
                let request = try await running.engines[0].next()
                #expect(request["upgrade"] == nil && request["http2-settings"] == nil && request.text == body)
                // Either it serves the next request, or it says that it will not.
                if answer["connection"] == "close" {
                    try await client.end()
                } else {
                    client.get("/y")
                    #expect(try await client.answer(within: 5).status == 200)
                }
            }
        }

        @Test func requestIDs() async throws {
            try await withGateway { running in
                let client = try await running.client()
                var seen: Set<String> = []
                for _ in 0..<20 {
                    client.get("/health")
                    seen.insert(try #require(try await client.answer()["x-request-id"]))
                }
                #expect(seen.count == 20 && seen.allSatisfy { $0.hasPrefix("req-") })
                for bad in [String(repeating: "x", count: 129), "a b", "é", ""] {
                    client.get("/health", fields: "x-request-id: \(bad)\r\n")
                    #expect(try await client.answer()["x-request-id"]?.hasPrefix("req-") == true)
                }
                client.get("/health", fields: "x-request-id: \(String(repeating: "x", count: 128))\r\n")
                #expect(try await client.answer()["x-request-id"] == String(repeating: "x", count: 128))
            }
        }

        /// Mutations of good requests: each connection ends, or goes on answering; the gateway lives.
        @Test(arguments: Seeds.sequence(4)) func mutations(seed: UInt64) async throws {
            try await withGateway({ $0.requestTimeout = Nanoseconds(milliseconds: 200) }) { running in
                var random = SplitMix64(seed: seed)
                let good = Array(
                    ("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}"
                        + "POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /health HTTP/1.0\r\n\r\n")
                        .utf8)
                for _ in 0..<25 {
                    var bytes = good
                    for _ in 0..<random.pick(1...5) {
                        let at = random.pick(0...bytes.count - 1)
                        switch random.pick(0...3) {
                        case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
                        case 1: bytes[at] = [0, 9, 10, 13, 32, 58, 44][random.pick(0...6)]
                        case 2: bytes.remove(at: at)
                        default: bytes.insert([10, 13, 48, 32][random.pick(0...3)], at: at)
                        }
                    }
                    let client = try await running.client()
                    for piece in bytes.chunks(random.pick(1...bytes.count)) { client.send(piece) }
                    // Whatever was understood has been answered when the gateway answers somebody else; what is unfinished
                    // ends with its timeout.
                    let other = try await running.client()
                    other.post()
                    #expect(try await other.answer().status == 200, "seed \(seed)")
                    client.close()
                    other.close()
                }
            }
        }
    }
}

extension Array {
    fileprivate func chunks(_ size: Int) -> [[Element]] {
        stride(from: 0, to: count, by: size).map { Array(self[$0..<Swift.min(count, $0 + size)]) }
    }
}
