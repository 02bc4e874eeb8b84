import CZeroMQ
import Glibc

/// A socket of libzmq. One thread at a time.
public final class ZMQSocket {
    public enum Kind: Sendable { case subscriber, publisher, dealer, router, push, pull, pair }

    /// Times are in milliseconds, limits in messages.
    public enum Option: Sendable {
        case receiveLimit, sendLimit, linger, reconnectInterval, longestReconnectInterval, connectTimeout
        case heartbeatInterval, heartbeatTimeout, ipv6
    }

    let raw: UnsafeMutableRawPointer
    private let context: ZMQContext

    /// It does not linger: what is not sent when it goes is lost. IPv6 and IPv4.
    public init(_ kind: Kind, in context: ZMQContext) throws(ZMQError) {
        let type =
            switch kind {
            case .subscriber: ZMQ_SUB
            case .publisher: ZMQ_PUB
            case .dealer: ZMQ_DEALER
            case .router: ZMQ_ROUTER
            case .push: ZMQ_PUSH
            case .pull: ZMQ_PULL
            case .pair: ZMQ_PAIR
            }
        guard let raw = zmq_socket(context.raw, type) else { throw ZMQError() }
        (self.raw, self.context) = (raw, context)
        try set(.linger, 0)
        try set(.ipv6, 1)
    }

    deinit { _ = zmq_close(raw) }

    public func set(_ option: Option, _ value: Int32) throws(ZMQError) {
        let name =
            switch option {
            case .receiveLimit: ZMQ_RCVHWM
            case .sendLimit: ZMQ_SNDHWM
            case .linger: ZMQ_LINGER
            case .reconnectInterval: ZMQ_RECONNECT_IVL
            case .longestReconnectInterval: ZMQ_RECONNECT_IVL_MAX
            case .connectTimeout: ZMQ_CONNECT_TIMEOUT
            case .heartbeatInterval: ZMQ_HEARTBEAT_IVL
            case .heartbeatTimeout: ZMQ_HEARTBEAT_TIMEOUT
            case .ipv6: ZMQ_IPV6
            }
        var value = value
        try check(zmq_setsockopt(raw, name, &value, MemoryLayout<Int32>.size))
    }

    /// Who sends a larger frame is disconnected.
    public func limit(frameBytes: Int64) throws(ZMQError) {
        var bytes = frameBytes
        try check(zmq_setsockopt(raw, ZMQ_MAXMSGSIZE, &bytes, MemoryLayout<Int64>.size))
    }

    /// A subscriber: all topics.
    public func subscribe() throws(ZMQError) { try check(zmq_setsockopt(raw, ZMQ_SUBSCRIBE, nil, 0)) }

    public func bind(_ address: String) throws(ZMQError) { try check(zmq_bind(raw, address)) }
    /// Returns at once; there is a connection when there can be one.
    public func connect(_ address: String) throws(ZMQError) { try check(zmq_connect(raw, address)) }

    /// A socket with a message each time a connection begins or ends (`ZMQMessage.connection`). `name`: no other has it.
    public func monitor(_ name: String) throws(ZMQError) -> ZMQSocket {
        let address = "inproc://\(name)"
        try check(zmq_socket_monitor(raw, address, ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED))
        let monitor = try ZMQSocket(.pair, in: context)
        try monitor.connect(address)
        return monitor
    }

    /// Takes the next message, if one is there.
    public func receive(_ message: ZMQMessage) throws(ZMQError) -> Bool {
        message.count = 0
        var hasMore = true
        while hasMore {
            let frame = message.place(message.count)
            guard zmq_msg_recv(frame, raw, ZMQ_DONTWAIT) >= 0 else {
                message.count = 0
                guard Self.mayComeLater(zmq_errno()) else { throw ZMQError() }
                return false
            }
            message.count += 1
            hasMore = zmq_msg_more(frame) != 0
        }
        return true
    }

    /// Sends a message of these frames. False: there is no room for it now, or nobody to take it.
    public func send(_ frames: [[UInt8]]) throws(ZMQError) -> Bool {
        for (index, frame) in frames.enumerated() {
            let flags = ZMQ_DONTWAIT | (index + 1 < frames.count ? ZMQ_SNDMORE : 0)
            let sent = frame.withUnsafeBytes { zmq_send(raw, $0.baseAddress, $0.count, flags) }
            guard sent >= 0 else {
                guard Self.mayComeLater(zmq_errno()) else { throw ZMQError() }
                return false
            }
        }
        return true
    }

    private static func mayComeLater(_ code: Int32) -> Bool { code == EAGAIN || code == EINTR || code == EHOSTUNREACH }

    private func check(_ status: Int32) throws(ZMQError) { if status != 0 { throw ZMQError() } }
}
