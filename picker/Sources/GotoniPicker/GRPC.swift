import NIOCore
import NIOHPACK

/// How a stream ended, as gRPC has it (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
struct GRPCStatus: Error, Equatable {
    enum Code: Int {
        case ok = 0
        case invalidArgument = 3
        case resourceExhausted = 8
        case failedPrecondition = 9
        case unimplemented = 12
    }

    var code: Code
    /// Visible ASCII without "%", so that it needs no encoding.
    var message: StaticString

    init(_ code: Code, _ message: StaticString) { (self.code, self.message) = (code, message) }

    static let ok = GRPCStatus(.ok, "")

    static func == (a: GRPCStatus, b: GRPCStatus) -> Bool {
        a.code == b.code && a.message.description == b.message.description
    }

    var trailers: HPACKHeaders {
        var fields = HPACKHeaders([("grpc-status", "\(code.rawValue)")])
        if message.utf8CodeUnitCount > 0 { fields.add(name: "grpc-message", value: "\(message)") }
        return fields
    }
}

/// Messages out of a stream of bytes: each has five bytes before it, a flag and its length.
struct GRPCMessages {
    private var pending = ByteBuffer()
    private let maxBytes: Int

    /// `maxBytes`: of a message.
    init(maxBytes: Int) { self.maxBytes = maxBytes }

    /// Part of a message has come, and the rest has not.
    var isInside: Bool { pending.readableBytes > 0 }

    mutating func add(_ bytes: ByteBuffer) {
        if pending.readableBytes == 0 { pending = bytes } else { pending.writeImmutableBuffer(bytes) }
    }

    /// Nil: it has not all come.
    mutating func next() throws(GRPCStatus) -> [UInt8]? {
        let start = pending.readerIndex
        guard let flag = pending.getInteger(at: start, as: UInt8.self),
            let length = pending.getInteger(at: start + 1, as: UInt32.self)
        else { return nil }
        guard flag == 0 else { throw GRPCStatus(.unimplemented, "messages must not be compressed") }
        guard length <= maxBytes else { throw GRPCStatus(.resourceExhausted, "the message is too large") }
        guard let message = pending.getBytes(at: start + 5, length: Int(length)) else { return nil }
        pending.moveReaderIndex(forwardBy: 5 + Int(length))
        if pending.readableBytes == 0 { pending = ByteBuffer() }
        return message
    }

    static func write(_ message: [UInt8], to buffer: inout ByteBuffer) {
        buffer.reserveCapacity(minimumWritableBytes: 5 + message.count)
        buffer.writeInteger(UInt8(0))
        buffer.writeInteger(UInt32(message.count))
        buffer.writeBytes(message)
    }
}
