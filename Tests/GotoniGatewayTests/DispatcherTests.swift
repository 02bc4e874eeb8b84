import GotoniCore
import NIOConcurrencyHelpers
import NIOCore
import Synchronization
import Testing

@testable import GotoniGateway

extension Sockets {
    /// The queue, with real requests.
    @Suite struct DispatcherTests {
        /// On one loop: with several, a place that becomes free while the first is still trying on another loop is
        /// offered to the second at once, and either may get it.
        @Test func firstComeFirstServed() async throws {
            try await withGateway({
                $0.maxConcurrent = 1
                $0.threads = 1
            }) { running in
                let engine = running.engines[0]
                engine.hold()
                var clients: [RawClient] = []
                for index in 0..<6 {
                    let client = try await running.client()
                    clients.append(client)
                    // The fourth is more urgent than those before it.
                    client.post("/v1/chat/completions", chat("\(index)", more: index == 4 ? ",\"priority\":-1" : ""))
                    try await eventually("request \(index)") { running.gateway.leftovers.requests == index + 1 }
                    try await eventually("request \(index) waits") { running.gateway.leftovers.waiting == index }
                }
                for index in [0, 4, 1, 2, 3, 5] {
                    let request = try await engine.next()
                    #expect(request.text.contains("\"content\":\"\(index)\""))
                    #expect(engine.count == engine.state.read(\.taken))
                    request.answer()
                    let answer = try await clients[index].answer()
                    #expect(answer.status == 200)
                    #expect((answer["x-queue-wait-ms"] != nil) == (index != 0))
                }
                #expect(running.counters.queued.load(ordering: .relaxed) == 5)
            }
        }

        @Test func aFullQueueSaysSo() async throws {
            try await withGateway({
                $0.maxConcurrent = 1
                $0.queueLimit = 2
            }) { running in
                let engine = running.engines[0]
                engine.hold()
                var clients: [RawClient] = []
                for index in 0..<3 {
                    clients.append(try await running.client())
                    clients[index].post()
                    try await eventually("request \(index)") { running.gateway.leftovers == (index + 1, 1, index) }
                }
                let client = try await running.client()
                client.post()
                let answer = try await client.answer()
                #expect(
                    answer.status == 429 && answer.code == "queue_full" && answer["retry-after"] == "1"
                        && answer["connection"] == nil)
                for client in clients {
                    try await engine.next().answer()
                    #expect(try await client.answer().status == 200)
                }
                client.post()
                try await engine.next().answer()
                #expect(try await client.answer().status == 200)
            }
        }

        @Test func theDeadlineEndsTheWait() async throws {
            try await withGateway({
                $0.maxConcurrent = 1
                $0.queueTimeout = Nanoseconds(milliseconds: 200)
            }) { running in
                let engine = running.engines[0]
                engine.hold()
                let first = try await running.client()
                first.post()
                let request = try await engine.next()
                let second = try await running.client()
                let start = NIODeadline.now()
                second.post()
                let answer = try await second.answer()
                #expect(answer.status == 503 && answer.code == "queue_timeout" && answer["retry-after"] == "1")
                #expect(NIODeadline.now() - start >= .milliseconds(200))
                #expect(running.gateway.leftovers == (1, 1, 0) && engine.count == 1)
                request.answer()
                #expect(try await first.answer().status == 200)
            }
        }

        @Test func withoutServers() async throws {
            try await withGateway(servers: 0) { running in
                let client = try await running.client()
                client.post()
                let answer = try await client.answer()
                #expect(answer.status == 503 && answer.code == "no_server" && answer["retry-after"] == "2")
                client.get("/v1/files")
                #expect(try await client.answer().code == "no_server")
            }
        }

        /// A server that has not answered yet may do so any moment.
        @Test func requestsWaitForTheFirstServer() async throws {
            let late = try await EngineDouble("late")
            let isReady = NIOLockedValueBox(false)
            late.reactToProbes { probe in
                if isReady.withLockedValue({ $0 }) { probe.answer() } else { probe.answer(503) }
            }
            try await withGateway(servers: 0, { $0.probeInterval = Nanoseconds(milliseconds: 20) }) { running in
                try running.gateway.addServer(name: "late", url: #require(ServerURL("127.0.0.1:\(late.port)")))
                let client = try await running.client()
                client.post()
                try await eventually("a queue") { running.gateway.leftovers.waiting == 1 }
                isReady.withLockedValue { $0 = true }
                #expect(try await client.answer().status == 200)
            }
            try await late.stop()
        }

        /// Never more on a server than may be, however many come at once.
        @Test func twoHundredAtOnce() async throws {
            try await withGateway(servers: 2, { $0.maxConcurrent = 3 }) { running in
                struct Load {
                    var now = ["a": 0, "b": 0]
                    var most = ["a": 0, "b": 0]
                }
                let load = NIOLockedValueBox(Load())
                // First they hold what they get, until there is no more.
                for engine in running.engines { engine.hold() }
                var clients: [RawClient] = []
                for _ in 0..<200 { clients.append(try await running.client()) }
                for (index, client) in clients.enumerated() { client.post("/v1/chat/completions", chat("\(index)")) }
                try await eventually("all but six wait") {
                    running.gateway.leftovers.waiting == 194 && running.engines.map(\.count) == [3, 3]
                }
                for engine in running.engines {
                    let name = engine.name
                    let answer: @Sendable (Arrival) -> Void = { request in
                        load.withLockedValue {
                            $0.now[name, default: 0] += 1
                            $0.most[name] = max($0.most[name] ?? 0, $0.now[name] ?? 0)
                        }
                        // Answered a turn of the loop later, so that they overlap.
                        request.connection.later {
                            load.withLockedValue { $0.now[name, default: 0] -= 1 }
                            request.answer(body: request.body)
                        }
                    }
                    engine.react(answer)
                    for _ in 0..<3 { answer(try await engine.next()) }
                }
                for (index, client) in clients.enumerated() {
                    let answer = try await client.answer(within: 30)
                    #expect(answer.status == 200 && answer.text == chat("\(index)"))
                }
                #expect(load.withLockedValue(\.most).values.allSatisfy { $0 <= 3 })
                #expect(running.engines.map(\.count).reduce(0, +) == 200)
            }
        }

        /// One that waits and may not go back to where it failed must not keep others from going there.
        @Test func aPickyRequestDoesNotBlockTheQueue() async throws {
            try await withGateway(
                servers: 2,
                {
                    $0.maxConcurrent = 1
                    $0.queueTimeout = Nanoseconds(milliseconds: 3_000)
                    $0.ejectAfter = 100
                }
            ) { running in
                for engine in running.engines { engine.hold() }
                let first = try await running.client()
                first.post()
                try await eventually("the first") { running.engines.map(\.count).reduce(0, +) == 1 }
                let (busy, other) =
                    running.engines[0].count == 1
                    ? (running.engines[0], running.engines[1]) : (running.engines[1], running.engines[0])
                let held = try await busy.next()
                // It fails on the other server; now only the busy one is left to it.
                let second = try await running.client()
                second.post()
                var attempt = try await other.next()
                attempt.connection.close()
                // A connection that was idle may have been stale: that one is tried again there.
                if running.gateway.leftovers.waiting == 0, let again = try? await other.next(within: 1) {
                    attempt = again
                    attempt.connection.close()
                }
                try await eventually("the second waits") { running.gateway.leftovers.waiting == 1 }
                other.react { $0.answer(body: Array("other".utf8)) }
                let third = try await running.client()
                third.post()
                #expect(try await third.answer().status == 200)
                held.answer()
                #expect(try await first.answer().status == 200)
            }
        }

        @Test func overloadLowersTheLimit() async throws {
            try await withGateway(servers: 2) { running in
                running.engines[0].react { $0.answer(503) }
                running.engines[1].react { $0.answer() }
                let client = try await running.client()
                while running.engines[0].count == 0 {
                    client.post()
                    #expect(try await client.answer().status == 200)
                }
                #expect(try running.server("a").state.withLockedValue(\.limitInForce) == 1)
                #expect(try running.server("b").state.withLockedValue(\.limitInForce) == 10)
                #expect(try running.health("a").state == .up)
            }
        }

        @Test func ejectionStopsAtHalf() async throws {
            try await withGateway(servers: 4, { $0.ejectAfter = 1 }) { running in
                for engine in running.engines { engine.react { $0.answer(500) } }
                let client = try await running.client()
                for _ in 0..<20 {
                    client.post()
                    #expect(try await client.answer().status == 500)
                }
                let states = try ["a", "b", "c", "d"].map { try running.health($0).state }
                #expect(states.count { $0 == .up } == 2 && states.count { $0 == .ejected } == 2)
            }
        }
    }
}

extension EngineDouble.Connection {
    func later(_ body: @escaping @Sendable () -> Void) { eventLoop.execute(body) }
}
