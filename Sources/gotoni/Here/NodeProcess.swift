import ArgumentParser

struct NodeStart: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start", abstract: "Run gotoni-lb here, in the foreground.",
        discussion: """
            gotoni becomes that program, which itself says what is wrong with a value, and whose exit status this is. \
            More of its flags go behind --; gotoni-lb --help names them.

            Example:
              gotoni lb start --local-port 30000 --listen-port 8000 --peers 10.0.0.3,10.0.0.4:9000 -- --log-format json
            """)

    @Option(help: ArgumentHelp("The engine's port on this machine: --engine http://127.0.0.1:N.", valueName: "N"))
    var localPort: String?

    @Option(
        help: ArgumentHelp("Nodes to begin with; the port is 8000 where none is named.", valueName: "HOST[:PORT],…"))
    var peers: [String] = []

    @Option(help: ArgumentHelp("How a request's place is chosen.", valueName: "NAME")) var strategy: String?

    @Option(help: ArgumentHelp("Most requests at one time at the engine.", valueName: "N")) var maxConcurrent: String?

    @Option(help: ArgumentHelp("Below so many at the engine a request stays; 0: the cost decides.", valueName: "N"))
    var runningThreshold: String?

    @Option(help: ArgumentHelp("This node's name.", valueName: "NAME")) var nodeId: String?

    @OptionGroup var start: StartOptions

    // What the first gotoni had and this one has not.
    @Option(help: .hidden) var ieQueueIndicator: String?
    @Option(help: .hidden) var clusterName: String?

    func validate() throws {
        guard ieQueueIndicator == nil else {
            throw ValidationError(
                "There is no --ie-queue-indicator any more: what waits at an engine is always part of its cost.")
        }
        guard clusterName == nil else {
            throw ValidationError("There is no --cluster-name any more: nodes are a cluster by their --peers.")
        }
    }

    func run() throws {
        let words =
            StartOptions.flag("--engine", localPort.map { "http://127.0.0.1:\($0)" })
            + StartOptions.flag("--strategy", strategy)
            + StartOptions.flag("--max-concurrent", maxConcurrent)
            + StartOptions.flag("--running-threshold", runningThreshold) + StartOptions.flag("--node-id", nodeId)
        let peers = try StartOptions.flags("--peer", peers, port: 8000)
        try start.become("gotoni-lb", pidFile: "lb.pid", words + peers)
    }
}

struct NodeStop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop", abstract: "End the gotoni-lb of this machine, once what is under way is answered.")

    @OptionGroup var options: StopOptions

    func run() async throws { try await options.stop("gotoni-lb", pidFile: "lb.pid") }
}
