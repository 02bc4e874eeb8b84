import ArgumentParser
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

    @OptionGroup var central: CentralOptions

    @OptionGroup var options: GatewayOptions

    func run() async throws {
        let own = [Setting.servers(given: servers)] + central.settings
        try await Service("gotoni-proxy", own: own).run(options)
    }
}
