import CZeroMQ
import Glibc

/// Sockets that are waited for together.
public struct ZMQPoll {
    private var items: [zmq_pollitem_t] = []

    public init() {}

    public mutating func removeAll() { items.removeAll(keepingCapacity: true) }

    public mutating func add(_ socket: ZMQSocket) {
        items.append(zmq_pollitem_t(socket: socket.raw, fd: 0, events: Int16(ZMQ_POLLIN), revents: 0))
    }

    /// Until one of them has a message, at most `milliseconds`. Errors: closed.
    public mutating func wait(milliseconds: Int) throws(ZMQError) {
        let found = items.withUnsafeMutableBufferPointer {
            zmq_poll($0.baseAddress, Int32($0.count), milliseconds)
        }
        guard found >= 0 || zmq_errno() == EINTR else { throw ZMQError() }
    }
}
