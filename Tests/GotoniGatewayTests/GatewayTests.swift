import GotoniCore
import GotoniEngines
import NIOConcurrencyHelpers
import NIOCore
import Synchronization
import Testing

@testable import GotoniGateway

extension Sockets {
    @Suite struct GatewayTests {
        @Test func stoppingFinishesWhatRuns() async throws {
            try await withGateway({ $0.drainTimeout = Nanoseconds(milliseconds: 10_000) }) { running in
                let engine = running.engines[0]
                engine.hold()
                let (client, idle) = (try await running.client(), try await running.client())
                idle.get("/health")
                #expect(try await idle.answer().status == 200)
                client.post(chatBody: true)
                let request = try await engine.next()
                request.beginStream()
                request.chunk("one")
                try await client.head()
                try await client.expect("3\r\none\r\n")
                async let stopped = running.gateway.stop(settle: Nanoseconds(0))
                // The idle one is sent away, the other one is served.
                try await idle.end()
                #expect(running.gateway.isDraining && !client.isEnded)
                await #expect(throws: (any Error).self) { try await RawClient.connect(running.port) }
                request.chunk("two")
                try await client.expect("3\r\ntwo\r\n")
                request.endStream()
                try await client.expect("0\r\n\r\n")
                try await client.end()
                #expect(await stopped)
                #expect(running.gateway.leftovers == (0, 0, 0))
            }
        }

        @Test func aRequestOnItsWayIsStillServed() async throws {
            try await withGateway { running in
                let client = try await running.client()
                client.post()
                _ = try await client.answer()
                async let stopped = running.gateway.stop(settle: Nanoseconds(milliseconds: 5_000))
                try await eventually("draining") { running.gateway.isDraining }
                // Whoever connects while it settles is served as well, and told to go elsewhere then.
                let late = try await running.client()
                late.get("/health")
                #expect(try await late.answer().status == 503)
                for client in [client, try await running.client()] {
                    client.post()
                    let answer = try await client.answer()
                    #expect(answer.status == 200)
                    if answer["connection"] != nil { try await client.end() }
                }
                #expect(await stopped)
            }
        }

        /// Twice is as good as once, and one that never drained goes on.
        @Test func undrainingAServerThatServesChangesNothing() async throws {
            try await withGateway { running in
                let client = try await running.client()
                for _ in 0..<2 {
                    _ = running.gateway.drainServer(name: "a", false)
                    client.post()
                    #expect(try await client.answer().status == 200)
                }
            }
        }

        /// A client that takes nothing makes the gateway do nothing for it.
        @Test func aClientThatDoesNotReadIsNotServedOn() async throws {
            try await withGateway { running in
                let client = try await running.client()
                try await client.setReading(false)
                let before = running.gateway.dispatcher.counters.handled.load(ordering: .relaxed)
                let bad = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
                for _ in 0..<200 { client.send(String(repeating: bad, count: 200)) }
                let other = try await running.client()
                for _ in 0..<50 {
                    other.get("/health")
                    #expect(try await other.answer().status == 200)
                }
                let handled = running.gateway.dispatcher.counters.handled.load(ordering: .relaxed) - before
                #expect(handled < 40_000, "all were answered into memory")
                client.close()
            }
        }

        @Test func theDrainTimeoutCutsOff() async throws {
            try await withGateway(checksLeftovers: false, { $0.drainTimeout = Nanoseconds(milliseconds: 300) }) {
                running in
                running.engines[0].hold()
                let client = try await running.client()
                client.post()
                let request = try await running.engines[0].next()
                #expect(await running.gateway.stop(settle: Nanoseconds(0)) == false)
                try await client.end()
                try await request.connection.end()
            }
        }

        /// Those under way finish, with all that follows from it; nothing new goes there.
        @Test func aServerRemovedWhileItStreams() async throws {
            try await withGateway(servers: 2) { running in
                for engine in running.engines { engine.hold() }
                let client = try await running.client()
                client.post(chatBody: true)
                try await eventually("a request") { running.engines.map(\.count).reduce(0, +) == 1 }
                let (busy, other) =
                    running.engines[0].count == 1
                    ? (running.engines[0], running.engines[1]) : (running.engines[1], running.engines[0])
                let request = try await busy.next()
                request.beginStream()
                request.chunk("one")
                try await client.head()
                try await client.expect("3\r\none\r\n")
                #expect(running.gateway.removeServer(name: busy.name))
                let again = running.gateway.removeServer(name: busy.name)
                #expect(!again)
                other.react { $0.answer() }
                let second = try await running.client()
                for _ in 0..<5 {
                    second.post()
                    #expect(try await second.answer().status == 200)
                }
                request.chunk("two")
                try await client.expect("3\r\ntwo\r\n")
                request.endStream()
                try await client.expect("0\r\n\r\n")
                #expect(busy.count == 1 && other.count == 5)
                // Its connection is not kept.
                try await request.connection.end()
                try await eventually("no connection") { busy.state.read(\.connections) == 0 }
                // And back: it starts clean.
                busy.react { $0.answer() }
                try running.gateway.addServer(name: busy.name, url: #require(ServerURL("127.0.0.1:\(busy.port)")))
                try await eventually("up") { try running.health(busy.name).state == .up }
            }
        }

        @Test func drainingAServer() async throws {
            try await withGateway(servers: 2, { $0.probeInterval = Nanoseconds(milliseconds: 20) }) { running in
                #expect(running.gateway.drainServer(name: "a", true))
                let unknown = running.gateway.drainServer(name: "x", true)
                #expect(!unknown)
                let client = try await running.client()
                for _ in 0..<6 {
                    client.post()
                    #expect(try await client.answer().status == 200)
                }
                #expect(running.engines[0].count == 0 && running.engines[1].count == 6)
                #expect(running.gateway.drainServer(name: "a", false))
                try await eventually("up again") { try running.health("a").state == .up }
                while running.engines[0].count == 0 {
                    client.post()
                    #expect(try await client.answer().status == 200)
                }
            }
        }

        @Test func anEjectedServerComesBackByItsProbes() async throws {
            try await withGateway(
                servers: 2,
                {
                    $0.probeInterval = Nanoseconds(milliseconds: 10)
                    $0.unhealthyAfter = 2
                }
            ) { running in
                running.engines[0].reactToProbes { $0.answer(500) }
                try await eventually("ejection") { try running.health("a").state == .ejected }
                let client = try await running.client()
                for _ in 0..<4 {
                    client.post()
                    #expect(try await client.answer().status == 200)
                }
                #expect(running.engines[0].count == 0)
                running.engines[0].reactToProbes { $0.answer() }
                try await eventually("the end of the ejection", within: 20) { try running.health("a").state == .up }
                // It starts slowly; the limit follows a moment after the state.
                try await eventually("a small limit") {
                    try running.server("a").state.withLockedValue(\.limitInForce) < 10
                }
            }
        }

        @Test func connectionsAreBounded() async throws {
            try await withGateway({ $0.maxConnections = 3 }) { running in
                var clients: [RawClient] = []
                for _ in 0..<3 {
                    clients.append(try await running.client())
                    clients.last?.get("/health")
                    #expect(try await clients.last?.answer().status == 200)
                }
                let tooMany = try await running.client()
                try await tooMany.end()
                clients[0].close()
                try await eventually("room") { running.counters.connections.load(ordering: .relaxed) == 2 }
                let client = try await running.client()
                client.get("/health")
                #expect(try await client.answer().status == 200)
            }
        }

        @Test(arguments: ["", String(repeating: "x", count: 65), "a b", "a,b", "é", "a\n"]) func badNames(
            _ name: String
        ) async throws {
            try await withGateway { running in
                #expect(throws: GatewayError.self) {
                    try running.gateway.addServer(name: name, url: #require(ServerURL("10.0.0.1")))
                }
                #expect(running.gateway.dispatcher.fleet.all.count == 1)
            }
        }

        @Test func namesAndAddressesAreUnique() async throws {
            try await withGateway { running in
                let other = try #require(ServerURL("127.0.0.1:1"))
                #expect(throws: GatewayError.self) { try running.gateway.addServer(name: "a", url: other) }
                let same = try #require(ServerURL("127.0.0.1:\(running.engines[0].port)"))
                #expect(throws: GatewayError.self) { try running.gateway.addServer(name: "b", url: same) }
                #expect(running.gateway.dispatcher.fleet.all.count == 1)
            }
        }

        @Test func aPortInUseIsAnError() async throws {
            try await withGateway { running in
                var configuration = GatewayConfiguration()
                configuration.listen = .init(host: "127.0.0.1", port: running.port)
                configuration.threads = 1
                let second = try Gateway.quiet(configuration)
                await #expect(throws: GatewayError.self) { _ = try await second.start() }
                _ = await second.stop(settle: Nanoseconds(0))
            }
        }

        @Test func anOpenAdminListenerWantsAToken() async throws {
            var configuration = GatewayConfiguration()
            configuration.listen = .init(host: "127.0.0.1", port: 0)
            configuration.adminListen = .init(host: "0.0.0.0", port: 0)
            configuration.threads = 1
            let gateway = try Gateway.quiet(configuration)
            await #expect(throws: GatewayError.self) { _ = try await gateway.start() }
            _ = await gateway.stop(settle: Nanoseconds(0))
        }
    }

    @Suite struct UpstreamPoolTests {
        @Test func connectionsAreUsedAgain() async throws {
            try await withGateway({ $0.threads = 1 }) { running in
                let client = try await running.client()
                for _ in 0..<50 {
                    client.post()
                    _ = try await client.answer()
                }
                // The probe's, a spare one of each loop, and one that was opened while a request was under way.
                #expect(running.engines[0].state.read(\.accepted) <= 4)
            }
        }

        /// A server may close an idle connection at any time: that says nothing about it, and costs the client nothing.
        @Test func aStaleConnectionIsReplaced() async throws {
            try await withGateway { running in
                let engine = running.engines[0]
                // From its second request on a connection ends instead of answering.
                engine.react { request in
                    if request.number > 1 { request.connection.close() } else { request.answer() }
                }
                let client = try await running.client()
                client.post()
                #expect(try await client.answer().status == 200)
                for _ in 0..<5 {
                    client.post()
                    #expect(try await client.answer().status == 200)
                }
                #expect(running.counters.staleRetries.load(ordering: .relaxed) > 0)
                #expect(
                    running.counters.retried.load(ordering: .relaxed) == 0
                        && running.counters.failed.load(ordering: .relaxed) == 0)
                #expect(try running.health("a").consecutiveFailures == 0)
                #expect(running.gateway.dispatcher.requestLog.records.allSatisfy { $0.retries == 0 && $0.isSuccess })
            }
        }

        /// The second close, on a new connection, is the server's.
        @Test func aStaleConnectionIsReplacedOnce() async throws {
            try await withGateway({ $0.threads = 1 }) { running in
                let engine = running.engines[0]
                let client = try await running.client()
                client.post()
                #expect(try await client.answer().status == 200)
                engine.react { $0.connection.close() }
                client.post()
                let answer = try await client.answer()
                #expect(answer.status == 502 && answer.code == "upstream_failed")
                #expect(engine.count == 3 && running.counters.staleRetries.load(ordering: .relaxed) == 1)
                #expect(try running.health("a").consecutiveFailures == 1)
            }
        }

        @Test func serversThatCloseAreBelieved() async throws {
            try await withGateway { running in
                running.engines[0].react { $0.answer(fields: "Connection: close\r\n") }
                let client = try await running.client()
                for _ in 0..<5 {
                    client.post()
                    let answer = try await client.answer()
                    #expect(answer.status == 200 && answer["connection"] == nil)
                    #expect(running.engines[0].state.read { $0.all.last?.number } == 1)
                }
            }
        }
    }

    @Suite struct WatchTests {
        /// A server that ends each connection has no round trip to measure; it must not be asked all the time for that.
        ///
        @Test func aServerThatClosesIsNotProbedInALoop() async throws {
            try await withGateway(servers: 0) { running in
                let engine = try await EngineDouble("x")
                engine.reactToProbes { $0.answer(fields: "Connection: close\r\n") }
                try running.gateway.addServer(name: "x", url: #require(ServerURL("127.0.0.1:\(engine.port)")))
                try await eventually("up") { try running.health("x").state == .up }
                let client = try await running.client()
                for _ in 0..<100 {
                    client.post()
                    #expect(try await client.answer().status == 200)
                }
                // An hour is between two probes; a hundred requests are less.
                #expect(engine.state.read(\.probes) <= 3)
                try await engine.stop()
            }
        }

        @Test func loadIsRead() async throws {
            try await withGateway({ $0.metricsInterval = Nanoseconds(milliseconds: 10) }) { running in
                running.engines[0].reactToProbes { request in
                    if request.target == "/metrics" {
                        request.answer(
                            body: Array(
                                "vllm:num_requests_running 3\nvllm:num_requests_waiting 2\nvllm:kv_cache_usage_perc 0.25\n"
                                    .utf8))
                    } else {
                        request.answer(request.target == "/v1/models" ? 200 : 404)
                    }
                }
                try await eventually("a report") {
                    try running.server("a").state.withLockedValue { $0.report?.running } == 3
                }
                let (report, path) = try running.server("a").state.withLockedValue { ($0.report, $0.reportPath) }
                #expect(report?.queued == 2 && report?.cacheUsage == 0.25 && path == "/metrics")
            }
        }

        @Test func roundTripsAreMeasured() async throws {
            try await withGateway({ $0.probeInterval = Nanoseconds(milliseconds: 5) }) { running in
                try await eventually("probes") { running.engines[0].state.read(\.probes) > 5 }
                let trips = try running.server("a").state.withLockedValue(\.rtt)
                let (least, average, most) = try (#require(trips.least), #require(trips.average), #require(trips.most))
                #expect(0 < least && least <= average && average <= most && most < 10_000)
            }
        }

        @Test func probesThatHangDisturbNobody() async throws {
            try await withGateway(
                servers: 2,
                {
                    $0.probeInterval = Nanoseconds(milliseconds: 10)
                    $0.probeTimeout = Nanoseconds(milliseconds: 50)
                }
            ) { running in
                running.engines[0].reactToProbes { _ in }
                try await eventually("ejection") { try running.health("a").state == .ejected }
                let before = running.engines[1].state.read(\.probes)
                try await eventually("probes of the other") { running.engines[1].state.read(\.probes) > before + 5 }
                #expect(try running.health("b").state == .up)
            }
        }
    }
}
