import ArgumentParser
import Foundation
import GotoniGateway
import GotoniService

/// The node load balancer: in front of one engine, among peers.
@main struct GotoniLB: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gotoni-lb",
        abstract:
            "Serves requests at this node's engine, or forwards them once to a peer where they are answered sooner.",
        discussion: """
            \(Service.manners) Secrets have no flags: GOTONI_MESH_KEY, which all nodes share and which --peer wants, \
            GOTONI_ADMIN_TOKEN, GOTONI_API_KEYS (comma-separated) and GOTONI_UPSTREAM_API_KEY, the engine's.

            Example, on the first of two nodes:
              GOTONI_MESH_KEY=$(cat mesh.key) gotoni-lb --listen 0.0.0.0:8000 --engine http://127.0.0.1:30000 \
            --peer b=http://10.0.0.3:8000
            """,
        version: Service.version)

    @Option(help: ArgumentHelp("The engine of this node.", valueName: "URL"))
    var engine: String?

    @Option(
        name: .customLong("peer"), parsing: .singleValue,
        help: ArgumentHelp(
            "The balancer of another node, with a name of yours; repeat for more.", valueName: "[NAME=]URL"))
    var peers: [String] = []

    @Option(help: ArgumentHelp("This node's name, for traces and status; the host's by default.", valueName: "NAME"))
    var nodeId: String?

    @Option(
        help: ArgumentHelp(
            "How a request's place is chosen: gorgo, prefix-tree, least-load or another policy of gotoni-proxy.",
            valueName: "NAME"))
    var strategy: String?

    @Option(
        help: ArgumentHelp(
            "Serve here while the engine has fewer requests than this, whatever it costs; 0: the cost always decides.",
            valueName: "N"))
    var runningThreshold: String?

    @OptionGroup var options: GatewayOptions

    func run() async throws {
        let own = [
            Setting(
                own: "engine", given: engine.map { [$0] } ?? [],
                set: { $0.gateway.mesh = MeshConfiguration(engine: try Parse.url($1)) },
                show: { $0.gateway.mesh.map { ["\($0.engine)"] } ?? [] }),
            .mesh(
                "peer", isList: true, given: peers, set: { try Parse.server($1, into: &$0.peers) },
                show: { $0.peers.map { "\($0.name)=\($0.url)" } }),
            .mesh(
                "node-id", given: nodeId.map { [$0] } ?? [], set: { $0.nodeID = $1 }, show: { [$0.nodeID] }),
            .mesh(
                "running-threshold", given: runningThreshold.map { [$0] } ?? [],
                set: { $0.runningThreshold = try Parse.number($1, 0...1_000_000) }, show: { ["\($0.runningThreshold)"] }
            ),
            Setting.policy(own: "strategy", given: strategy),
        ]
        try await Service("gotoni-lb", own: own).run(options) { settings in
            guard settings.gateway.mesh != nil else {
                throw ValidationError("--engine URL is wanted: the engine of this node")
            }
            if settings.gateway.mesh?.nodeID.isEmpty == true {
                settings.gateway.mesh?.nodeID = ProcessInfo.processInfo.hostName
            }
        }
    }
}

extension Setting {
    /// One of the mesh, which is there once the engine is.
    fileprivate static func mesh(
        _ key: String, isList: Bool = false, given: [String],
        set: @escaping @Sendable (inout MeshConfiguration, String) throws -> Void,
        show: @escaping @Sendable (MeshConfiguration) -> [String]
    ) -> Setting {
        Setting(
            own: key, isList: isList, given: given,
            set: { settings, text in
                guard var mesh = settings.gateway.mesh else { throw ServiceError("there is no --engine") }
                try set(&mesh, text)
                settings.gateway.mesh = mesh
            }, show: { $0.gateway.mesh.map(show) ?? [] })
    }
}
