import NIOCore
import NIOHTTP1

/// What a request must be before it is read any further. The decoder has refused by then whatever could be read in two
/// ways (RFC 9112, section 11.2).
enum RequestRules {
    static func problem(with head: HTTPRequestHead, maxBodyBytes: Int) -> Problem? {
        guard head.version == .http1_1 || head.version == .http1_0 else {
            return .badRequest("http_version", "this proxy speaks HTTP/1.1", status: 505, closes: true)
        }
        let hosts = head.headers[canonicalForm: "host"].count
        guard hosts == 1 || hosts == 0 && head.version == .http1_0 else {
            return .badRequest("host", "a request has exactly one Host field", closes: true)
        }
        if head.method == .CONNECT || head.method == .TRACE {
            return .badRequest("method", "this proxy opens no tunnels", status: 501, closes: true)
        }
        let lengths = head.headers[canonicalForm: "content-length"]
        if lengths.contains(where: { Int($0).map { $0 > maxBodyBytes } ?? true }) { return tooLarge(maxBodyBytes) }
        for coding in head.headers[canonicalForm: "transfer-encoding"] where coding.lowercased() != "chunked" {
            return .badRequest("transfer_encoding", "the only transfer coding we know is chunked", status: 501, closes: true)
        }
        return nil
    }

    static func tooLarge(_ most: Int) -> Problem {
        .badRequest("body_too_large", "the request body is larger than \(most) bytes", status: 413, closes: true)
    }

    /// The path and query of a request target in origin or absolute form; nil for anything else.
    static func path(_ target: String) -> Substring? {
        if target.utf8.first == UInt8(ascii: "/") { return Substring(target) }
        if target == "*" { return Substring(target) }
        for scheme in ["http://", "https://"] where target.lowercased().hasPrefix(scheme) {
            let rest = target.dropFirst(scheme.count)
            guard let slash = rest.firstIndex(of: "/") else { return "/" }
            return rest[slash...]
        }
        return nil
    }

    /// What to answer when a request could not be read; nil: the connection is not HTTP any more, just close it.
    static func problem(for error: any Error) -> Problem? {
        switch error {
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
