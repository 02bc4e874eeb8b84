import NIOCore
import NIOHTTP1

/// An answer of known length.
struct Reply {
    var status: HTTPResponseStatus
    var contentType = "application/json"
    var body: String
    var headers: [(String, String)] = []

    static func json(_ body: String) -> Reply { Reply(status: .ok, body: body) }

    /// In OpenAI's form.
    static func error(_ status: HTTPResponseStatus, _ text: String) -> Reply {
        let type =
            switch status.code {
            case 401, 403: "authentication_error"
            case 429: "rate_limit_error"
            case 500...: "server_error"
            default: "invalid_request_error"
            }
        return Reply(
            status: status,
            body: #"{"object":"error","error":{"message":\#(quoted(text)),"type":"\#(type)","param":null,"#
                + #""code":\#(status.code)}}"#)
    }

    /// The head of an answer; `length` is nil for a stream.
    static func head(
        _ status: HTTPResponseStatus, _ contentType: String, length: Int?, isChunked: Bool, keepAlive: Bool,
        _ headers: [(String, String)] = []
    ) -> String {
        var head = "HTTP/1.1 \(status.code) \(status.reasonPhrase)\r\ncontent-type: \(contentType)\r\n"
        if let length { head += "content-length: \(length)\r\n" }
        if isChunked { head += "transfer-encoding: chunked\r\n" }
        if !keepAlive { head += "connection: close\r\n" }
        for (name, value) in headers { head += "\(name): \(value)\r\n" }
        return head + "\r\n"
    }

    /// The answer to HEAD is `withBody` false.
    func bytes(keepAlive: Bool, withBody: Bool = true) -> ByteBuffer {
        let head = Self.head(
            status, contentType, length: body.utf8.count, isChunked: false, keepAlive: keepAlive, headers)
        var bytes = ByteBuffer()
        bytes.reserveCapacity(head.utf8.count + body.utf8.count)
        bytes.writeString(head)
        if withBody { bytes.writeString(body) }
        return bytes
    }
}
