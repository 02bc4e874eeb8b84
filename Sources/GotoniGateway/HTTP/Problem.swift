import NIOCore

/// An answer of the gateway's own when a request cannot be served: what happened and what to do, in the error shape
/// that OpenAI's clients read.
struct Problem: Error, Equatable {
    var status: Int
    /// OpenAI's `error.type`.
    var type: StaticString
    /// OpenAI's `error.code`: a stable word for programs.
    var code: StaticString
    var message: String
    /// Seconds after which trying again makes sense.
    var retryAfter: Int?
    /// The connection cannot be used any longer, for the rest of the request is unread or unreadable.
    var closes = false

    static func == (a: Problem, b: Problem) -> Bool {
        a.status == b.status && a.code.description == b.code.description && a.message == b.message
    }

    static func badRequest(_ code: StaticString, _ message: String, status: Int = 400, closes: Bool = false) -> Problem
    {
        Problem(status: status, type: "invalid_request_error", code: code, message: message, closes: closes)
    }

    static let unauthorized = Problem(
        status: 401, type: "authentication_error", code: "invalid_api_key",
        message: "this proxy wants an API key: send it as Authorization: Bearer KEY")
    static let queueFull = Problem(
        status: 429, type: "rate_limit_error", code: "queue_full",
        message: "every server is at its limit and the queue is full; try again later", retryAfter: 1)
    static let queueTimeout = Problem(
        status: 503, type: "overloaded_error", code: "queue_timeout",
        message: "no server became free in time; try again later", retryAfter: 1)
    static let saturated = Problem(
        status: 503, type: "overloaded_error", code: "saturated",
        message: "every server is at its limit; try again later", retryAfter: 1)
    static let noServer = Problem(
        status: 503, type: "overloaded_error", code: "no_server", message: "no server is available; try again later",
        retryAfter: 2)
    static let shuttingDown = Problem(
        status: 503, type: "overloaded_error", code: "shutting_down",
        message: "the proxy is shutting down; try again", retryAfter: 1, closes: true)
    static let upstreamFailed = Problem(
        status: 502, type: "server_error", code: "upstream_failed",
        message: "the server failed before it answered, and no other could take the request")
    static let upstreamTimeout = Problem(
        status: 504, type: "server_error", code: "upstream_timeout",
        message: "the server did not answer in time, and no other could take the request")
    static let internalError = Problem(
        status: 500, type: "server_error", code: "internal_error", message: "the proxy failed; see its log")

    /// The body, as OpenAI has it.
    var json: String {
        "{\"error\":{\"message\":\(JSONText.quoted(message)),\"type\":\"\(type)\",\"param\":null,\"code\":\"\(code)\"}}"
    }
}

/// JSON strings, for the few documents that are written on the data path.
public enum JSONText {
    public static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case "\u{0}"..<"\u{20}":
                let hex = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

/// A complete answer of the gateway's own.
struct LocalAnswer {
    var status: Int
    var contentType: StaticString = "application/json"
    var fields: [(name: String, value: String)] = []
    var body: ByteBuffer
    var closes = false

    init(status: Int, contentType: StaticString = "application/json", body: ByteBuffer) {
        self.status = status
        self.contentType = contentType
        self.body = body
    }

    init(status: Int, text: String) {
        self.init(status: status, contentType: "text/plain; charset=utf-8", body: ByteBuffer(string: text + "\n"))
    }

    init(_ problem: Problem) {
        self.init(status: problem.status, body: ByteBuffer(string: problem.json))
        closes = problem.closes
        if let seconds = problem.retryAfter { fields.append(("retry-after", String(seconds))) }
        if problem.status == 401 { fields.append(("www-authenticate", "Bearer")) }
    }

    /// The bytes of it. `keepAlive` is what the connection wants; the answer to HEAD has no body.
    func bytes(requestID: String?, keepAlive: Bool, toHEAD: Bool) -> ByteBuffer {
        var out = ByteBufferAllocator().buffer(capacity: 320 + body.readableBytes)
        out.writeString("HTTP/1.1 \(status) \(StatusText.of(status))\r\ncontent-type: \(contentType)\r\n")
        out.writeString("content-length: \(body.readableBytes)\r\n")
        for (name, value) in fields { out.writeString("\(name): \(value)\r\n") }
        if let requestID { out.writeString("x-request-id: \(requestID)\r\n") }
        if !keepAlive { out.writeString("connection: close\r\n") }
        out.writeString("\r\n")
        if !toHEAD { out.writeImmutableBuffer(body) }
        return out
    }
}

enum StatusText {
    static func of(_ status: Int) -> StaticString {
        switch status {
        case 200: "OK"
        case 201: "Created"
        case 204: "No Content"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 413: "Content Too Large"
        case 417: "Expectation Failed"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        default: "Unknown"
        }
    }
}
