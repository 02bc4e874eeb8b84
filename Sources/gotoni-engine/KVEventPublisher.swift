import Foundation
import GotoniEngines
import ZeroMQ

/// Publishes batches of KV events as SGLang does: `[topic, number, batch]` on a PUB socket, the last 10,000 once more to
/// whoever asks the ROUTER socket for them. On a thread of its own; the engine hands batches over and never waits: one that
/// does not fit into the queue is lost, and its number is missing.
final class KVEventPublisher {
    private let context: ZMQContext
    private let queue: ZMQSocket
    /// Of the next batch.
    private(set) var number: UInt64 = 0
    private static let queueAddress = "inproc://batches"
    private static let mostWaiting: Int32 = 100_000

    /// Errors: an address that cannot be bound.
    init(host: String, _ ports: KVEventPorts) throws(ZMQError) {
        context = try ZMQContext(mostSockets: 16)
        let outlet = try KVEventOutlet(context, host: host, ports, queueAddress: Self.queueAddress)
        queue = try ZMQSocket(.push, in: context)
        try queue.set(.sendLimit, Self.mostWaiting)
        try queue.connect(Self.queueAddress)
        Thread.detachNewThread { outlet.run() }
    }

    func publish(_ batch: [UInt8]) {
        _ = try? queue.send([KVEventOutlet.bytes(of: number), batch])
        number += 1
    }

    /// The process ends and starts again: connections are cut, numbers begin at 0, nothing is kept.
    func restart() {
        _ = try? queue.send([KVEventOutlet.bytes(of: KVEventOutlet.end), []])
        number = 0
    }

    deinit { context.shutDown() }
}

/// The publisher's end of the queue. On the thread that runs it.
private final class KVEventOutlet: @unchecked Sendable {
    /// In the place of a number: a replay's end, and a restart in the queue.
    static let end = UInt64.max
    static let kept = 10_000
    private static let topic = Array("kv".utf8)

    private let context: ZMQContext
    private let queue: ZMQSocket
    private let addresses: (events: String, replay: String?)
    /// Nil: about to be bound.
    private var events: ZMQSocket?
    private var replay: ZMQSocket?
    /// Message n at n modulo their number.
    private var batches: [(number: UInt64, batch: [UInt8])] = []

    init(_ context: ZMQContext, host: String, _ ports: KVEventPorts, queueAddress: String) throws(ZMQError) {
        self.context = context
        queue = try ZMQSocket(.pull, in: context)
        try queue.bind(queueAddress)
        let host = host.contains(":") ? "[\(host)]" : host
        addresses = ("tcp://\(host):\(ports.events)", ports.replay.map { "tcp://\(host):\($0)" })
        try bind()
    }

    static func bytes(of number: UInt64) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }

    private func bind() throws(ZMQError) {
        let events = try ZMQSocket(.publisher, in: context)
        try events.set(.sendLimit, 100_000)
        try events.bind(addresses.events)
        if let address = addresses.replay {
            let replay = try ZMQSocket(.router, in: context)
            // A whole replay, or its end would be lost.
            try replay.set(.sendLimit, Int32(2 * Self.kept))
            try replay.bind(address)
            self.replay = replay
        }
        self.events = events
    }

    /// Until the context is shut down.
    func run() {
        let message = ZMQMessage()
        var poll = ZMQPoll()
        do throws(ZMQError) {
            while true {
                poll.removeAll()
                poll.add(queue)
                if let replay { poll.add(replay) }
                try poll.wait(milliseconds: events == nil ? 10 : 1_000)
                // What was bound before a restart may still be closing.
                if events == nil { do { try bind() } catch { if error == .closed { throw error } } }
                while let replay, try replay.receive(message) { try answer(message, on: replay) }
                while try queue.receive(message) { try publish(message) }
            }
        } catch {
            // The process ends.
        }
    }

    private func publish(_ message: ZMQMessage) throws(ZMQError) {
        let number = UInt64(bigEndian: message.first.loadUnaligned(as: UInt64.self))
        guard number != Self.end else {
            (events, replay, batches) = (nil, nil, [])
            return
        }
        let batch = Array(message.last)
        if batches.count < Self.kept {
            batches.append((number, batch))
        } else {
            batches[Int(number % UInt64(Self.kept))] = (number, batch)
        }
        _ = try events?.send([Self.topic, Self.bytes(of: number), batch])
    }

    /// As REQ sockets ask, from the number on that the last frame has.
    private func answer(_ message: ZMQMessage, on replay: ZMQSocket) throws(ZMQError) {
        guard message.count >= 3, message.last.count == MemoryLayout<UInt64>.size else { return }
        let (who, first) = (Array(message.first), UInt64(bigEndian: message.last.loadUnaligned(as: UInt64.self)))
        for (number, batch) in batches.sorted(by: { $0.number < $1.number }) where number >= first {
            guard try replay.send([who, [], Self.topic, Self.bytes(of: number), batch]) else { return }
        }
        _ = try replay.send([who, [], Self.topic, Self.bytes(of: Self.end), []])
    }
}
