import GotoniCore
import NIOConcurrencyHelpers
import NIOCore
import Testing

@testable import GotoniGateway

/// Nodes a, b, … on loopback, each with a double as its engine, and all of them peers.
struct RunningMesh: Sendable {
    struct Node: Sendable {
        let name: String
        let gateway: Gateway
        let port: Int
        let engine: EngineDouble
        var counters: Counters { gateway.dispatcher.counters }
        var waiting: Int { gateway.leftovers.waiting }

        func state(of peer: String) throws -> Server.State {
            try #require(gateway.dispatcher.fleet[peer]).state.withLockedValue { $0 }
        }
        /// Tokens that this node believes a peer to hold.
        func held(by peer: String) throws -> UInt64 {
            let server = try #require(gateway.dispatcher.fleet[peer])
            return try gateway.dispatcher.router.withRouter { (router) throws(RouterError) in
                try router.info(server.id, now: Clock.now()).heldTokens
            }
        }
    }
    static let key = "the-key-of-the-mesh"
    let nodes: [Node]
    private let clients = Watched<[RawClient]>([])

    fileprivate init(nodes: [Node]) { self.nodes = nodes }

    func client(at node: Int) async throws -> RawClient {
        let client = try await RawClient.connect(nodes[node].port)
        clients.update { $0.append(client) }
        return client
    }

    fileprivate func closeClients() {
        for client in clients.read({ $0 }) { client.close() }
    }
}

/// Starts `count` nodes, waits until all have heard each other, runs `body`, then checks that nothing is left over and
/// stops everything.
func withMesh(
    nodes count: Int = 3, sourceLocation: SourceLocation = #_sourceLocation,
    _ configure: (inout GatewayConfiguration) -> Void = { _ in }, _ body: (RunningMesh) async throws -> Void
) async throws {
    var nodes: [RunningMesh.Node] = []
    for index in 0..<count {
        let name = String(UnicodeScalar(UInt8(97 + index)))
        let engine = try await EngineDouble(name)
        var configuration = GatewayConfiguration()
        configuration.listen = .init(host: "127.0.0.1", port: 0)
        configuration.threads = 1
        var mesh = MeshConfiguration(engine: try #require(ServerURL("http://127.0.0.1:\(engine.port)")))
        mesh.nodeID = name
        mesh.key = RunningMesh.key
        mesh.interval = Nanoseconds(milliseconds: 10)
        configuration.mesh = mesh
        configuration.metricsInterval = Nanoseconds(0)
        // The first answers of connections are no measure, and news take connections that probes have opened.
        configuration.probeInterval = Nanoseconds(milliseconds: 50)
        configuration.drainTimeout = Nanoseconds(milliseconds: 3_000)
        configure(&configuration)
        let gateway = try Gateway.quiet(configuration)
        let port = Int(try await gateway.start().data.split(separator: ":").last ?? "") ?? 0
        nodes.append(.init(name: name, gateway: gateway, port: port, engine: engine))
    }
    for node in nodes {
        for peer in nodes where peer.name != node.name {
            let url = try #require(ServerURL("http://127.0.0.1:\(peer.port)"))
            try node.gateway.addPeer(name: peer.name, url: url)
        }
    }
    let running = RunningMesh(nodes: nodes)
    do {
        try await eventually("nodes that have heard each other", sourceLocation: sourceLocation) {
            nodes.allSatisfy { node in
                node.gateway.dispatcher.fleet.all.allSatisfy {
                    $0.state.withLockedValue { $0.health.state == .up && $0.limitInForce > 0 && $0.rtt.current != nil }
                }
            }
        }
        try await body(running)
        running.closeClients()
        for node in nodes {
            try await eventually("no leftovers at \(node.name)", sourceLocation: sourceLocation) {
                node.gateway.leftovers == (0, 0, 0)
            }
        }
    } catch {
        Issue.record("\(error)", sourceLocation: sourceLocation)
        running.closeClients()
    }
    for node in nodes { try await node.engine.stop() }
    await withTaskGroup(of: Void.self) { group in
        for node in nodes { group.addTask { _ = await node.gateway.stop(settle: Nanoseconds(0)) } }
    }
}
