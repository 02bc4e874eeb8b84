public import GotoniCore

/// The world that policies are compared in.
public struct Scenario: Sendable {
    public struct Server: Sendable {
        public var engine: EngineModel
        public var region: Int

        public init(engine: EngineModel, region: Int) {
            self.engine = engine
            self.region = region
        }
    }

    public enum Clients: String, Sendable, CaseIterable {
        /// All beside the proxy, in region 0's neighbourhood, as in GORGO's experiments.
        case proxy
        /// Each user lives in one of the regions, which pays the way to a central proxy.
        case spread
    }

    public var network: Network
    public var servers: [Server]
    public var clients = Clients.proxy
    /// Of policies with several proxies; in turn over the regions.
    public var proxies = 1
    /// How often a balancer asks a server for its round trip and load; ±10 %, drawn.
    public var probeInterval = Nanoseconds(seconds: 1)
    /// Most requests that a balancer has at one server; more wait at the balancer.
    public var maxConcurrent: UInt32?
    /// After which a balancer gives up on an attempt that gets no answer.
    public var timeout = Nanoseconds(seconds: 5)
    /// After which a request that no server takes has failed.
    public var patience = Nanoseconds(seconds: 600)
    /// Failures in a row after which a balancer calls a server down.
    public var failuresToDown = 3
    /// Attempts before the first token, on different servers if there are any.
    public var maxAttempts = 3
    public var faults: [Fault] = []
    public var seed: UInt64 = 0

    public init(network: Network, servers: [Server]) {
        self.network = network
        self.servers = servers
    }

    /// `perRegion` servers of one kind in every region.
    public init(network: Network, engine: EngineModel, perRegion: Int) {
        self.init(
            network: network,
            servers: network.rtt.indices.flatMap { region in
                (0..<perRegion).map { _ in Server(engine: engine, region: region) }
            })
    }

    /// What an operator knows who has measured the fleet: the mean prefill and decode rates of its engines.
    var typicalEngine: EngineModel {
        guard var typical = servers.first?.engine else { return .neutral }
        let count = Double(servers.count)
        typical.prefillPerToken = servers.reduce(0) { $0 + $1.engine.prefillPerToken } / count
        typical.decode = servers.reduce(0) { $0 + $1.engine.decode } / count
        return typical
    }

    public func check() throws(SimulationError) {
        guard !network.rtt.isEmpty, network.rtt.allSatisfy({ (0...60_000).contains($0) }) else {
            throw SimulationError("round trips must be between 0 and 60,000 ms")
        }
        guard (0...10).contains(network.jitter) else { throw SimulationError("jitter must be between 0 and 10") }
        guard (1...4_096).contains(servers.count) else { throw SimulationError("there must be 1 to 4,096 servers") }
        for server in servers {
            try server.engine.check()
            guard network.rtt.indices.contains(server.region) else {
                throw SimulationError("a server is in region \(server.region), which has no round trip")
            }
        }
        guard (1...4_096).contains(proxies) else { throw SimulationError("there must be 1 to 4,096 proxies") }
        guard (1...255).contains(maxAttempts), failuresToDown >= 1, maxConcurrent ?? 1 >= 1 else {
            throw SimulationError("attempts must be 1 to 255, failures to down and the most at one server at least 1")
        }
        guard probeInterval.rawValue >= 1_000_000 else {
            throw SimulationError("the probe interval must be at least 1 ms")
        }
        for fault in faults { try fault.check(self) }
    }
}

/// Something that goes wrong at a time.
public struct Fault: Equatable, Sendable {
    public enum Kind: Equatable, Sendable {
        /// The engine ends; all it has is lost.
        case crash(server: Int)
        /// An engine that ended is there again, its cache empty.
        case start(server: Int)
        /// Everything takes `factor` times as long.
        case slow(server: Int, factor: Double)
        /// The round trip from the proxy to a region becomes this.
        case rtt(region: Int, milliseconds: Double)
        /// No message gets to or from a region; what is there goes on.
        case lost(region: Int)
        case found(region: Int)
    }

    public var at: Nanoseconds
    public var kind: Kind

    public init(at: Nanoseconds, _ kind: Kind) {
        self.at = at
        self.kind = kind
    }

    func check(_ scenario: Scenario) throws(SimulationError) {
        switch kind {
        case .crash(let server), .start(let server), .slow(let server, _):
            guard scenario.servers.indices.contains(server) else {
                throw SimulationError("a fault names server \(server + 1), and there are \(scenario.servers.count)")
            }
        case .rtt(let region, _), .lost(let region), .found(let region):
            guard scenario.network.rtt.indices.contains(region) else {
                throw SimulationError("a fault names region \(region + 1), and there are \(scenario.network.rtt.count)")
            }
        }
        if case .slow(_, let factor) = kind, !(0.001...1_000).contains(factor) {
            throw SimulationError("a server can be slowed by a factor of 0.001 to 1,000")
        }
        if case .rtt(_, let milliseconds) = kind, !(0...60_000).contains(milliseconds) {
            throw SimulationError("round trips must be between 0 and 60,000 ms")
        }
    }
}
