import GotoniCore
import Logging
import NIOCore
import NIOEmbedded
import Testing

@testable import GotoniGateway

/// Connections without sockets, on a loop whose turns the test makes.
@Suite struct UpstreamConnectionTests {
    /// Connections of one pool. Must be used on one thread, and by no `async` test.
    private final class Rig {
        let loop = EmbeddedEventLoop()
        let context: LoopContext
        let pool: UpstreamPool
        private var channels: [EmbeddedChannel] = []

        init() throws {
            let dispatcher = try Dispatcher(
                GatewayConfiguration(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            context = LoopContext(loop: loop, dispatcher: dispatcher, seed: 0)
            let server = Server(
                id: ServerID(1), name: "a", url: try #require(ServerURL("127.0.0.1:1")), tls: nil, limit: 1)
            pool = UpstreamPool(
                server: server, loop: loop, UpstreamSettings(keepAlive: Nanoseconds(milliseconds: 1_000)))
        }

        func connect() throws -> (UpstreamConnection, EmbeddedChannel) {
            let connection = UpstreamConnection(pool: pool)
            let channel = EmbeddedChannel(handler: connection, loop: loop)
            try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
            channels.append(channel)
            return (connection, channel)
        }

        /// Channels and their handlers own each other until they are closed.
        func close() {
            for channel in channels { channel.close(promise: nil) }
            loop.run()
        }
    }

    private func sent(_ channel: EmbeddedChannel) throws -> String {
        var text = ""
        while let bytes = try channel.readOutbound(as: ByteBuffer.self) { text += String(buffer: bytes) }
        return text
    }

    @Test func requestsOfATurnLeaveAtItsEnd() throws {
        let rig = try Rig()
        defer { rig.close() }
        let (a, b) = (try rig.connect(), try rig.connect())
        a.0.write(ByteBuffer(string: "head"), ByteBuffer(string: "body"))
        rig.context.flushSoon(a.0)
        b.0.write(ByteBuffer(string: "HEAD"), ByteBuffer())
        rig.context.flushSoon(b.0)
        let early = [try sent(a.1), try sent(b.1)]
        #expect(early == ["", ""])
        rig.loop.run()
        let late = [try sent(a.1), try sent(b.1)]
        #expect(late == ["headbody", "HEAD"])
        // The next turn has an end of its own.
        a.0.write(ByteBuffer(string: "again"), ByteBuffer())
        rig.context.flushSoon(a.0)
        rig.loop.run()
        #expect(try sent(a.1) == "again")
    }

    @Test func manyDoNotWaitForTheEnd() throws {
        let rig = try Rig()
        defer { rig.close() }
        let most = LoopContext.mostUnflushed
        let all = try (0...most).map { _ in try rig.connect() }
        for (connection, _) in all {
            connection.write(ByteBuffer(string: "x"), ByteBuffer())
            rig.context.flushSoon(connection)
        }
        #expect(try all.map { try sent($0.1) } == all.indices.map { $0 < most ? "x" : "" })
        rig.loop.run()
        #expect(try sent(all[most].1) == "x")
    }

    /// A flush may break a connection, and its request be written to another one.
    @Test func whatIsWrittenDuringAFlushLeavesToo() throws {
        final class Chain: Flushable {
            let context: LoopContext
            var next: Chain?
            var flushes = 0
            init(_ context: LoopContext, next: Chain? = nil) { (self.context, self.next) = (context, next) }
            func flush() {
                flushes += 1
                if let next { context.flushSoon(next) }
            }
        }
        let rig = try Rig()
        defer { rig.close() }
        let second = Chain(rig.context)
        let first = Chain(rig.context, next: second)
        rig.context.flushSoon(first)
        rig.loop.run()
        #expect(first.flushes == 1 && second.flushes == 1)
    }

    /// A window grows as far as it was used and shrinks with time: the one used last has most of it, an unused one nothing.
    @Test func theConnectionUsedLastIsTakenFirstAndUnusedOnesLast() throws {
        let rig = try Rig()
        defer { rig.close() }
        let all = try (0..<4).map { _ in try rig.connect().0 }
        for connection in all[0..<2] {
            connection.write(ByteBuffer(string: "x"), ByteBuffer())
            connection.flush()
        }
        for (time, index) in [2, 1, 3, 0].enumerated() {
            all[index].release(now: Nanoseconds(milliseconds: Double(time)))
        }
        let taken = (0..<4).map { _ in rig.pool.take() }
        #expect(taken[0] === all[0] && taken[1] === all[1])
        #expect(taken[2...].allSatisfy { $0?.served == 0 } && rig.pool.take() == nil)
    }

    /// The pool keeps connections for a second here.
    @Test func whatIsIdleForLongGoesUnusedOnesFirst() throws {
        let rig = try Rig()
        defer { rig.close() }
        let (used, spare, late) = (try rig.connect(), try rig.connect(), try rig.connect())
        used.0.write(ByteBuffer(string: "x"), ByteBuffer())
        used.0.flush()
        for (time, connection) in [(0, used.0), (0, spare.0), (900, late.0)] {
            connection.release(now: Nanoseconds(milliseconds: Double(time)))
        }
        rig.pool.sweep(now: Nanoseconds(milliseconds: 1_000), keepsSpares: false)
        rig.loop.run()
        #expect([used, spare, late].map(\.1.isActive) == [true, true, true])
        rig.pool.sweep(now: Nanoseconds(milliseconds: 1_001), keepsSpares: false)
        rig.loop.run()
        #expect([used, spare, late].map(\.1.isActive) == [false, false, true])
    }

    /// An answer may come before its request has been sent, if the server speaks first. The next one would follow the
    /// request and get its answer.
    @Test func whatIsAnsweredUnsentIsNotUsedAgain() throws {
        let rig = try Rig()
        defer { rig.close() }
        let (connection, channel) = try rig.connect()
        connection.write(ByteBuffer(string: "x"), ByteBuffer())
        rig.context.flushSoon(connection)
        connection.release(now: Nanoseconds(0))
        rig.loop.run()
        #expect(rig.pool.take() == nil && !channel.isActive)
        let (other, _) = try rig.connect()
        other.write(ByteBuffer(string: "x"), ByteBuffer())
        other.flush()
        other.release(now: Nanoseconds(0))
        #expect(rig.pool.take() === other)
    }
}
