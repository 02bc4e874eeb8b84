import ArgumentParser
import Foundation

struct Proxy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run gotoni-proxy, look at one that runs, and change what it does.",
        discussion: """
            The proxy is asked at --url, at --host and --port, or with --remote over SSH on its own machine, where it \
            wants no token. Where its control endpoints want one, GOTONI_ADMIN_TOKEN or --token-file has it.

            Example:
              gotoni proxy status --remote ubuntu@proxy.example.org
            """,
        subcommands: [
            ProxyStart.self, ProxyStop.self,
            ProxyStatus.self, ProxyServers.self, ProxyPolicy.self, ProxyTune.self, ProxyClearCache.self,
            ProxyLatency.self, ProxyPrefixStats.self, ProxyExplain.self, ProxyMetrics.self, ProxyDeploy.self,
        ])

    @OptionGroup var place: ProxyPlace
}

/// Where the proxy is. Each of these may stand before the subcommand or behind it.
struct ProxyPlace: ParsableArguments {
    @Option(help: ArgumentHelp("The proxy, as http://HOST:PORT or https://HOST.", valueName: "URL"))
    var url: String?

    @Option(help: ArgumentHelp("The proxy's host (default: localhost).", valueName: "HOST"))
    var host: String?

    @Option(help: ArgumentHelp("The proxy's port (default: 8000).", valueName: "N"))
    var port: Int?

    @Option(help: ArgumentHelp("The proxy on this machine's loopback, over SSH.", valueName: "USER@HOST"))
    var remote: String?
}

/// What the commands of a proxy share.
struct ProxyOptions: ParsableArguments {
    @OptionGroup var own: ProxyPlace
    @OptionGroup var asking: AskOptions

    /// `body` with the proxy.
    func withProxy(of proxy: Proxy, _ body: (JSONService) async throws -> Void) async throws {
        let before = proxy.place
        let port = own.port ?? before.port
        if let port { try HTTP.Place.check(port: port) }
        switch (own.url ?? before.url, own.host ?? before.host, own.remote ?? before.remote) {
        case (let url?, nil, nil):
            let place = try HTTP.Place(argument: url)
            try await body(asking.service(place, name: "\(place)", program: "gotoni-proxy"))
        case (nil, nil, let remote?):
            try SSHOptions.check([remote])
            try await asking.withRemotes([remote], port: port, of: .proxy) { remotes in
                guard let remote = remotes.first, let place = remote.place else { throw ExitCode.failure }
                try await body(
                    asking.service(place, name: remote.name, program: "gotoni-proxy", token: remote.token))
            }
        case (nil, let host, nil):
            let place = try HTTP.Place(host: host ?? "localhost", port: port ?? 8000)
            try await body(asking.service(place, name: "\(place)", program: "gotoni-proxy"))
        default: throw ValidationError("Give one of --url, --host and --remote.")
        }
    }

    /// Asks, and prints what was answered, as JSON or as `text` has it.
    func show<Answer: Decodable>(
        of proxy: Proxy, _ method: HTTP.Method, _ path: String, _ body: Data? = nil,
        text: (Answer) throws -> String
    ) async throws {
        try await withProxy(of: proxy) { service in
            let bytes = try await service.bytes(method, path, body)
            if asking.json { print(JSONText.pretty(bytes)) } else { print(try text(service.decode(bytes))) }
        }
    }
}

struct ProxyStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "How it is doing, and each of its servers.")

    @ParentCommand var proxy: Proxy
    @OptionGroup var options: ProxyOptions

    func run() async throws {
        try await options.show(of: proxy, .get, "/proxy/status") { (status: StatusAnswer) in
            var facts = Facts()
            facts.add("Running", status.draining ? "yes, draining" : "yes")
            facts.add("Version", status.version)
            facts.add("Uptime", status.uptimeSeconds.text(0) + " s")
            facts.add("Routing policy", status.routingPolicy)
            facts.add("ms_per_token", "\(status.msPerToken)")
            facts.add("running_cost_factor", "\(status.runningCostFactor)")
            facts.add("Tokens", status.tokenizer)
            facts.add("Queue size", status.queueSize)
            facts.add("Under way", status.underWay)
            facts.add("Handled", status.totalHandled)
            facts.add("Forwarded", status.totalForwarded)
            facts.add("Queued", status.totalQueued)
            facts.add("Rejected", status.totalRejected)
            facts.add("Failed", status.totalFailed)
            facts.add("Cancelled", status.totalCancelled)
            facts.add("Retried", status.totalRetried)
            facts.add("Requests a second", status.requestsPerSecond.text(1))
            if let sharing = status.sharing {
                let told = sharing.bytesPerPrompt.map { ", \($0.text(0)) bytes a prompt" } ?? ""
                facts.add(
                    "Shares",
                    sharing.trouble.map { "nothing now: \($0)" }
                        ?? "with \(sharing.siblings) other proxies of \(sharing.group), as \(sharing.proxy)\(told)")
            }
            let ttft = status.ttftMs
            facts.add(
                "TTFT, last \(ttft.windowSeconds) s",
                "p50 \(ttft.p50.milliseconds(0)), p95 \(ttft.p95.milliseconds(0)), p99 \(ttft.p99.milliseconds(0))")
            var table = TextTable(
                [
                    "SERVER", "STATE", "RUNNING", "WAITING", "LIMIT", "KV USE", "RTT", "RTT AVG", "TTFT P50",
                    "HIT SHARE", "REQUESTS", "FAILURES",
                ], leading: 2)
            for server in status.servers {
                table.add([
                    server.id, server.state, server.runningReqs.text, server.waitingReqs.text, "\(server.limit)",
                    server.gpuCacheUsage.percent, server.latency.currentMs.milliseconds(1),
                    server.latency.avgMs.milliseconds(1), server.ttftP50Ms.milliseconds(0), server.hitShare.percent,
                    "\(server.requests)", "\(server.failures)",
                ])
            }
            let now = facts.lines + ["", "Servers (\(status.servers.count))"] + table.lines
            return (now + [""] + Self.learned(status.servers)).joined(separator: "\n")
        }
    }

    /// Before its first answer a server is taken for one like the others.
    private static func learned(_ servers: [StatusAnswer.Server]) -> [String] {
        var table = TextTable(
            [
                "SERVER", "PREDICTIONS", "MEAN ERROR", "BIAS", "MEAN TTFT", "PREFILL OF 1,000", "OVERHEAD", "DECODE",
                "UPLOAD SHARE",
            ])
        for server in servers {
            guard let learned = server.learned else { continue }
            let compared: LearnedAnswer? = learned.predictions > 0 ? learned : nil
            table.add([
                server.id, "\(learned.predictions)", learned.error, (compared?.biasMs).milliseconds(1),
                (compared?.meanFirstTokenMs).milliseconds(1),
                (learned.prefillMsPerToken * 1000).text(1) + " ms", learned.overheadMs.text(1) + " ms",
                learned.decodeMs.text(0) + " ms", Optional(learned.uploadRoundTrips).percent,
            ])
        }
        return ["Learned from answers, and how true predictions of the first token are"] + table.lines
    }
}

struct ProxyPolicy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policy", abstract: "Which policy routes, or from now on this one.")

    @ParentCommand var proxy: Proxy
    @Argument(help: "The policy to route by.") var name: String?
    @OptionGroup var options: ProxyOptions

    func run() async throws {
        try await options.withProxy(of: proxy) { service in
            try await PolicyText.show(service, "/proxy/policy", name, json: options.asking.json)
        }
    }
}

/// Asks for the policy of a proxy or a node, or sets it.
enum PolicyText {
    static func show(_ service: JSONService, _ path: String, _ name: String?, json: Bool) async throws {
        let body = try name.map { try JSONEncoder().encode(["policy": $0]) }
        let bytes = try await service.bytes(body == nil ? .get : .post, path, body)
        if json { return print(JSONText.pretty(bytes)) }
        if name == nil {
            let answer: PolicyAnswer = try service.decode(bytes)
            print("\(answer.current) (available: \(answer.available.joined(separator: ", ")))")
        } else {
            let change: PolicyChangeAnswer = try service.decode(bytes)
            print("\(change.oldPolicy) -> \(change.newPolicy)")
        }
    }
}

struct ProxyTune: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tune", abstract: "The numbers of the cost model, other ones from now on, or their tuner.",
        discussion: """
            \(TunerOrder.help)

            Example:
              gotoni proxy tune --ms-per-token 0.094 queued_weight=0.5
              gotoni proxy tune start --ttft-ms 1000 --itl-ms 50
              gotoni proxy tune status
            """)

    @ParentCommand var proxy: Proxy
    @Argument(
        help: ArgumentHelp(
            "A knob and its value, without one all are shown; or an order for the tuner.",
            valueName: "NAME=VALUE|start|status|freeze|rollback"))
    var words: [TuneWord] = []

    @Option(help: ArgumentHelp("As ms_per_token=X.", valueName: "X")) var msPerToken: Double?
    @Option(help: ArgumentHelp("As running_cost_factor=X.", valueName: "X")) var runningCostFactor: Double?
    @OptionGroup var limits: TunerLimits
    @OptionGroup var options: ProxyOptions

    func run() async throws {
        let orders = words.compactMap(\.order)
        let body = try limits.body(of: orders.first)
        guard let order = orders.first else { return try await turn() }
        guard words.count == 1, msPerToken == nil, runningCostFactor == nil else {
            throw ValidationError("Give either one order for the tuner or knobs.")
        }
        try await options.show(of: proxy, order.method, "/proxy/tune/\(order.rawValue)", body) {
            (answer: TunerAnswer) in answer.text
        }
    }

    private func turn() async throws {
        var wanted: [String: Double] = [:]
        let named = [("ms_per_token", msPerToken), ("running_cost_factor", runningCostFactor)]
        for (name, value) in named.compactMap({ name, value in value.map { (name, $0) } })
            + words.compactMap({ $0.knob.map { ($0.name, $0.value) } })
        {
            guard wanted.updateValue(value, forKey: name) == nil else {
                throw ValidationError("\(name) is given twice.")
            }
        }
        let body = wanted.isEmpty ? nil : try JSONEncoder().encode(wanted)
        try await options.show(of: proxy, body == nil ? .get : .post, "/proxy/tune", body) {
            (values: [String: Double]) in
            var facts = Facts()
            for (name, value) in values.sorted(by: { $0.key < $1.key }) { facts.add(name, "\(value)") }
            return facts.lines.joined(separator: "\n")
        }
    }
}

/// NAME=VALUE, or an order for the tuner.
struct TuneWord: ExpressibleByArgument {
    var knob: (name: String, value: Double)?
    var order: TunerOrder?

    init?(argument: String) {
        order = TunerOrder(rawValue: argument)
        if order != nil { return }
        let parts = argument.split(separator: "=", omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, let value = Double(parts[1]), value.isFinite else { return nil }
        knob = (String(parts[0]), value)
    }
}

struct ProxyClearCache: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clear-cache", abstract: "Forget which server holds which prompts.")

    @ParentCommand var proxy: Proxy
    @Option(help: ArgumentHelp("What this server holds only.", valueName: "NAME")) var server: String?
    @OptionGroup var options: ProxyOptions

    func run() async throws {
        let path = "/proxy/cache/clear" + (server.map { "?id=" + JSONService.quoted($0) } ?? "")
        try await options.show(of: proxy, .post, path) { (answer: ClearedAnswer) in answer.message }
    }
}

struct ProxyLatency: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "latency", abstract: "Round trips from the proxy to its servers.")

    @ParentCommand var proxy: Proxy
    @OptionGroup var options: ProxyOptions

    func run() async throws {
        try await options.show(of: proxy, .get, "/proxy/latency") { (answer: [String: LatencyAnswer]) in
            var table = TextTable(["SERVER", "CURRENT", "AVERAGE", "LEAST", "MOST"])
            for (name, latency) in answer.sorted(by: { $0.key < $1.key }) {
                let all = [latency.currentMs, latency.avgMs, latency.minMs, latency.maxMs]
                table.add([name] + all.map { $0.milliseconds(2) })
            }
            return table.lines.joined(separator: "\n")
        }
    }
}

struct ProxyPrefixStats: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prefix-stats", abstract: "The prefix trie in eight figures; lengths are tokens.")

    @ParentCommand var proxy: Proxy
    @OptionGroup var options: ProxyOptions

    func run() async throws {
        try await options.show(of: proxy, .get, "/proxy/prefix/stats") { (answer: PrefixAnswer) in
            var facts = Facts()
            facts.add("Nodes", answer.nodes)
            facts.add("Leaves", answer.leaves)
            facts.add("Max depth", answer.maxDepth)
            facts.add("Avg depth", answer.avgDepth.text(2))
            facts.add("Avg branching", answer.avgBranching.text(2))
            facts.add("Avg prefix length", answer.avgPrefixLen.text(2))
            facts.add("Total server refs", answer.totalServerRefs)
            facts.add("Unique servers", answer.uniqueServerCount)
            return facts.lines.joined(separator: "\n")
        }
    }
}

struct ProxyExplain: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain", abstract: "Why the last requests went where they did, or where one would go now.",
        discussion: """
            Each server's cost in milliseconds, by its parts. With --body nothing is sent to a server.

            Example:
              gotoni proxy explain --last 3
              gotoni proxy explain --body request.json
            """)

    @ParentCommand var proxy: Proxy
    @Option(help: ArgumentHelp("How many requests, the latest ones (default: 1).", valueName: "N")) var last: Int?
    @Option(
        help: ArgumentHelp("A request's JSON, or - for standard input: what would be decided now.", valueName: "FILE"))
    var body: String?
    @Option(help: ArgumentHelp("Where that request would be sent.", valueName: "PATH"))
    var endpoint = "/v1/chat/completions"
    @OptionGroup var options: ProxyOptions

    func run() async throws {
        guard body == nil || last == nil else { throw ValidationError("Give --last or --body.") }
        let content: Data?
        switch body {
        case nil: content = nil
        case "-": content = FileHandle.standardInput.readDataToEndOfFile()
        case let file?:
            guard let data = FileManager.default.contents(atPath: file) else {
                throw ValidationError("\(file) cannot be read.")
            }
            content = data
        }
        let path =
            content == nil
            ? "/proxy/explain?last=\(last ?? 1)" : "/proxy/explain?endpoint=" + JSONService.quoted(endpoint)
        try await options.show(of: proxy, content == nil ? .get : .post, path, content) { (answer: ExplainAnswer) in
            guard !answer.decisions.isEmpty else { return "There were no requests yet." }
            return answer.decisions.map(Self.text).joined(separator: "\n\n")
        }
    }

    private static func text(_ decision: ExplainAnswer.Decision) -> String {
        let beginning = [decision.time, decision.requestId].compactMap { $0 }.map { $0 + "  " }.joined()
        let title =
            "\(beginning)\(decision.promptTokens) tokens to \(decision.chosen ?? "nobody") (\(decision.policy): \(decision.reason)\(decision.trial == true ? ", weights on trial" : ""))"
            + (decision.ttftMs.map { ", waited \(decision.queueMs.text(0)) ms, TTFT \($0.text(0)) ms" } ?? "")
            + (decision.predictedFirstTokenMs.map { predicted in
                ", first token predicted after \(predicted.text(0)) ms"
                    + (decision.firstTokenMs.map { ", seen after \($0.text(0)) ms" } ?? "")
            } ?? "")
        // What was compared: predicted times, or the terms of the GORGO cost.
        let isPredicted = decision.policy == "predictive" && decision.candidates.allSatisfy { $0.predicted != nil }
        let terms =
            isPredicted
            ? ["NETWORK", "UPLOAD", "WAIT", "PREFILL", "DECODE", "OTHERS", "DOUBT"]
            : ["RTT", "PREFILL", "QUEUED", "RUNNING"]
        var table = TextTable(["SERVER", "VERDICT", "CACHED", "TO PREFILL"] + terms + ["COST"], leading: 2)
        for row in decision.candidates {
            var costs = [row.rttMs, row.prefillMs, row.queuedMs, row.runningMs, row.costMs]
            if isPredicted, let predicted = row.predicted {
                costs = [
                    predicted.networkMs, predicted.uploadMs, predicted.waitMs, predicted.prefillMs, predicted.decodeMs,
                    predicted.othersMs, predicted.doubtMs, predicted.costMs,
                ]
            }
            table.add(
                [row.server, row.verdict, "\(row.matchedTokens)", "\(row.uncachedTokens)"]
                    + costs.map { $0.text(1) + " ms" })
        }
        return ([title] + table.lines).joined(separator: "\n")
    }
}
