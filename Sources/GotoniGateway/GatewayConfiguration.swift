public import GotoniCore
public import GotoniEngines
import NIOCore

/// What a gateway is made with. Defaults are those of `gotoni-proxy`.
public struct GatewayConfiguration: Sendable {
    public struct ServerEntry: Sendable, Equatable {
        public var name: String
        public var url: ServerURL
        public init(name: String, url: ServerURL) {
            self.name = name
            self.url = url
        }
    }

    public struct TLSFiles: Sendable, Equatable {
        public var certificateChain: String
        public var privateKey: String
        public init(certificateChain: String, privateKey: String) {
            self.certificateChain = certificateChain
            self.privateKey = privateKey
        }
    }

    /// Where it listens.
    public enum Address: Sendable, Equatable, CustomStringConvertible {
        /// Port 0: any free one.
        case tcp(host: String, port: Int)
        /// A Unix socket, for who may write to the file; see `socketMode`.
        case unix(path: String)

        public init(host: String, port: Int) { self = .tcp(host: host, port: port) }

        /// `HOST:PORT`, `[IPv6]:PORT`, `:PORT` (all interfaces) or `unix:/PATH` of at most 107 bytes, which is what the
        /// system takes.
        public init?(_ text: String) {
            if text.hasPrefix("unix:") {
                let path = String(text.dropFirst(5))
                guard path.hasPrefix("/"), path.utf8.count <= 107, !path.utf8.contains(0) else { return nil }
                self = .unix(path: path)
                return
            }
            if text.hasPrefix(":") {
                guard let port = Int(text.dropFirst()), (0...65_535).contains(port) else { return nil }
                self.init(host: "0.0.0.0", port: port)
                return
            }
            guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
                (0...65_535).contains(port)
            else { return nil }
            var host = String(text[..<colon])
            if host.hasPrefix("["), host.hasSuffix("]") {
                host = String(host.dropFirst().dropLast())
            } else if host.contains(":") || host.isEmpty {
                return nil
            }
            self.init(host: host, port: port)
        }

        public var description: String {
            switch self {
            case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
            case .unix(let path): "unix:\(path)"
            }
        }
        /// Nil: it has none.
        public var port: Int? { if case .tcp(_, let port) = self { port } else { nil } }
        /// Only this machine can reach it.
        public var isLoopback: Bool {
            guard case .tcp(let host, let port) = self else { return true }
            // A name may begin with 127. and be anywhere.
            let isAddress = (try? SocketAddress(ipAddress: host, port: port)) != nil
            return isAddress ? host == "::1" || host.hasPrefix("127.") : host == "localhost"
        }
    }

    // Where it listens.
    public var listen = Address(host: "127.0.0.1", port: 8000)
    /// The rights of Unix sockets that it listens on.
    public var socketMode: UInt32 = 0o600
    /// Control endpoints without a token, on loopback only; nil: none.
    public var adminListen: Address?
    public var tls: TLSFiles?
    /// Event loops; 0: one for each core, at most four.
    public var threads = 0
    /// Another process may listen at the same port, so that a new one takes over from an old one: see `SharedPort`.
    public var reusePort = false

    // Servers.
    public var servers: [ServerEntry] = []
    /// Servers are told to others as ADDRESS:PORT, so they can have no names of hosts, and no paths.
    public var namesAddressesOnly = false
    /// Certificates of these are not checked: names of servers, or "*".
    public var insecureServers: Set<String> = []
    public var upstreamAPIKey: String?
    /// Set: this is a node in front of its engine, with peers.
    public var mesh: MeshConfiguration?
    /// Set: this is one of several proxies that share what they know.
    public var sharing: SharingConfiguration?

    // Routing.
    public var policy = PolicyID.gorgo
    public var knobs = [Knob.msPerToken, .runningCostFactor].map { ($0, $0.info.defaultValue) }
    public var router = Configuration()

    // Tokens.
    /// Asked in this order, a model in this process first; the estimate where none knows. The nodes of a mesh need the same:
    /// they tell each other prompts as digests of tokens.
    public var tokenSources: [TokenSource] = []
    /// For a service or an engine to say a prompt's tokens.
    public var tokenizerTimeout = Nanoseconds(milliseconds: 100)

    // Admission.
    /// Requests at one time on a server.
    public var maxConcurrent = 10
    public var queueLimit = 10_000
    public var queueTimeout = Nanoseconds(milliseconds: 60_000)

    // Limits of the data path.
    public var maxBodyBytes = 64 << 20
    public var maxConnections = 10_000
    /// From the first byte of a request to the last of its head, and between two reads of its body.
    public var requestTimeout = Nanoseconds(milliseconds: 30_000)
    /// A connection on which no request is under way.
    public var keepAliveTimeout = Nanoseconds(milliseconds: 75_000)
    public var connectTimeout = Nanoseconds(milliseconds: 5_000)
    /// From sending a request to the first byte of its answer; 0: none, for a long prompt on a busy server takes long.
    public var firstByteTimeout = Nanoseconds(milliseconds: 300_000)
    /// Between two reads of an answer; 0: none.
    public var idleTimeout = Nanoseconds(milliseconds: 120_000)
    public var drainTimeout = Nanoseconds(milliseconds: 30_000)
    /// Connections to a server that are idle for longer are closed. Engines on uvicorn close theirs after 5 s; a request
    /// that meets a closing connection is sent again on a new one.
    public var upstreamKeepAlive = Nanoseconds(milliseconds: 60_000)
    /// Idle connections that each event loop keeps open to each server that is up, ahead of the requests that need them; 0:
    /// none.
    public var upstreamSpare = 1
    /// Of connections to servers; nil: the kernel's default.
    public var upstreamCongestion: CongestionControl?
    public var retries = 2

    // Knowledge.
    public var metricsInterval = Nanoseconds(milliseconds: 500)
    /// Nil: found out by asking.
    public var metricsPath: String?
    public var probeInterval = Nanoseconds(milliseconds: 1_000)
    /// Cheap, and answered by every engine. (SGLang's /health generates a token.)
    public var probePath = "/v1/models"
    public var probeTimeout = Nanoseconds(milliseconds: 5_000)

    /// Where every engine publishes what it stores in its KV cache and evicts; nil: nowhere.
    public var kvEvents: KVEventPorts?

    // Failure.
    public var ejectAfter = 5
    public var unhealthyAfter = 3
    public var slowStart = Nanoseconds(milliseconds: 10_000)

    // Control.
    /// Shown in /proxy/status and /metrics.
    public var version = "?"
    public var adminToken: String?
    public var apiKeys: [String] = []
    /// Requests remembered for export and percentiles.
    public var requestLogSize = 1_000
    public var collectsMetrics = true

    public init() {}

    func healthSettings(_ role: Server.Role) -> ServerHealth.Settings {
        var settings = ServerHealth.Settings()
        settings.failures = ejectAfter
        settings.probeFailures = unhealthyAfter
        settings.slowStart = slowStart
        if role == .peer {
            // It tells what it can take. A way that is open again is used again at once.
            settings.ejection = Nanoseconds(milliseconds: 500)
            settings.longestEjection = settings.ejection
            settings.slowStart = settings.ejection
        }
        return settings
    }
}

/// What is wrong with a configuration or with starting, in a sentence.
public struct GatewayError: Error, CustomStringConvertible, Sendable {
    public var description: String
    public init(_ description: String) { self.description = description }
}
