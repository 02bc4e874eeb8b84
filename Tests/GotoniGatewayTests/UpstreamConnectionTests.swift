import GotoniCore
import NIOCore
import NIOEmbedded
import Testing

@testable import GotoniGateway

/// Connections without sockets, on a loop whose turns the test makes.
@Suite struct UpstreamConnectionTests {
    /// Connections of one pool. Must be used on one thread, and by no `async` test.
    private struct Rig {
        let loop = EmbeddedEventLoop()
        let pool: UpstreamPool

        init() throws {
            let server = Server(
                id: ServerID(1), name: "a", url: try #require(ServerURL("127.0.0.1:1")), tls: nil, limit: 1)
            pool = UpstreamPool(
                server: server, loop: loop, connectTimeout: Nanoseconds(0), keepAlive: Nanoseconds(milliseconds: 1_000))
        }

        func connect() throws -> (UpstreamConnection, EmbeddedChannel) {
            let connection = UpstreamConnection(pool: pool)
            let channel = EmbeddedChannel(handler: connection, loop: loop)
            try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
            return (connection, channel)
        }
    }

    private func sent(_ channel: EmbeddedChannel) throws -> String {
        var text = ""
        while let bytes = try channel.readOutbound(as: ByteBuffer.self) { text += String(buffer: bytes) }
        return text
    }

    @Test func requestsOfATurnLeaveAtItsEnd() throws {
        let rig = try Rig()
        let (a, b) = (try rig.connect(), try rig.connect())
        a.0.send(ByteBuffer(string: "head"), ByteBuffer(string: "body"))
        b.0.send(ByteBuffer(string: "HEAD"), ByteBuffer())
        let early = [try sent(a.1), try sent(b.1)]
        #expect(early == ["", ""])
        rig.loop.run()
        let late = [try sent(a.1), try sent(b.1)]
        #expect(late == ["headbody", "HEAD"])
        // The next turn has an end of its own.
        a.0.send(ByteBuffer(string: "again"), ByteBuffer())
        rig.loop.run()
        #expect(try sent(a.1) == "again")
    }

    @Test func manyDoNotWaitForTheEnd() throws {
        let rig = try Rig()
        let all = try (0...UpstreamPool.mostUnflushed).map { _ in try rig.connect() }
        for (connection, _) in all { connection.send(ByteBuffer(string: "x"), ByteBuffer()) }
        #expect(try all.map { try sent($0.1) } == all.indices.map { $0 < UpstreamPool.mostUnflushed ? "x" : "" })
        rig.loop.run()
        #expect(try sent(all[UpstreamPool.mostUnflushed].1) == "x")
    }

    @Test func probesDoNotWait() throws {
        let rig = try Rig()
        let (connection, channel) = try rig.connect()
        connection.send(ByteBuffer(string: "x"), ByteBuffer(), atOnce: true)
        #expect(try sent(channel) == "x")
    }

    /// An answer may come before its request has been sent, if the server speaks first. The next one would follow the
    /// request and get its answer.
    @Test func whatIsAnsweredUnsentIsNotUsedAgain() throws {
        let rig = try Rig()
        let (connection, channel) = try rig.connect()
        connection.send(ByteBuffer(string: "x"), ByteBuffer())
        connection.release(now: Nanoseconds(0))
        rig.loop.run()
        #expect(rig.pool.take() == nil && !channel.isActive)
        let (other, _) = try rig.connect()
        other.send(ByteBuffer(string: "x"), ByteBuffer())
        rig.loop.run()
        other.release(now: Nanoseconds(0))
        #expect(rig.pool.take() === other)
    }
}
