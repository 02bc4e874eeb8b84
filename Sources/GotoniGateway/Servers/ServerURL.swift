import NIOCore

/// Where a server is: `http[s]://HOST[:PORT][/PREFIX]`, or HOST[:PORT] as the original has it.
public struct ServerURL: Sendable, Hashable, CustomStringConvertible {
    public let isSecure: Bool
    /// A name or an address; IPv6 without its brackets.
    public let host: String
    public let port: Int
    /// Put before every path: empty, or starting with and not ending with a slash.
    public let prefix: String

    /// Of a server on this machine that is reached by a Unix socket; nil: host and port.
    let socketPath: String?

    /// An IP address and a port say all of it.
    var isAddressOnly: Bool { prefix.isEmpty && (try? SocketAddress(ipAddress: host, port: port)) != nil }

    /// As it goes into the Host field.
    var authority: String

    /// HOST:PORT, the name of a server that was given none.
    public var defaultName: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    public var description: String {
        "\(isSecure ? "https" : "http")://\(authority)\(prefix)"
    }

    /// A service on this machine.
    init(socketPath: String) {
        (isSecure, host, port, prefix, authority) = (false, "localhost", 0, "", "localhost")
        self.socketPath = socketPath
    }

    /// Without a scheme it is https if the port is 443 or the host one of Modal's tunnels (`*.modal.host`), else http.
    /// Nil: not a URL of this kind. User names, queries and fragments are refused.
    public init?(_ text: String, defaultPort: Int? = nil) {
        var rest = Substring(text)
        var secure: Bool?
        if rest.hasPrefix("http://") {
            secure = false
            rest = rest.dropFirst(7)
        } else if rest.hasPrefix("https://") {
            secure = true
            rest = rest.dropFirst(8)
        } else if rest.contains("://") {
            return nil
        }
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        var path = String(rest[slash...])
        while path.hasSuffix("/") { path.removeLast() }
        guard
            path.utf8.allSatisfy({
                $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") && $0 != UInt8(ascii: "\"")
            })
        else { return nil }
        let address = rest[..<slash]
        var hostText: Substring
        var portText: Substring?
        if address.hasPrefix("[") {
            guard let end = address.firstIndex(of: "]") else { return nil }
            hostText = address[address.index(after: address.startIndex)..<end]
            let after = address[address.index(after: end)...]
            if !after.isEmpty {
                guard after.hasPrefix(":") else { return nil }
                portText = after.dropFirst()
            }
            guard (try? SocketAddress(ipAddress: String(hostText), port: 0)) != nil else { return nil }
        } else {
            let parts = address.split(separator: ":", omittingEmptySubsequences: false)
            guard (1...2).contains(parts.count) else { return nil }
            hostText = parts[0]
            if parts.count == 2 { portText = parts[1] }
            guard
                hostText.utf8.allSatisfy({
                    (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0)
                        || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_")
                })
            else { return nil }
        }
        guard !hostText.isEmpty, hostText.utf8.count <= 253 else { return nil }
        var port: Int?
        if let portText {
            guard let number = Int(portText), (1...65_535).contains(number), portText.utf8.first != UInt8(ascii: "+")
            else { return nil }
            port = number
        } else if secure == nil {
            port = defaultPort
        }
        let tunnel = hostText.lowercased().hasSuffix(".modal.host")
        isSecure = secure ?? (port == 443 || tunnel)
        self.host = String(hostText)
        self.port = port ?? (isSecure ? 443 : 80)
        prefix = path
        socketPath = nil
        let shown = host.contains(":") ? "[\(host)]" : host
        authority = self.port == (isSecure ? 443 : 80) ? shown : "\(shown):\(self.port)"
    }
}
