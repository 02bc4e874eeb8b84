public import ArgumentParser

/// What every program around a gateway can be told. Values are text here: flags, environment and file are read by the same
/// table, `Settings.shared`.
public struct GatewayOptions: ParsableArguments {
    public init() {}

    @Option(
        help: ArgumentHelp(
            "Address of the data path: a port, or a Unix socket.", valueName: "HOST:PORT|unix:PATH"))
    var listen: String?

    @Option(help: ArgumentHelp("Rights of that socket's file: who may write to it may connect.", valueName: "OCTAL"))
    var socketMode: String?

    @Option(
        help: ArgumentHelp(
            "Control endpoints on an address of their own: on loopback, or with GOTONI_ADMIN_TOKEN.",
            valueName: "HOST:PORT|unix:PATH"))
    var adminListen: String?

    @Option(help: ArgumentHelp("Prefill time of a token, in the cost.", valueName: "MS"))
    var msPerToken: String?

    @Option(help: ArgumentHelp("Share of a running token that delays a newcomer, in the cost.", valueName: "N"))
    var runningCostFactor: String?

    @Option(
        name: .customLong("knob"), parsing: .singleValue,
        help: ArgumentHelp("Any knob of the cost; repeat for more. /proxy/tune lists them.", valueName: "NAME=VALUE"))
    var knobs: [String] = []

    @Option(
        help: ArgumentHelp(
            "Where tokens come from: estimate, a model's folder or tokenizer.json, unix:SOCKET, engine; or several, by comma.",
            valueName: "SOURCE"))
    var tokenizer: String?

    @Option(help: ArgumentHelp("For a service or an engine to say a prompt's tokens.", valueName: "TIME"))
    var tokenizerTimeout: String?

    @Option(
        help: ArgumentHelp(
            "The chat template in Jinja that the engines were told to use instead of the model's own.",
            valueName: "FILE"))
    var chatTemplate: String?

    @Option(help: ArgumentHelp("Most requests at one time on a server.", valueName: "N"))
    var maxConcurrent: String?

    @Option(help: ArgumentHelp("Most requests that wait when all servers are at that limit.", valueName: "N"))
    var maxQueue: String?

    @Option(help: ArgumentHelp("Longest wait.", valueName: "TIME"))
    var queueTimeout: String?

    @Option(help: ArgumentHelp("Attempts on other servers before the first byte of an answer.", valueName: "N"))
    var retries: String?

    @Option(help: ArgumentHelp("Until a server accepts.", valueName: "TIME"))
    var connectTimeout: String?

    @Option(help: ArgumentHelp("From sending a request to the first byte of its answer; 0: none.", valueName: "TIME"))
    var firstByteTimeout: String?

    @Option(help: ArgumentHelp("Between two reads of an answer; 0: none.", valueName: "TIME"))
    var idleTimeout: String?

    @Option(
        help: ArgumentHelp(
            "For a client to send a request's head, and its body beyond 10 KB a second.", valueName: "TIME"))
    var requestTimeout: String?

    @Option(help: ArgumentHelp("For a client's next request.", valueName: "TIME"))
    var keepAliveTimeout: String?

    @Option(help: ArgumentHelp("How long idle connections to servers are kept.", valueName: "TIME"))
    var upstreamKeepAlive: String?

    @Option(
        help: ArgumentHelp(
            "Idle connections to every server that each event loop keeps open, ahead of requests; 0: none.",
            valueName: "N"))
    var upstreamSpare: String?

    @Option(
        help: ArgumentHelp(
            "Congestion control of connections to servers: with bbr, idle ones keep their windows for long prompts.",
            valueName: "NAME"))
    var upstreamCongestion: String?

    @Option(help: ArgumentHelp("For requests under way when stopping.", valueName: "TIME"))
    var drainTimeout: String?

    @Option(help: ArgumentHelp("Largest request body.", valueName: "BYTES"))
    var maxBody: String?

    @Option(help: ArgumentHelp("Most connections of clients.", valueName: "N"))
    var maxConnections: String?

    @Option(help: ArgumentHelp("Between two looks at a server's metrics; 0: never.", valueName: "TIME"))
    var metricsInterval: String?

    @Option(help: ArgumentHelp("Where they are; found out if not given.", valueName: "PATH"))
    var metricsPath: String?

    @Option(
        help: ArgumentHelp(
            "Where every engine publishes KV events, and answers replays of them; they name the engine's tokens (--tokenizer).",
            valueName: "PORT[/REPLAY_PORT]"))
    var kvEvents: String?

    @Option(help: ArgumentHelp("Between two round trip probes.", valueName: "TIME"))
    var probeInterval: String?

    @Option(help: ArgumentHelp("What they ask for; any answer below 500 is a sign of life.", valueName: "PATH"))
    var probePath: String?

    @Option(help: ArgumentHelp("For an answer to a probe.", valueName: "TIME"))
    var probeTimeout: String?

    @Option(help: ArgumentHelp("Failed requests in a row that take a server out.", valueName: "N"))
    var ejectAfter: String?

    @Option(help: ArgumentHelp("Failed probes in a row that do.", valueName: "N"))
    var unhealthyAfter: String?

    @Option(
        help: ArgumentHelp("From one request at a time to the limit, for a server that comes back.", valueName: "TIME"))
    var slowStart: String?

    @Option(help: ArgumentHelp("PEM file of our certificate chain: serve https.", valueName: "FILE"))
    var tlsCert: String?

    @Option(help: ArgumentHelp("PEM file of its key.", valueName: "FILE"))
    var tlsKey: String?

    @Option(
        name: .long, parsing: .singleValue,
        help: ArgumentHelp(
            "Do not check the certificate of this server, or of all (*); repeat for more.", valueName: "NAME"))
    var tlsInsecure: [String] = []

    @Option(help: ArgumentHelp("Event loops; 0: one for each core, at most four.", valueName: "N"))
    var threads: String?

    @Option(
        help: ArgumentHelp(
            "Let several processes listen on the port, for restarts without a gap: true or false.", valueName: "BOOL"))
    var reusePort: String?

    @Option(help: ArgumentHelp("Requests remembered for export and percentiles.", valueName: "N"))
    var requestLogSize: String?

    @Option(help: ArgumentHelp("Remember them from the start: true or false.", valueName: "BOOL"))
    var collectMetrics: String?

    @Option(help: ArgumentHelp("Tokens per block of the prefix trie.", valueName: "N"))
    var blockTokens: String?

    @Option(help: ArgumentHelp("Most bytes of the prefix trie.", valueName: "BYTES"))
    var memoryBudget: String?

    @Option(help: ArgumentHelp("KV cache of a server that does not tell its own.", valueName: "TOKENS"))
    var defaultKvTokens: String?

    @Option(help: ArgumentHelp("Of ties and random policies.", valueName: "N"))
    var seed: String?

    @Option(help: ArgumentHelp("trace, debug, info, notice, warning, error or critical.", valueName: "LEVEL"))
    var logLevel: String?

    @Option(help: ArgumentHelp("text or json.", valueName: "FORMAT"))
    var logFormat: String?

    @Option(help: ArgumentHelp("Write the process id there.", valueName: "FILE"))
    var pidFile: String?

    @Option(help: ArgumentHelp("YAML file with any of these.", valueName: "FILE"))
    var config: String?

    @Flag(help: "Print the configuration in force as YAML and end.")
    var printConfig = false
}
