import GotoniCore
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import GotoniGateway

extension Sockets {
    /// Connections that a pool opens ahead. It is swept at times that the test says.
    @Suite struct SpareConnectionTests {
        private struct Rig: Sendable {
            let engine: EngineDouble
            private let loop: any EventLoop
            private let pool: NIOLoopBound<UpstreamPool>

            init(spares: Int) async throws {
                engine = try await EngineDouble("a")
                let url = try #require(ServerURL("127.0.0.1:\(engine.port)"))
                let server = Server(id: ServerID(1), name: "a", url: url, tls: nil, limit: 1)
                let loop = MultiThreadedEventLoopGroup.singleton.next()
                self.loop = loop
                pool = try await loop.submit {
                    let settings = UpstreamSettings(
                        connectTimeout: Nanoseconds(milliseconds: 5_000),
                        keepAlive: Nanoseconds(milliseconds: 3_600_000), spares: spares)
                    return NIOLoopBound(UpstreamPool(server: server, loop: loop, settings), eventLoop: loop)
                }.get()
            }

            func with<Result: Sendable>(_ body: @escaping @Sendable (UpstreamPool) -> Result) async throws -> Result {
                let pool = pool
                return try await loop.submit { body(pool.value) }.get()
            }

            /// What the loop of a gateway does ten times a second.
            func sweep(at milliseconds: Int, besideOthers: Bool = true) async throws {
                try await with {
                    $0.sweep(
                        now: Nanoseconds(milliseconds: Double(milliseconds)), keepsSpares: true,
                        besideOthers: besideOthers)
                }
            }

            /// Waits until so many are idle here and open there.
            func settles(at connections: Int) async throws {
                let deadline = NIODeadline.now() + .seconds(10)
                while try await with({ $0.idle.count }) != connections
                    || engine.state.read(\.connections) != connections
                {
                    guard NIODeadline.now() < deadline else {
                        throw TimedOut(description: "\(connections) connections")
                    }
                }
            }

            /// The server ends whatever was opened.
            func closes() async throws {
                let deadline = NIODeadline.now() + .seconds(10)
                while try await with({ $0.connections }) > 0 {
                    guard NIODeadline.now() < deadline else { throw TimedOut(description: "no connection") }
                    engine.closeConnections()
                }
            }

            func stop() async throws {
                try await with { $0.close() }
                try await engine.stop()
            }
        }

        @Test func sparesAreOpenedOneByOneAndAtOnceWhereOneWasNeeded() async throws {
            let rig = try await Rig(spares: 2)
            try await rig.sweep(at: 0)
            try await rig.settles(at: 1)
            // A pause: the server may not want it.
            try await rig.sweep(at: 1_900)
            #expect(rig.engine.state.read(\.accepted) == 1)
            try await rig.sweep(at: 2_000)
            try await rig.settles(at: 2)
            for time in [4_000, 6_000, 8_000] { try await rig.sweep(at: time) }
            #expect(try await rig.with({ $0.connections }) == 2)
            #expect(try await rig.with { $0.take() != nil })
            try await rig.sweep(at: 8_100)
            try await eventually("a third connection") { rig.engine.state.read(\.accepted) == 3 }
            try await rig.stop()
        }

        @Test func whereConnectionsAreDearOneIsOpenedOnlyIfThereIsNone() async throws {
            let rig = try await Rig(spares: 2)
            try await rig.sweep(at: 0, besideOthers: false)
            try await rig.settles(at: 1)
            #expect(try await rig.with { $0.take() != nil })
            for time in [2_000, 4_000] { try await rig.sweep(at: time, besideOthers: false) }
            #expect(try await rig.with { $0.connections } == 1)
            try await rig.stop()
        }

        @Test(arguments: [0, 1, 2]) func everyLoopHasItsSparesBeforeTheFirstRequest(spares: Int) async throws {
            try await withGateway({ $0.upstreamSpare = spares }) { running in
                let engine = running.engines[0]
                // The probe's, and those of two loops.
                try await eventually("spare connections") { engine.state.read(\.connections) == 1 + 2 * spares }
                let client = try await running.client()
                client.post()
                #expect(try await client.answer().status == 200)
                #expect(engine.state.read(\.accepted) >= (spares == 0 ? 2 : 1 + 2 * spares))
                #expect(running.counters.staleRetries.load(ordering: .relaxed) == 0)
            }
        }

        @Test(arguments: [0, 1]) func aServerThatClosesAtOnceIsDialledEveryTwoSecondsAtMost(spares: Int) async throws {
            let rig = try await Rig(spares: spares)
            for time in stride(from: 0, to: 60_000, by: 100) {
                try await rig.sweep(at: time)
                try await rig.closes()
            }
            #expect(rig.engine.state.read(\.accepted) == 30 * spares)
            try await rig.stop()
        }
    }
}
