public import ArgumentParser
import GotoniGateway

/// What programs can be told that see all requests, the proxy and the picker: the policy, and with whom they share.
public struct CentralOptions: ParsableArguments {
    public init() {}

    @Option(
        help: ArgumentHelp(
            "gorgo, prefix-tree, least-load, least-request, session-affinity, power-of-two, round-robin, random or predictive.",
            valueName: "NAME"))
    var policy: String?

    @Option(
        help: ArgumentHelp(
            "Share with other proxies and pickers over NATS (with JetStream) what is learned, and servers and policy; several URLs by comma. A secret belongs into GOTONI_NATS.",
            valueName: "URL"))
    var nats: String?

    @Option(help: ArgumentHelp("Those that share, of all on this NATS.", valueName: "NAME"))
    var natsGroup: String?

    @Option(help: ArgumentHelp("NATS user's .creds file.", valueName: "FILE"))
    var natsCredentials: String?

    @Option(help: ArgumentHelp("PEM file of the authority of NATS' certificate.", valueName: "FILE"))
    var natsCa: String?

    @Option(help: ArgumentHelp("PEM file of our certificate for NATS.", valueName: "FILE"))
    var natsCert: String?

    @Option(help: ArgumentHelp("PEM file of its key.", valueName: "FILE"))
    var natsKey: String?

    /// For `Service`, beside the program's own.
    public var settings: [Setting] {
        [
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
    }
}
