import CNATS

/// Messages of a subject, in libnats' memory until they are taken. One thread at a time.
public final class NATSSubscription {
    private let raw: OpaquePointer
    private let connection: NATSConnection

    init(_ raw: OpaquePointer?, of connection: NATSConnection) throws(NATSError) {
        guard let raw else { throw NATSError(NATS_NO_MEMORY) }
        (self.raw, self.connection) = (raw, connection)
    }

    deinit {
        natsSubscription_Unsubscribe(raw)
        natsSubscription_Destroy(raw)
    }

    /// Beyond so many messages, or bytes, that nobody has taken, further ones are dropped: nobody waits for us.
    public func limit(messages: Int32, bytes: Int32) throws(NATSError) {
        try NATSError.check(natsSubscription_SetPendingLimits(raw, messages, bytes))
    }

    /// The next one, waiting for at most `timeout` milliseconds; false: there is none. `body` gets the subject, the bytes, and
    /// of a stream the message's number. Errors of the subscription; that some were dropped is none.
    public func next(
        timeout: Int64, _ body: (_ subject: String, _ bytes: UnsafeRawBufferPointer, _ number: UInt64) -> Void
    ) throws(NATSError) -> Bool {
        var message: OpaquePointer?
        let status = natsSubscription_NextMsg(&message, raw, timeout)
        guard status == NATS_OK else {
            if status == NATS_TIMEOUT || status == NATS_SLOW_CONSUMER { return false }
            throw NATSError(status)
        }
        guard let message else { return false }
        defer { natsMsg_Destroy(message) }
        let subject = natsMsg_GetSubject(message).map { String(cString: $0) } ?? ""
        let bytes = UnsafeRawBufferPointer(
            start: natsMsg_GetData(message), count: Int(natsMsg_GetDataLength(message)))
        body(subject, bytes, Self.number(message))
        return true
    }

    /// Of a message of a stream, in it; 0: it is of none.
    private static func number(_ message: OpaquePointer) -> UInt64 {
        var data: UnsafeMutablePointer<jsMsgMetaData>?
        guard natsMsg_GetMetaData(&data, message) == NATS_OK, let data else { return 0 }
        defer { jsMsgMetaData_Destroy(data) }
        return data.pointee.Sequence.Stream
    }

    /// How many wait to be taken, and how many were dropped.
    public var waiting: Int {
        var (messages, bytes) = (Int32(0), Int32(0))
        natsSubscription_GetPending(raw, &messages, &bytes)
        return Int(messages)
    }
    public var dropped: Int {
        var count: Int64 = 0
        natsSubscription_GetDropped(raw, &count)
        return Int(count)
    }
}
