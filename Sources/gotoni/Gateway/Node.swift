import ArgumentParser
import Foundation

struct Node: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lb", abstract: "Run a node (gotoni-lb), look at those that run, and change what they do.",
        discussion: """
            Nodes are asked at --host and --port, or with --remote over SSH on their own machines, where they want no \
            token. Where their control endpoints want one, GOTONI_ADMIN_TOKEN or --token-file has it.

            Exit status: 0 if all nodes answered, 7 if some did.
            """,
        subcommands: [
            NodeStart.self, NodeStop.self,
            NodeStatus.self, NodePolicy.self, NodeClearCache.self, NodePeers.self, NodeTune.self, NodeLatency.self,
        ])
}

struct NodeStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "status", abstract: "How nodes are doing.")

    @OptionGroup var options: NodeOptions

    func run() async throws {
        try await options.show(
            .get, "/lb/status",
            table: [
                "NODE", "STATE", "RUNNING", "WAITING", "LIMIT", "IN QUEUE", "KV USE", "PREDICTION ERROR", "PEERS",
                "LOCAL", "FORWARDED", "FROM PEERS",
            ], leading: 3
        ) { (_, status: NodeStatusAnswer) in
            [
                [
                    status.nodeId, status.draining ? "draining" : status.healthy ? "healthy" : "unhealthy",
                    "\(status.runningReqs)", "\(status.waitingReqs)", "\(status.maxLoad)", "\(status.queueSize)",
                    status.gpuCache.percent, status.learned?.error ?? "-", "\(status.healthyPeers)/\(status.peerCount)",
                    "\(status.aggregate.requestsLocal)", "\(status.aggregate.requestsForwarded)",
                    "\(status.aggregate.requestsFromPeers)",
                ]
            ]
        }
    }
}

struct NodePolicy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policy", abstract: "Which policy routes, or from now on this one.")

    @Argument(help: "The policy to route by.") var name: String?
    @OptionGroup var options: NodeOptions

    func run() async throws {
        guard let name else {
            return try await options.show(.get, "/lb/policy", table: ["POLICY", "AVAILABLE"], leading: 3) {
                (_, answer: PolicyAnswer) in [[answer.current, answer.available.joined(separator: ", ")]]
            }
        }
        let body = try JSONEncoder().encode(["policy": name])
        try await options.show(.post, "/lb/policy", body, table: ["BEFORE", "NOW"], leading: 3) {
            (_, change: PolicyChangeAnswer) in [[change.oldPolicy, change.newPolicy]]
        }
    }
}

struct NodeClearCache: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clear-cache", abstract: "Forget who holds which prompts.")

    @OptionGroup var options: NodeOptions

    func run() async throws {
        try await options.show(.post, "/lb/cache/clear", table: ["POLICY", "CLEARED"], leading: 2) {
            (_, answer: NodeClearedAnswer) in [[answer.strategy, "\(answer.nodesCleared)"]]
        }
    }
}

struct NodeTune: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tune", abstract: "What a node decides by, other values from now on, or its tuner.",
        discussion: TunerOrder.help)

    @Argument(help: ArgumentHelp("An order for the tuner.", valueName: "start|status|freeze|rollback"))
    var order: TunerOrder?
    @OptionGroup var limits: TunerLimits
    @Option(help: ArgumentHelp("Milliseconds to prefill a token.", valueName: "X")) var msPerToken: Double?
    @Option(help: ArgumentHelp("What a running token costs beside a queued one.", valueName: "X"))
    var runningCostFactor: Double?
    @Option(help: ArgumentHelp("Requests at an engine.", valueName: "N")) var maxConcurrent: Int?
    @Option(help: ArgumentHelp("Below so many at the engine a request stays.", valueName: "N"))
    var runningThreshold: Int?
    @Option(help: ArgumentHelp("Whether what finds no place waits.", valueName: "true|false")) var queueEnabled: Bool?
    @OptionGroup var options: NodeOptions

    private struct Changes: Encodable {
        var ms_per_token: Double?
        var running_cost_factor: Double?
        var max_concurrent: Int?
        var running_threshold: Int?
        var queue_enabled: Bool?
    }

    func run() async throws {
        let heading = ["POLICY", "MS_PER_TOKEN", "RUNNING_COST_FACTOR", "MAX_CONCURRENT", "RUNNING_THRESHOLD", "QUEUE"]
        func row(_ now: NodeConfigurationAnswer) -> [String] {
            [
                now.policy, "\(now.msPerToken)", "\(now.runningCostFactor)", "\(now.maxConcurrent)",
                "\(now.runningThreshold)", now.queueEnabled ? "on" : "off",
            ]
        }
        let tunerBody = try limits.body(of: order)
        let isChange =
            msPerToken != nil || runningCostFactor != nil || maxConcurrent != nil || runningThreshold != nil
            || queueEnabled != nil
        if let order {
            guard !isChange else { throw ValidationError("Give either an order for the tuner or values.") }
            return try await options.show(
                order.method, "/lb/tune/\(order.rawValue)", tunerBody, table: TunerAnswer.heading, leading: 8
            ) { (_, answer: TunerAnswer) in [answer.row] }
        }
        guard isChange else {
            return try await options.show(.get, "/lb/config", table: heading, leading: 2) {
                (_, now: NodeConfigurationAnswer) in [row(now)]
            }
        }
        let body = try JSONEncoder().encode(
            Changes(
                ms_per_token: msPerToken, running_cost_factor: runningCostFactor, max_concurrent: maxConcurrent,
                running_threshold: runningThreshold, queue_enabled: queueEnabled))
        try await options.show(.post, "/lb/config", body, table: heading, leading: 2) {
            (_, answer: NodeChangeAnswer) in [row(answer.config)]
        }
    }
}

struct NodeLatency: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "latency", abstract: "Round trips between nodes, as each has measured them.")

    @Flag(help: "Nodes against nodes.") var matrix = false
    @OptionGroup var options: NodeOptions

    func run() async throws {
        guard matrix, !options.asking.json else {
            return try await options.show(.get, "/lb/peers", table: ["PEER", "URL", "LATENCY"], leading: 3) {
                (_, answer: PeersAnswer) in answer.peers.map { [$0.id, $0.url, $0.latencyMs.milliseconds(2)] }
            }
        }
        try await options.withNodes { targets in
            let statuses = await options.ask(targets, .get, "/lb/status")
            let peers = await options.ask(targets, .get, "/lb/peers")
            var rows: [(node: String, latencies: [String: Double?])] = []
            for (index, target) in targets.enumerated() {
                guard let service = target.service, case .success(let status) = statuses[index],
                    case .success(let list) = peers[index]
                else { continue }
                let name = (try service.decode(status) as NodeStatusAnswer).nodeId
                let known: PeersAnswer = try service.decode(list)
                rows.append((name, Dictionary(known.peers.map { ($0.id, $0.latencyMs) }) { first, _ in first }))
            }
            let names = Set(rows.map(\.node) + rows.flatMap(\.latencies.keys)).sorted()
            var table = TextTable(["FROM \\ TO, ms"] + names)
            for row in rows {
                table.add(
                    [row.node]
                        + names.map { name in
                            name == row.node ? "-" : row.latencies[name]?.map { $0.text(2) } ?? "?"
                        })
            }
            print(table.lines.joined(separator: "\n"))
            try NodeOptions.finish(peers)
        }
    }
}
