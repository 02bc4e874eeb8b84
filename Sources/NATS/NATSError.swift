import CNATS

/// What libnats says when it cannot.
public struct NATSError: Error, Equatable, Sendable, CustomStringConvertible {
    let code: UInt32
    /// Of JetStream; 0: none.
    let streamCode: UInt32
    private let detail: String

    init(_ status: natsStatus, _ streamCode: jsErrCode = jsErrCode(0)) {
        code = status.rawValue
        self.streamCode = streamCode.rawValue
        // Of the call that has just failed on this thread; it may be of an earlier one where this one left none.
        var last = NATS_OK
        let text = nats_GetLastError(&last).map { String(cString: $0) } ?? ""
        let name = natsStatus_GetText(status).map { String(cString: $0) } ?? "status \(status.rawValue)"
        detail = last == status && !text.isEmpty ? "\(name): \(text)" : name
    }

    public var description: String { detail }

    /// The other side has ended the connection without a word. It refuses certificates so.
    public var isBrokenOff: Bool {
        code == NATS_IO_ERROR.rawValue || code == NATS_PROTOCOL_ERROR.rawValue
            || code == NATS_CONNECTION_CLOSED.rawValue
    }

    static func check(_ status: natsStatus, _ streamCode: jsErrCode = jsErrCode(0)) throws(NATSError) {
        if status != NATS_OK { throw NATSError(status, streamCode) }
    }

    public static func == (a: NATSError, b: NATSError) -> Bool { (a.code, a.streamCode) == (b.code, b.streamCode) }
}
