import ArgumentParser
import Foundation

struct ClusterStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "How each machine of the cluster is doing.",
        discussion: "Exit status: 0 if all balancers and engines are well, 7 if some are, 1 if none is.")

    @Flag(help: "Again every two seconds, until it is interrupted.") var watch = false
    @OptionGroup var options: ClusterOptions

    /// What is shown of one machine.
    private struct Row: Encodable, Sendable {
        var node: String
        var region: String
        var lb: String
        var engine: String
        var peers: Int?
        var healthyPeers: Int?
        var running: Int?
        var queued: Int?
        var kvUse: Double?
        /// The mean of what it measures to its peers.
        var rttMs: Double?
        var error: String?

        var isWell: Bool { lb == "up" && engine == "up" }
    }

    func run() async throws {
        let cluster = try options.cluster()
        try await options.withNodes(of: cluster) { nodes in
            while true {
                let rows = await concurrently(nodes) { await Self.row($0, cluster) }
                try show(rows, cluster)
                guard watch else {
                    try CommandError.finish(
                        rows.filter { !$0.isWell }.map { CommandError($0.error ?? "\($0.node) is not well.") },
                        of: rows.count)
                    return
                }
                try await Task.sleep(for: .seconds(2))
            }
        }
    }

    private static func row(_ node: ClusterOptions.Node, _ cluster: Cluster) async -> Row {
        var row = Row(node: node.member.name, region: node.member.region, lb: "?", engine: "?")
        do throws(CommandError) {
            let machine = try node.machine.get()
            _ = try await machine.run(["true"], limit: .seconds(20))
            row.engine =
                await Health.answers(machine, Cluster.place(node.member, cluster.engine.port), "/health")
                ? "up" : "down"
            row.lb = "down"
            let service = cluster.service(
                try await machine.reach(Cluster.place(node.member, cluster.balancer.port)), of: node.member,
                program: "gotoni-lb")
            let status: NodeStatusAnswer = try await service.ask(.get, "/lb/status")
            row.lb = status.draining ? "draining" : "up"
            (row.peers, row.healthyPeers) = (status.peerCount, status.healthyPeers)
            (row.running, row.queued) = (status.runningReqs, status.queueSize + status.waitingReqs)
            row.kvUse = status.gpuCache
            let peers: PeersAnswer = try await service.ask(.get, "/lb/peers")
            let times = peers.peers.compactMap(\.latencyMs)
            if !times.isEmpty { row.rttMs = times.reduce(0, +) / Double(times.count) }
        } catch {
            row.error = error.sentence
            Progress.say("\(node.member.name): \(error)")
        }
        return row
    }

    private func show(_ rows: [Row], _ cluster: Cluster) throws {
        struct Document: Encodable {
            var cluster: String
            var strategy: String
            var nodes: [Row]
        }
        if options.json {
            let document = Document(cluster: cluster.name, strategy: cluster.balancer.strategy, nodes: rows)
            return print(try JSONText.of(document))
        }
        var table = TextTable(
            ["NODE", "REGION", "LB", "ENGINE", "PEERS", "RUNNING", "QUEUED", "KV USE", "RTT"], leading: 4)
        for row in rows {
            let peers = row.peers.map { "\(row.healthyPeers ?? 0)/\($0)" } ?? "-"
            table.add([
                row.node, row.region, row.lb, row.engine, peers, row.running.text, row.queued.text, row.kvUse.percent,
                row.rttMs.milliseconds(1),
            ])
        }
        // On a terminal the last one is replaced.
        if watch, isatty(1) == 1 { print("\u{1b}[H\u{1b}[2J", terminator: "") }
        print("\(cluster.name): \(cluster.engine.kind.rawValue), strategy \(cluster.balancer.strategy)\n")
        print(table.lines.joined(separator: "\n"))
    }
}
