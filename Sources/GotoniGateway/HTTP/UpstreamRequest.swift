import GotoniCore
import NIOCore
import NIOHTTP1

/// Writes the head of a request as it goes to a server: the client's fields but those of its connection, the server's
/// own host and path prefix, and who asked.
enum UpstreamRequest {
    /// `requestID` and `client` come from the gateway. `length` is the body's; nil if there is none. `forward`: to another
    /// node.
    static func head(
        _ head: HTTPRequestHead, path: Substring, to url: ServerURL, length: Int?, requestID: String, client: String,
        authorization: Authorization, forward: Forward? = nil, reserve: Int
    ) -> ByteBuffer {
        var out = ByteBufferAllocator().buffer(capacity: 512 + path.utf8.count + reserve)
        out.writeString(head.method.rawValue)
        out.writeStaticString(" ")
        if !url.prefix.isEmpty { out.writeString(url.prefix) }
        out.writeSubstring(path)
        out.writeStaticString(" HTTP/1.1\r\nhost: ")
        out.writeString(url.authority)
        out.writeStaticString("\r\n")
        let named = head.headers[canonicalForm: "connection"].map { $0.lowercased() }
        var forwardedFor: String?
        for (name, value) in head.headers {
            if isOurs(name) {
                if name.utf8.count == 15, name.lowercased() == "x-forwarded-for" {
                    forwardedFor = forwardedFor.map { $0 + ", " + value } ?? value
                }
                continue
            }
            if !named.isEmpty, named.contains(name.lowercased()) { continue }
            if name.utf8.count == 13, authorization != .fromClient, name.lowercased() == "authorization" { continue }
            out.writeString(name)
            out.writeStaticString(": ")
            out.writeString(value)
            out.writeStaticString("\r\n")
        }
        if case .own(let key) = authorization { out.writeString("authorization: Bearer \(key)\r\n") }
        if let forward {
            out.writeString("\(Hop.field): \(forward.hops)\r\n\(Hop.keyField): \(forward.key)\r\n")
            if let waited = forward.waited {
                out.writeString("x-queue-wait-ms: \(Int(waited.milliseconds.rounded()))\r\n")
            }
            if let flow = forward.flow { out.writeString("\(Hop.flowField): \(flow)\r\n") }
        }
        out.writeStaticString("x-request-id: ")
        out.writeString(requestID)
        out.writeStaticString("\r\nx-forwarded-for: ")
        if let forwardedFor {
            out.writeString(forwardedFor)
            out.writeStaticString(", ")
        }
        out.writeString(client)
        if let length {
            out.writeStaticString("\r\ncontent-length: ")
            out.writeString(String(length))
        }
        out.writeStaticString("\r\n\r\n")
        return out
    }

    /// What one node tells another with a request.
    struct Forward {
        var hops: Int
        var key: String
        /// In the queue here: told as the original does.
        var waited: Nanoseconds?
        /// Of the trace's arrow.
        var flow: UInt64?
    }

    enum Authorization: Equatable {
        case fromClient
        case none
        case own(String)

        /// Our own key is our engine's.
        var toPeer: Authorization { if case .own = self { .none } else { self } }
    }

    /// Fields that are written anew, or that speak about the client's connection only.
    private static func isOurs(_ name: String) -> Bool {
        var name = name
        return name.withUTF8 { utf8 in
            let bytes = UnsafeRawBufferPointer(utf8)
            switch bytes.count {
            case 4: return bytes.equals("host")
            case 6: return bytes.equals("expect")
            // From outside the mesh they say nothing; between nodes they are written anew.
            case 8: return bytes.equals(Hop.field) || bytes.equals(Hop.keyField)
            case 9: return bytes.equals(Hop.flowField)
            case 12: return bytes.equals("x-request-id")
            case 14: return bytes.equals("content-length")
            case 15: return bytes.equals("x-forwarded-for") || bytes.equals("x-queue-wait-ms")
            default: return bytes.isHopByHop
            }
        }
    }
}
