import ArgumentParser
import GotoniGateway
import GotoniService

/// The central proxy: sees every request, routes it over all servers, streams the answer back.
@main struct GotoniProxy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gotoni-proxy",
        abstract: "Routes OpenAI-style requests over LLM servers by what each one costs in time.",
        discussion: """
            \(Service.manners) Secrets have no flags: GOTONI_ADMIN_TOKEN, GOTONI_API_KEYS (comma-separated) and \
            GOTONI_UPSTREAM_API_KEY.

            Example:
              gotoni-proxy --listen 127.0.0.1:8000 --server use=http://10.0.0.2:30000 --server euw=https://gpu.example.org/engine
            """,
        version: Service.version)

    @Option(
        name: .customLong("server"), parsing: .singleValue,
        help: ArgumentHelp("A server, with a name of yours; repeat for more.", valueName: "[NAME=]URL"))
    var servers: [String] = []

    @Option(
        help: ArgumentHelp(
            "gorgo, prefix-tree, least-load, least-request, session-affinity, power-of-two, round-robin, random or predictive.",
            valueName: "NAME"))
    var policy: String?

    @Option(
        help: ArgumentHelp(
            "Share with other proxies over NATS (with JetStream) what is learned, and servers and policy; several URLs by comma. A secret belongs into GOTONI_NATS.",
            valueName: "URL"))
    var nats: String?

    @Option(help: ArgumentHelp("The proxies that share, of all on this NATS.", valueName: "NAME"))
    var natsGroup: String?

    @Option(help: ArgumentHelp("NATS user's .creds file.", valueName: "FILE"))
    var natsCredentials: String?

    @Option(help: ArgumentHelp("PEM file of the authority of NATS' certificate.", valueName: "FILE"))
    var natsCa: String?

    @Option(help: ArgumentHelp("PEM file of our certificate for NATS.", valueName: "FILE"))
    var natsCert: String?

    @Option(help: ArgumentHelp("PEM file of its key.", valueName: "FILE"))
    var natsKey: String?

    @OptionGroup var options: GatewayOptions

    func run() async throws {
        let own = [
            Setting.servers(given: servers),
            Setting.policy(own: "policy", given: policy),
            Setting(
                own: "nats", given: nats.map { [$0] } ?? [],
                set: { $0.gateway.sharing = try Parse.nats($1) },
                // Users and passwords are not shown.
                show: { $0.gateway.sharing.map { [$0.servers] } ?? [] }),
            Setting(
                own: "nats-group", given: natsGroup.map { [$0] } ?? [],
                set: { try Parse.natsGroup($1, into: &$0.gateway) },
                show: { $0.gateway.sharing.map { [$0.group] } ?? [] }),
            .natsFile("nats-credentials", \.credentials, natsCredentials),
            .natsFile("nats-ca", \.authority, natsCa),
            .natsFile("nats-cert", \.certificate, natsCert),
            .natsFile("nats-key", \.key, natsKey),
        ]
        try await Service("gotoni-proxy", own: own).run(options)
    }
}
