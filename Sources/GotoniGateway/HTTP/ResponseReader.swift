import NIOCore

/// Why bytes of a server are no HTTP/1.1 answer.
enum ResponseError: Error, Equatable {
    case malformed
    case headTooLong
}

/// Reads one HTTP/1.1 answer from a server, only as far as a proxy must: where its head ends, how its body is framed,
/// where that ends. The bytes themselves are passed on as they are, so nothing is decoded and encoded again.
///
/// A struct without I/O: `head` until it gives one, then `body` for every read. RFC 9112, sections 2 to 7.
struct ResponseReader {
    /// How the end of the body is known.
    enum Framing: Equatable {
        case none
        case length(Int)
        case chunked
        case untilClose
    }

    struct Head {
        var status: Int
        var framing: Framing
        /// The connection can carry another request afterwards.
        var keepAlive: Bool
        var isEventStream: Bool
        /// Seconds of a Retry-After given as a number.
        var retryAfter: Int?
        /// Milliseconds in the queue of the gateway that answered.
        var queueWait: Int?
        /// The status line and the fields that are passed on, each ending in CRLF, without the empty line.
        var fields: ByteBuffer
    }

    static let longestHead = 64 << 10

    /// What is next in the body.
    private enum State: Equatable {
        case head
        case payload(left: Int)
        case untilClose
        case chunkSize(digits: Int, value: Int)
        case chunkExtension(length: Int, value: Int)
        case chunkSizeLF(value: Int)
        case chunkData(left: Int)
        case chunkCR
        case chunkLF
        case trailer(lineLength: Int, total: Int)
        case trailerLF(lineLength: Int, total: Int)
        case end
    }

    private var state = State.head

    /// The answer is complete.
    var isComplete: Bool { state == .end }
    /// Nothing of a chunk is missing: something may be written between what came and what will come.
    var isBetweenChunks: Bool {
        if case .chunkSize(digits: 0, _) = state { return true }
        return false
    }
    /// The end of the connection is the end of the body.
    var endsWithConnection: Bool { state == .untilClose }

    /// The head, once all of it is in `buffer`, which it is taken from; nil while more bytes are needed. Informational
    /// answers (100 to 199) are taken and skipped.
    mutating func head(from buffer: inout ByteBuffer, toHEAD: Bool) throws(ResponseError) -> Head? {
        while true {
            guard let length = Self.lengthOfHead(buffer.readableBytesView) else {
                if buffer.readableBytes > Self.longestHead { throw .headTooLong }
                return nil
            }
            guard length <= Self.longestHead, let bytes = buffer.readSlice(length: length) else { throw .headTooLong }
            let head = try Self.parse(bytes, toHEAD: toHEAD)
            if head.status < 200 {
                // We never ask to switch protocols.
                guard head.status != 101 else { throw .malformed }
                continue
            }
            switch head.framing {
            case .none, .length(0): state = .end
            case .length(let left): state = .payload(left: left)
            case .chunked: state = .chunkSize(digits: 0, value: 0)
            case .untilClose: state = .untilClose
            }
            return head
        }
    }

    /// Takes the next bytes of the body. Gives how many belong to this answer: less than all only at its end.
    /// `payload` gets the content, without the framing of chunks, in pieces.
    mutating func body(
        _ bytes: UnsafeRawBufferPointer, _ payload: (UnsafeRawBufferPointer) -> Void
    ) throws(ResponseError) -> Int {
        var at = 0
        while at < bytes.count {
            switch state {
            case .payload(let left):
                let count = min(left, bytes.count - at)
                payload(UnsafeRawBufferPointer(rebasing: bytes[at..<at + count]))
                at += count
                state = count == left ? .end : .payload(left: left - count)
            case .untilClose:
                payload(UnsafeRawBufferPointer(rebasing: bytes[at...]))
                return bytes.count
            case .chunkData(let left):
                let count = min(left, bytes.count - at)
                payload(UnsafeRawBufferPointer(rebasing: bytes[at..<at + count]))
                at += count
                state = count == left ? .chunkCR : .chunkData(left: left - count)
            case .end, .head:
                return at
            default:
                try frame(bytes[at])
                at += 1
            }
        }
        return at
    }

    /// One byte of what lies between the data of chunks.
    private mutating func frame(_ byte: UInt8) throws(ResponseError) {
        switch state {
        case .chunkSize(let digits, let value):
            if let digit = byte.hexDigit {
                // Fifteen digits cannot overflow.
                guard digits < 15 else { throw .malformed }
                state = .chunkSize(digits: digits + 1, value: value << 4 | digit)
            } else {
                guard digits > 0 else { throw .malformed }
                switch byte {
                case UInt8(ascii: "\r"): state = .chunkSizeLF(value: value)
                case UInt8(ascii: ";"), UInt8(ascii: " "), UInt8(ascii: "\t"):
                    state = .chunkExtension(length: 1, value: value)
                default: throw .malformed
                }
            }
        case .chunkExtension(let length, let value):
            if byte == UInt8(ascii: "\r") {
                state = .chunkSizeLF(value: value)
            } else {
                guard length < 1024, byte != UInt8(ascii: "\n"), byte != 0 else { throw .malformed }
                state = .chunkExtension(length: length + 1, value: value)
            }
        case .chunkSizeLF(let value):
            guard byte == UInt8(ascii: "\n") else { throw .malformed }
            state = value == 0 ? .trailer(lineLength: 0, total: 0) : .chunkData(left: value)
        case .chunkCR:
            guard byte == UInt8(ascii: "\r") else { throw .malformed }
            state = .chunkLF
        case .chunkLF:
            guard byte == UInt8(ascii: "\n") else { throw .malformed }
            state = .chunkSize(digits: 0, value: 0)
        case .trailer(let lineLength, let total):
            guard total < Self.longestHead, byte != UInt8(ascii: "\n"), byte != 0 else { throw .malformed }
            state =
                byte == UInt8(ascii: "\r")
                ? .trailerLF(lineLength: lineLength, total: total + 1)
                : .trailer(lineLength: lineLength + 1, total: total + 1)
        case .trailerLF(let lineLength, let total):
            guard byte == UInt8(ascii: "\n") else { throw .malformed }
            state = lineLength == 0 ? .end : .trailer(lineLength: 0, total: total + 1)
        case .head, .payload, .untilClose, .chunkData, .end: break
        }
    }

    /// Length of the head with its empty line; nil if that has not come yet.
    private static func lengthOfHead(_ view: ByteBufferView) -> Int? {
        view.withUnsafeBytes { bytes in
            var from = 0
            while let newline = bytes.firstIndex(of: UInt8(ascii: "\n"), from: from) {
                if newline + 2 < bytes.count, bytes[newline + 1] == UInt8(ascii: "\r"),
                    bytes[newline + 2] == UInt8(ascii: "\n")
                {
                    return newline + 3
                }
                from = newline + 1
            }
            return nil
        }
    }
}

extension ResponseReader {
    /// Reads the head in `bytes`, which end with the empty line.
    private static func parse(_ bytes: ByteBuffer, toHEAD: Bool) throws(ResponseError) -> Head {
        var fields = ByteBufferAllocator().buffer(capacity: bytes.readableBytes + 160)
        var head = Head(
            status: 0, framing: .none, keepAlive: true, isEventStream: false, retryAfter: nil, queueWait: nil,
            fields: ByteBuffer())
        let isRead = bytes.withUnsafeReadableBytes { raw -> Bool in
            var length: Int?
            var isChunked = false
            var lines = HeaderLines(raw)
            guard let first = lines.next(), let (status, minor) = statusLine(first) else { return false }
            // It is passed on as it is: nothing in it may look like the end of a line.
            if first.hasControlCharacter(from: 0) { return false }
            head.status = status
            head.keepAlive = minor >= 1
            fields.writeStaticString("HTTP/1.1")
            fields.writeBytes(UnsafeRawBufferPointer(rebasing: first[8...]))
            fields.writeStaticString("\r\n")
            var alsoDropped = ConnectionOptions()
            // First what Connection names, for those fields are not passed on either.
            var scan = lines
            while let line = scan.next() {
                guard line.hasPrefix("connection") else { continue }
                guard let field = HeaderField(line) else { return false }
                if field.name.count == 10, !alsoDropped.add(field.value) { return false }
            }
            if alsoDropped.contains("close") { head.keepAlive = false }
            if minor == 0, alsoDropped.contains("keep-alive") { head.keepAlive = true }
            while let line = lines.next() {
                guard let field = HeaderField(line) else { return false }
                switch field.name.count {
                case 14 where field.name.equals("content-length"):
                    guard let value = field.value.number, length == nil || length == value else { return false }
                    if length != nil { continue }
                    length = value
                case 17 where field.name.equals("transfer-encoding"):
                    // The last coding must be chunked, and we can pass on no other.
                    guard field.value.equals("chunked"), !isChunked else { return false }
                    isChunked = true
                    continue
                case 12 where field.name.equals("content-type"):
                    head.isEventStream = field.value.hasPrefix("text/event-stream")
                case 11 where field.name.equals("retry-after"): head.retryAfter = field.value.number
                // The engine's name for the request; ours went there with it.
                case 12 where field.name.equals("x-request-id"): continue
                case 15 where field.name.equals("x-queue-wait-ms"):
                    // Written anew, with the wait here.
                    head.queueWait = field.value.number
                    continue
                default:
                    if field.name.isHopByHop || alsoDropped.contains(field.name) { continue }
                }
                fields.writeBytes(line)
                fields.writeStaticString("\r\n")
            }
            if toHEAD || head.status < 200 || head.status == 204 || head.status == 304 {
                head.framing = .none
                if isChunked, head.status < 200 || head.status == 204 { return false }
            } else if isChunked {
                // Both are an attempt to make two readers see two lengths.
                guard length == nil else { return false }
                head.framing = .chunked
                // HTTP/1.0 has no chunks: who knows what follows them.
                if minor == 0 { head.keepAlive = false }
            } else if let length {
                head.framing = .length(length)
            } else {
                head.framing = .untilClose
                head.keepAlive = false
            }
            return true
        }
        guard isRead else { throw .malformed }
        head.fields = fields
        return head
    }

    /// "HTTP/1.x nnn reason".
    private static func statusLine(_ line: UnsafeRawBufferPointer) -> (status: Int, minor: Int)? {
        guard line.count >= 12, line.hasPrefix("HTTP/1."), line[7] == UInt8(ascii: "1") || line[7] == UInt8(ascii: "0"),
            line[8] == UInt8(ascii: " "), line.count == 12 || line[12] == UInt8(ascii: " "),
            let status = UnsafeRawBufferPointer(rebasing: line[9..<12]).number, (100...999).contains(status)
        else { return nil }
        return (status, Int(line[7] - UInt8(ascii: "0")))
    }
}
