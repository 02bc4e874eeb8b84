import Glibc
import GotoniCore
import GotoniEngines
import Logging
import NIOConcurrencyHelpers
import TestSupport
import Testing
import ZeroMQ

@testable import GotoniGateway

/// A publisher on real sockets, and a feed before it, turn by turn on this thread.
private final class Wire {
    let server = Server(
        id: ServerID(1), name: "a", url: ServerURL("http://127.0.0.1:9")!, tls: nil, limit: 1)
    let router: SharedRouter
    private let context: ZMQContext
    private var events: ZMQSocket?
    private var replay: ZMQSocket?
    private let ports: KVEventPorts
    private let feed: KVEventFeed
    private let message = ZMQMessage()
    private var poll = ZMQPoll()
    var engine = CachingEngine(blockTokens: 16, model: "m")
    var kept: [KVMessage] = []
    /// Whether answers to replays have a topic, as those of newer engines.
    let hasTopic: Bool

    init(hasTopic: Bool = true) throws {
        self.hasTopic = hasTopic
        router = try SharedRouter(Configuration())
        try router.withRouter { (router) throws(RouterError) in
            try router.add(ServerConfiguration(id: ServerID(1), kvCapacityTokens: .max), now: Nanoseconds(1))
        }
        context = try ZMQContext(mostSockets: 32)
        let (one, other) = try freePorts()
        ports = try #require(KVEventPorts("\(one)/\(other)"))
        feed = try KVEventFeed(
            server, router, ports, model: "m", adapterIsModel: false, in: context, number: 1,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    func begin() throws {
        let (events, replay) = (try ZMQSocket(.publisher, in: context), try ZMQSocket(.router, in: context))
        try events.bind("tcp://127.0.0.1:\(ports.events)")
        try replay.bind("tcp://127.0.0.1:\(ports.replay ?? 0)")
        (self.events, self.replay) = (events, replay)
    }

    func end() { (events, replay) = (nil, nil) }

    var hasBegun: Bool { replay != nil }
    func endReplays() { replay = nil }

    func publish(_ frames: [[UInt8]]) throws { _ = try events?.send(frames) }

    func publish(_ message: KVMessage) throws { try publish([Array("kv".utf8), bytes(message.number), message.bytes]) }

    private func bytes(_ number: UInt64) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }

    var figures: KVEventFigures { server.state.withLockedValue { $0.kvEvents ?? KVEventFigures() } }

    /// Turns until it holds; `again` is done before each.
    func turn(_ what: String, within seconds: Double = 10, _ again: () throws -> Void = {}, until: () -> Bool) throws {
        let deadline = Clock.now().plus(Nanoseconds(milliseconds: seconds * 1_000))
        while !until() {
            guard Clock.now() < deadline else { throw TimedOut(description: "waited in vain for \(what)") }
            try again()
            if let replay, try replay.receive(message) {
                let (who, first) = (
                    Array(message.first), UInt64(bigEndian: message.last.loadUnaligned(as: UInt64.self))
                )
                let topic = hasTopic ? [Array("kv".utf8)] : []
                for message in kept where message.number >= first {
                    _ = try replay.send([who, []] + topic + [bytes(message.number), message.bytes])
                }
                _ = try replay.send([who, []] + topic + [bytes(.max), []])
            }
            poll.removeAll()
            feed.add(to: &poll)
            try poll.wait(milliseconds: 5)
            try feed.turn(message, now: Clock.now())
        }
    }

    func isKnown() -> Bool {
        engine.known.allSatisfy { (try? router.matched($0, model: "m", on: ServerID(1))) == engine.cached($0) }
    }
}

/// Two that were free a moment ago.
private func freePorts() throws -> (Int, Int) {
    func port() throws -> (socket: Int32, port: Int) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let port = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address -> UInt16 in
                guard bind(descriptor, address, length) == 0, getsockname(descriptor, address, &length) == 0 else {
                    return 0
                }
                return UInt16(bigEndian: UnsafeRawPointer(address).load(as: sockaddr_in.self).sin_port)
            }
        }
        try #require(port > 0)
        return (descriptor, Int(port))
    }
    let (one, other) = (try port(), try port())
    close(one.socket)
    close(other.socket)
    return (one.port, other.port)
}

extension Sockets {
    @Suite struct KVEventFeedTests {
        /// Replays as older and newer engines answer them.
        @Test(arguments: [false, true]) func whatCameBeforeIsReplayed(_ hasTopic: Bool) throws {
            var random = SplitMix64(seed: 11)
            let wire = try Wire(hasTopic: hasTopic)
            for _ in 0..<50 { wire.kept.append(wire.engine.work(&random)) }
            try wire.begin()
            try wire.turn("a replay") { wire.figures.isLive }
            #expect(wire.figures.counts.applied == 50 && wire.figures.isComplete && wire.isKnown())
        }

        /// Frames that are no message are counted, and what comes then is applied.
        @Test func nonsenseIsCounted() throws {
            var random = SplitMix64(seed: 12)
            let wire = try Wire()
            try wire.begin()
            try wire.turn("a connection") { wire.figures.isLive }
            let good = wire.engine.work(&random)
            wire.kept = [good]
            try wire.turn("a message", { try wire.publish(good) }) { wire.figures.counts.applied == 1 }
            let number = [UInt8](repeating: 0, count: 7) + [1]
            for frames: [[UInt8]] in [
                [[]], [[1, 2, 3]], [[], [], []], [[], [1, 2, 3], [0x90]], [[], number, []], [[], number, [0xC1]],
                [[], [UInt8](repeating: 0xFF, count: 8), []], [[], number, [0xDD, 0xFF, 0xFF, 0xFF, 0xFF]],
            ] { try wire.publish(frames) }
            try wire.turn("all of them") { wire.figures.account.unreadable == 8 }
            #expect(!wire.figures.isInForce && wire.figures.account.problem != nil)
            let next = wire.engine.work(&random)
            wire.kept.append(next)
            try wire.publish(next)
            try wire.turn("the next") { wire.figures.counts.applied == 2 }
            #expect(wire.figures.isInForce && wire.isKnown())
        }

        /// Gone, and another one is there: noticed within a second of its being back, and nothing of the old one is believed.
        @Test func anotherEngineIsNoticed() throws {
            var random = SplitMix64(seed: 13)
            let wire = try Wire()
            for _ in 0..<20 { wire.kept.append(wire.engine.work(&random)) }
            try wire.begin()
            try wire.turn("a replay") { wire.figures.isLive && wire.isKnown() }
            wire.end()
            try wire.turn("the end") { !wire.figures.isConnected }
            wire.engine.restart()
            wire.kept = []
            try wire.turn("a port that is free again", { try? wire.begin() }) { wire.hasBegun }
            try wire.turn("the restart", within: 1) { wire.figures.counts.restarts == 1 && wire.figures.isLive }
            #expect(wire.isKnown(), "nothing is cached")
            let first = wire.engine.work(&random)
            wire.kept = [first]
            try wire.turn("its first message", { try wire.publish(first) }) { wire.isKnown() }
        }

        /// Nobody answers replays: after two seconds it goes on without.
        @Test func aReplayMayFail() throws {
            var random = SplitMix64(seed: 14)
            let wire = try Wire()
            try wire.begin()
            wire.endReplays()
            _ = wire.engine.work(&random)
            let second = wire.engine.work(&random)
            try wire.turn("a failure", { try wire.publish(second) }) { wire.figures.counts.losses == 1 }
            try wire.turn("a message", { try wire.publish(second) }) { wire.figures.isInForce }
            #expect(wire.figures.counts.applied == 1 && !wire.figures.isComplete)
        }
    }
}
