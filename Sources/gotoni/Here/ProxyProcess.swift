import ArgumentParser
import Foundation

struct ProxyStart: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start", abstract: "Run gotoni-proxy here, in the foreground.",
        discussion: """
            gotoni becomes that program, which itself says what is wrong with a value, and whose exit status this is. \
            More of its flags go behind --; gotoni-proxy --help names them.

            Example:
              gotoni proxy start --listen-port 8000 --servers 10.0.0.3,10.0.0.4:30000 --policy gorgo -- --log-format json
            """)

    @ParentCommand var proxy: Proxy

    @Option(help: ArgumentHelp("The servers; repeat for more.", valueName: "HOST[:PORT],…")) var servers: [String] = []

    @Option(help: ArgumentHelp("The port of servers that name none.", valueName: "N")) var sglangPort = 8080

    @Option(help: ArgumentHelp("How a request's server is chosen.", valueName: "NAME")) var policy: String?

    @Option(help: ArgumentHelp("Most requests at one time on a server: --max-concurrent.", valueName: "N"))
    var maxRunningPerServer: String?

    @Option(help: ArgumentHelp("Between two looks at a server's metrics.", valueName: "TIME"))
    var metricsInterval: String?

    @Option(help: ArgumentHelp("Where they are: --metrics-path.", valueName: "PATH")) var metricsEndpoint: String?

    @Option(help: ArgumentHelp("Between two round trip probes: --probe-interval.", valueName: "TIME"))
    var latencyInterval: String?

    @Flag(help: "Do not check the servers' certificates; so does GOTONI_PROXY_TLS_INSECURE=1.") var tlsInsecure = false

    @OptionGroup var start: StartOptions

    // What the first gotoni had and this one has not.
    @Flag(help: .hidden) var autoDiscover = false
    @Option(help: .hidden) var capacityGating: String?

    func validate() throws {
        try HTTP.Place.check(port: sglangPort)
        guard !autoDiscover else {
            throw ValidationError("There is no --auto-discover any more: name the servers with --servers.")
        }
        guard capacityGating == nil else {
            throw ValidationError(
                "There is no --capacity-gating any more: a server always has a limit, --max-running-per-server.")
        }
    }

    func run() throws {
        try proxy.place.checkIsHere("start")
        let environment = ProcessInfo.processInfo.environment["GOTONI_PROXY_TLS_INSECURE"]?.lowercased()
        let isInsecure = tlsInsecure || ["1", "true", "yes"].contains(environment)
        let words =
            StartOptions.flag("--policy", policy)
            + StartOptions.flag("--max-concurrent", maxRunningPerServer)
            + StartOptions.flag("--metrics-interval", metricsInterval)
            + StartOptions.flag("--metrics-path", metricsEndpoint)
            + StartOptions.flag("--probe-interval", latencyInterval)
            + StartOptions.flag("--tls-insecure", isInsecure ? "*" : nil)
        let named = try StartOptions.flags("--server", servers, port: sglangPort)
        try start.become("gotoni-proxy", pidFile: "proxy.pid", words + named)
    }
}

struct ProxyStop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop",
        abstract: "End the gotoni-proxy of this machine, or one that was deployed, once what is under way is answered.")

    @ParentCommand var proxy: Proxy
    @Option(help: ArgumentHelp("The one that gotoni proxy deploy started there.", valueName: "MACHINE"))
    var remote: String?
    @OptionGroup var options: StopOptions
    @OptionGroup var machines: MachineOptions

    func run() async throws {
        var place = proxy.place
        guard let name = remote ?? place.remote else {
            try place.checkIsHere("stop")
            return try await options.stop("gotoni-proxy", pidFile: "proxy.pid")
        }
        place.remote = nil
        try place.checkIsHere("stop")
        let found = try await machines.find([name])
        try await machines.connected(found) { connected in
            let reports = await concurrently(connected) {
                await Steps.run([NodePlan.stop("proxy")], on: $0, isDry: false)
            }
            try ClusterOptions.show(reports, json: options.json)
            try ClusterOptions.finish(reports)
        }
    }
}

extension ProxyPlace {
    /// `start` and `stop` do nothing elsewhere, so a place would be overlooked.
    func checkIsHere(_ command: String) throws {
        guard url == nil, host == nil, port == nil, remote == nil else {
            throw ValidationError(
                "gotoni proxy \(command) is for a process of this machine: --url, --host and --port do not name one.")
        }
    }
}
