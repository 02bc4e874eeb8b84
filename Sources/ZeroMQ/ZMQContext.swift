import CZeroMQ
import Glibc

/// What libzmq says when it cannot.
public struct ZMQError: Error, Equatable, Sendable, CustomStringConvertible {
    public let code: Int32

    /// Of the call that has just failed on this thread.
    init() { code = zmq_errno() }
    init(code: Int32) { self.code = code }

    /// The context was shut down.
    public static let closed = ZMQError(code: ETERM)
    public var description: String { String(cString: zmq_strerror(code)) }
}

/// Sockets live in a context, which has a thread for their input and output. Any thread.
public final class ZMQContext: @unchecked Sendable {
    let raw: UnsafeMutableRawPointer

    public init(mostSockets: Int32) throws(ZMQError) {
        guard let raw = zmq_ctx_new() else { throw ZMQError() }
        self.raw = raw
        guard zmq_ctx_set(raw, ZMQ_MAX_SOCKETS, mostSockets) == 0 else { throw ZMQError() }
    }

    /// From now on all calls on its sockets fail with `closed`, also those that wait: so their threads can end.
    public func shutDown() { _ = zmq_ctx_shutdown(raw) }

    // Sockets hold their context, so none is left.
    deinit { _ = zmq_ctx_term(raw) }
}
