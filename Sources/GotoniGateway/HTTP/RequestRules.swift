import NIOCore
import NIOHTTP1

/// The fields of a request that the gateway itself acts on.
struct RequestFields {
    /// Of the body, if the client says it beforehand.
    var length: Int?
    var expect: String?
    /// The client offers another protocol. We stay with this one, but the decoder reads no further.
    var offersUpgrade = false
    var requestID: String?
}

/// What a request must be before it is read any further. The decoder has refused by then whatever could be read in two
/// ways (RFC 9112, section 11.2).
enum RequestRules {
    /// Errors: what to answer.
    static func read(_ head: HTTPRequestHead, maxBodyBytes: Int) throws(Problem) -> RequestFields {
        guard head.version == .http1_1 || head.version == .http1_0 else {
            throw .badRequest("http_version", "this proxy speaks HTTP/1.1", status: 505, closes: true)
        }
        if head.method == .CONNECT || head.method == .TRACE {
            throw .badRequest("method", "this proxy opens no tunnels", status: 501, closes: true)
        }
        var fields = RequestFields()
        var (hosts, options) = (0, 0)
        for (name, value) in head.headers {
            switch Field(name) {
            case .host: hosts += 1
            case .contentLength:
                guard let length = Int(value), (0...maxBodyBytes).contains(length) else { throw tooLarge(maxBodyBytes) }
                fields.length = length
            case .transferEncoding:
                guard value.lowercased() == "chunked" else {
                    throw .badRequest(
                        "transfer_encoding", "the only transfer coding we know is chunked", status: 501, closes: true)
                }
            case .connection:
                options += 1 + value.utf8.count { $0 == UInt8(ascii: ",") }
                guard options <= 16 else {
                    throw .badRequest("connection", "a request has at most 16 connection options", closes: true)
                }
            case .expect: fields.expect = value
            case .upgrade: fields.offersUpgrade = true
            case .requestID: fields.requestID = value
            case .other: continue
            }
        }
        guard hosts == 1 || hosts == 0 && head.version == .http1_0 else {
            throw .badRequest("host", "a request has exactly one Host field", closes: true)
        }
        return fields
    }

    private enum Field {
        case host, contentLength, transferEncoding, connection, expect, upgrade, requestID, other

        init(_ name: String) {
            var name = name
            self = name.withUTF8 { utf8 in
                let bytes = UnsafeRawBufferPointer(utf8)
                switch bytes.count {
                case 4 where bytes.equals("host"): return .host
                case 6 where bytes.equals("expect"): return .expect
                case 7 where bytes.equals("upgrade"): return .upgrade
                case 10 where bytes.equals("connection"): return .connection
                case 12 where bytes.equals("x-request-id"): return .requestID
                case 14 where bytes.equals("content-length"): return .contentLength
                case 17 where bytes.equals("transfer-encoding"): return .transferEncoding
                default: return .other
                }
            }
        }
    }

    static func tooLarge(_ most: Int) -> Problem {
        .badRequest("body_too_large", "the request body is larger than \(most) bytes", status: 413, closes: true)
    }

    /// `id` if it can be the name of a request: it goes into logs and fields.
    static func usableID(_ id: String?) -> String? {
        guard let id, (1...128).contains(id.utf8.count), id.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            return nil
        }
        return id
    }

    /// The path and query of a request target in origin or absolute form; nil for anything else.
    static func path(_ target: String) -> Substring? {
        if target.utf8.first == UInt8(ascii: "/") { return Substring(target) }
        if target == "*" { return Substring(target) }
        for scheme in ["http://", "https://"] where target.lowercased().hasPrefix(scheme) {
            let rest = target.dropFirst(scheme.count)
            guard let end = rest.firstIndex(where: { $0 == "/" || $0 == "?" }) else { return "/" }
            return rest[end] == "/" ? rest[end...] : "/" + rest[end...]
        }
        return nil
    }

    /// What to answer when a request could not be read; nil: the connection is not HTTP any more, just close it.
    static func problem(for error: any Error) -> Problem? {
        switch error {
        case HTTPParserError.invalidVersion:
            .badRequest("http_version", "this proxy speaks HTTP/1.1", status: 505, closes: true)
        case HTTPParserError.headerOverflow:
            .badRequest("header_too_large", "the request's header is too large", status: 431, closes: true)
        case is NIOHTTPDecoderError:
            .badRequest("header_too_large", "the request's header is too large", status: 431, closes: true)
        case is HTTPParserError:
            .badRequest("malformed", "this is not a well-formed HTTP/1.1 request", closes: true)
        default: nil
        }
    }
}
