import NIOCore

/// Server-sent events as the body of an HTTP answer, each in a chunk of its own.
struct EventStream {
    /// HTTP/1.0 has no chunks: there the end of the connection is the end.
    let isChunked: Bool
    /// What is to be sent.
    private(set) var bytes = ByteBuffer()

    init(isChunked: Bool) { self.isChunked = isChunked }

    /// An event; `name` is its `event:` line.
    mutating func add(_ json: String, name: String? = nil) {
        add(ByteBuffer(string: (name.map { "event: \($0)\n" } ?? "") + "data: " + json), "", Self.end)
    }

    /// `before` with its "data: ", `text`, `after` with the empty line.
    mutating func add(_ before: ByteBuffer, _ text: StaticString, _ after: ByteBuffer) {
        if isChunked {
            bytes.writeString(String(before.readableBytes + text.utf8CodeUnitCount + after.readableBytes, radix: 16))
            bytes.writeStaticString("\r\n")
        }
        bytes.writeImmutableBuffer(before)
        bytes.writeStaticString(text)
        bytes.writeImmutableBuffer(after)
        if isChunked { bytes.writeStaticString("\r\n") }
    }

    static let end = ByteBuffer(string: "\n\n")

    /// Nothing comes after this.
    mutating func close() { if isChunked { bytes.writeStaticString("0\r\n\r\n") } }

    mutating func take() -> ByteBuffer {
        defer { bytes = ByteBuffer() }
        return bytes
    }
}
