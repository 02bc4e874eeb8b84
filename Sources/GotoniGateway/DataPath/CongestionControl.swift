import Glibc
import NIOCore

/// The congestion control of the connections to servers, and what the kernel does with a connection that was idle.
///
/// Linux takes a connection's window away when it was idle for longer than its retransmission time-out, so that the next
/// long prompt begins again with 10 segments (RFC 5681, section 4.1), unless net.ipv4.tcp_slow_start_after_idle is 0 or the
/// connection paces itself, as BBR does (include/net/tcp.h: tcp_slow_start_after_idle_check).
public struct CongestionControl: Equatable, Sendable {
    public let name: String

    /// TCP_CA_NAME_MAX of Linux, less the zero at the end.
    static let longestName = 15
    private static let settings = "/proc/sys/net/ipv4/"

    /// Asks the kernel, by a socket that connects to nobody. Throws a sentence: unknown, or not for this process.
    public init(_ name: String) throws(GatewayError) {
        self.name = name
        guard (1...Self.longestName).contains(name.utf8.count), name.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        else {
            throw GatewayError("a congestion control has a name of 1 to \(Self.longestName) visible ASCII characters")
        }
        let probe = try Self.probe()
        defer { close(probe) }
        guard setsockopt(probe, Int32(IPPROTO_TCP), TCP_CONGESTION, name, socklen_t(name.utf8.count)) != 0 else {
            return
        }
        let isForbidden = errno == EPERM
        let others = Self.setting("tcp_\(isForbidden ? "allowed" : "available")_congestion_control") ?? "?"
        throw GatewayError(
            isForbidden
                ? "congestion control \(name) is not allowed here, only \(others): see net.ipv4.tcp_allowed_congestion_control"
                : "this kernel has no congestion control \(name), only \(others)")
    }

    /// Of a connection that is not open yet. It was possible at the start; if it is not any more, the kernel's choice serves.
    func set(on channel: any Channel) {
        guard let provider = channel as? any SocketOptionProvider else { return }
        var value = InlineArray<16, UInt8>(repeating: 0)
        for (index, byte) in name.utf8.enumerated() { value[index] = byte }
        _ = provider.unsafeSetSocketOption(level: .tcp, name: .init(rawValue: TCP_CONGESTION), value: value)
    }

    /// Whether connections of this process lose their windows when they are idle. `chosen`: nil is the kernel's default.
    static func losesIdleWindows(_ chosen: CongestionControl?) -> Bool {
        guard setting("tcp_slow_start_after_idle") == "1", let name = chosen?.name ?? setting("tcp_congestion_control")
        else { return false }
        return !name.hasPrefix("bbr")
    }

    private static func probe() throws(GatewayError) -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw GatewayError("no socket: \(String(cString: strerror(errno)))") }
        return descriptor
    }

    /// One of the kernel's, of this network namespace; nil: there is none to read.
    private static func setting(_ name: String) -> String? {
        let descriptor = open(settings + name, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        let text = String(unsafeUninitializedCapacity: 256) { max(0, read(descriptor, $0.baseAddress, $0.count)) }
        return text.last == "\n" ? String(text.dropLast()) : text
    }
}
