import Foundation

/// Whether balancers reach one another: what no machine can tell of itself.
enum Mesh {
    private static let patience = Duration.seconds(30)

    /// A report for each node, in their order.
    static func check(_ nodes: [ClusterOptions.Node], _ cluster: Cluster) async -> [StepReport] {
        await concurrently(nodes) { node in
            var report = StepReport(machine: node.member.name, step: "mesh", state: .held, info: "")
            do throws(CommandError) {
                let machine = try node.machine.get()
                report.info = try await wait(machine, node.member, cluster)
            } catch {
                Progress.say("\(node.member.name): mesh: \(error)")
                (report.state, report.info, report.exitCode) = (.failed, error.sentence, error.exitCode)
            }
            return report
        }
    }

    private static func wait(_ machine: Machine, _ member: Cluster.Member, _ cluster: Cluster)
        async throws(CommandError) -> String
    {
        let service = cluster.service(
            try await machine.reach(Cluster.place(member, cluster.balancer.port)), of: member, program: "gotoni-lb")
        let clock = ContinuousClock()
        let start = clock.now
        while true {
            let answer: PeersAnswer = try await service.ask(.get, "/lb/peers")
            let missing = answer.peers.filter { $0.latencyMs == nil || $0.state == "down" }.map(\.id)
            let others = cluster.members.count - 1
            if missing.isEmpty, answer.peers.count >= others { return "\(answer.peers.count) peers answer" }
            guard answer.peers.count >= others else {
                throw CommandError(
                    "It knows \(answer.peers.count) of \(others) peers; gotoni cluster restart-lb tells it all.")
            }
            guard clock.now - start < patience else {
                throw CommandError(
                    "It does not reach \(missing.joined(separator: ", ")): port \(cluster.balancer.port) must be open "
                        + "between the machines.")
            }
            try? await Task.sleep(for: .milliseconds(200))
        }
    }
}

extension Cluster {
    /// A program of the cluster on `member`, at `way`.
    func service(_ way: HTTP.Place, of member: Member, program: String, limit: Duration = .seconds(10)) -> JSONService {
        JSONService(
            place: way, name: member.name, program: program,
            nobody: CommandError("\(member.name): \(program) does not answer."),
            fields: [("authorization", "Bearer \(adminToken)")], limit: limit)
    }
}
