import CZeroMQ

/// Memory for a message that is received: its first frame and its last two, for those in the middle vary.
public final class ZMQMessage {
    let frames: UnsafeMutablePointer<zmq_msg_t>
    public internal(set) var count = 0
    private static let kept = 3

    public init() {
        frames = .allocate(capacity: Self.kept)
        frames.initialize(repeating: zmq_msg_t(), count: Self.kept)
        for index in 0..<Self.kept { _ = zmq_msg_init(frames + index) }
    }

    deinit {
        for index in 0..<Self.kept { _ = zmq_msg_close(frames + index) }
        frames.deallocate()
    }

    /// Where frame `index` goes.
    func place(_ index: Int) -> UnsafeMutablePointer<zmq_msg_t> { frames + (index == 0 ? 0 : 1 + index % 2) }

    /// Frames as they lie in libzmq's memory, until the next message is received; empty if there is none.
    public var first: UnsafeRawBufferPointer { bytes(0) }
    public var beforeLast: UnsafeRawBufferPointer { bytes(count - 2) }
    public var last: UnsafeRawBufferPointer { bytes(count - 1) }

    private func bytes(_ index: Int) -> UnsafeRawBufferPointer {
        guard index >= 0, index < count else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        let frame = place(index)
        return UnsafeRawBufferPointer(start: zmq_msg_data(frame), count: zmq_msg_size(frame))
    }

    /// Of a message of a monitor: whether there is a connection now.
    public var connection: Bool? {
        let event = beforeLast
        guard event.count >= MemoryLayout<UInt16>.size else { return nil }
        switch Int32(event.loadUnaligned(as: UInt16.self)) {
        case ZMQ_EVENT_HANDSHAKE_SUCCEEDED: return true
        case ZMQ_EVENT_DISCONNECTED: return false
        default: return nil
        }
    }
}
