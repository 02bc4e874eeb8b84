import ArgumentParser
import GotoniGateway
import GotoniPicker
import GotoniService

/// The endpoint picker: sees every request through Envoy's eyes, and says where it goes.
@main struct GotoniPickerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gotoni-picker",
        abstract: "Tells Envoy, over ext_proc, which LLM server a request goes to, by what each one costs in time.",
        discussion: """
            \(Service.manners) Secrets have no flags: GOTONI_ADMIN_TOKEN, GOTONI_API_KEYS (comma-separated) and \
            GOTONI_UPSTREAM_API_KEY. --listen is for Envoy only: it speaks gRPC, and trusts who speaks it. Requests are \
            carried by Envoy, so its configuration has their timeouts, retries and connections, and the options here that \
            are about these only serve probes.

            Example:
              gotoni-picker --listen 127.0.0.1:9002 --admin-listen 127.0.0.1:9003 --server a=http://10.0.0.2:30000 \
            --server b=http://10.0.0.3:30000
            """,
        version: Service.version)

    @Option(
        name: .customLong("server"), parsing: .singleValue,
        help: ArgumentHelp(
            "A server, with a name of yours; repeat for more.", valueName: "[NAME=]http://ADDRESS[:PORT]"))
    var servers: [String] = []

    @OptionGroup var central: CentralOptions

    @OptionGroup var options: GatewayOptions

    func run() async throws {
        let own = [Setting.servers(given: servers)] + central.settings
        try await Service("gotoni-picker", own: own).run(
            options,
            prepare: {
                $0.gateway.namesAddressesOnly = true
                // Nothing is sent over them.
                $0.gateway.upstreamSpare = 0
            }, pipeline: PickerPipeline.configure)
    }
}
