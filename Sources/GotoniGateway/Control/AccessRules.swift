import NIOCore
import NIOHTTP1

/// Who may do what.
///
/// Control endpoints want the admin token. Without one they are served only where nobody but this machine can ask: on a
/// listener bound to loopback. Then a web page could still ask in the name of its visitor, so foreign origins and host
/// names are refused.
struct AccessRules: Sendable {
    var apiKeys: [String]
    var adminToken: String?
    /// What peers send; empty: there are none.
    var meshKey = ""
    /// The listener is bound to loopback.
    var isLoopback: Bool

    /// What keeps a request off the data path; nil: nothing.
    func refusesData(_ head: HTTPRequestHead) -> Problem? {
        guard !apiKeys.isEmpty else { return nil }
        guard let given = bearer(head) else { return .unauthorized }
        // All are compared, so the time says nothing about which one nearly fitted.
        var fits = false
        for key in apiKeys where Self.equal(given, key) { fits = true }
        return fits ? nil : .unauthorized
    }

    func refusesControl(_ head: HTTPRequestHead, path: Substring, isAdminListener: Bool) -> Problem? {
        let name = path.prefix { $0 != "?" }
        // Probes of orchestrators, and the page itself, which holds nothing.
        if name == "/health" || name == "/proxy/health" || name == "/lb/health" || name == "/dashboard" { return nil }
        if name == "/lb/peer" {
            if let given = bearer(head), !meshKey.isEmpty, Self.equal(given, meshKey) { return nil }
            return Problem(
                status: 401, type: "authentication_error", code: "mesh_key",
                message: "this endpoint is for the nodes of the mesh")
        }
        if let adminToken {
            guard let given = bearer(head), Self.equal(given, adminToken) else {
                return Problem(
                    status: 401, type: "authentication_error", code: "admin_token",
                    message: "this endpoint wants the admin token: send it as Authorization: Bearer TOKEN")
            }
            return nil
        }
        guard isLoopback else {
            return Problem(
                status: 403, type: "permission_error", code: "no_admin_token",
                message: "control endpoints are off here: set GOTONI_ADMIN_TOKEN, or use --admin-listen 127.0.0.1:PORT")
        }
        let host = head.headers.first(name: "host") ?? "localhost"
        if !Self.isLocalName(host) {
            return Problem(
                status: 403, type: "permission_error", code: "host",
                message: "without an admin token, ask this listener as localhost or 127.0.0.1")
        }
        if let origin = head.headers.first(name: "origin"), origin != "http://\(host)", origin != "https://\(host)" {
            return Problem(
                status: 403, type: "permission_error", code: "origin",
                message: "another site's page may not control this proxy")
        }
        return nil
    }

    private func bearer(_ head: HTTPRequestHead) -> String? {
        guard let value = head.headers.first(name: "authorization"), value.lowercased().hasPrefix("bearer ") else {
            return nil
        }
        return String(value.dropFirst(7))
    }

    static func isLocalName(_ host: String) -> Bool {
        let name: Substring
        if host.hasPrefix("[") {
            name = host.prefix { $0 != "]" }.dropFirst()
        } else {
            name = host.prefix { $0 != ":" }
        }
        return name == "localhost" || name == "::1"
            || name.hasPrefix("127.") && name.utf8.allSatisfy { $0 == 0x2E || (0x30...0x39).contains($0) }
    }

    /// In a time that depends on the lengths only.
    static func equal(_ a: String, _ b: String) -> Bool {
        let (a, b) = (Array(a.utf8), Array(b.utf8))
        var difference = a.count ^ b.count
        for index in 0..<max(a.count, b.count) {
            difference |= Int((index < a.count ? a[index] : 0) ^ (index < b.count ? b[index] : 0))
        }
        return difference == 0
    }
}
