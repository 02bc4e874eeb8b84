import ArgumentParser
import Foundation

/// Which cluster, and how it is reached.
struct ClusterOptions: ParsableArguments {
    @Option(
        name: [.customLong("cluster"), .customLong("cluster-name")],
        help: ArgumentHelp("The cluster (default: the only one that was set up from here).", valueName: "NAME"))
    var name: String?

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var machines: MachineOptions

    func chosen(_ settings: Settings) -> String? { settings.value("cluster", flag: name) }

    /// The cluster that is meant. Errors: 5, and 2 where that is not clear.
    func cluster() throws(CommandError) -> Cluster { try Cluster.named(chosen(try Settings.load())) }

    /// The same to change it, behind whoever does so now; the lock is to be released.
    func clusterToChange() async throws(CommandError) -> (Cluster, ClusterLock) {
        let lock = try await ClusterLock(try cluster().name)
        do throws(CommandError) { return (try cluster(), lock) } catch {
            lock.release()
            throw error
        }
    }

    /// A machine of a cluster: with a connection, or why there is none.
    struct Node: Sendable {
        var member: Cluster.Member
        var machine: Result<Machine, CommandError>
        /// As its cloud has it.
        var cloudMachine: CloudMachine?
    }

    /// `body` with the cluster's machines, in their order; one that is gone is an error of its own.
    func withNodes(of cluster: Cluster, _ body: ([Node]) async throws -> Void) async throws {
        var found: [Result<MachineOptions.Found, CommandError>] = []
        let isCloud = cluster.members.contains { !$0.key.contains("@") }
        let cloud = isCloud ? try machines.cloud(cluster.provider) : nil
        let known = try await cloud?.machines() ?? []
        for member in cluster.members {
            do throws(CommandError) {
                var one = try machines.found(member.key, among: known, of: cloud)
                // As it was called when the cluster was set up.
                one.name = member.name
                found.append(.success(one))
            } catch {
                found.append(.failure(error))
            }
        }
        let reachable = found.compactMap { try? $0.get() }
        try await machines.connected(reachable) { connected in
            var rest = connected[...]
            let nodes = zip(cluster.members, found).map { member, found -> Node in
                switch found {
                case .failure(let error): return Node(member: member, machine: .failure(error))
                case .success(let found):
                    guard let machine = rest.popFirst() else {
                        return Node(member: member, machine: .failure(CommandError("It was not connected.")))
                    }
                    return Node(member: member, machine: .success(machine), cloudMachine: found.machine)
                }
            }
            try await body(nodes)
        }
    }

    /// The steps of each node, on all at once; `isRolling`: one after the other, up to the first that fails.
    func carryOut(
        on nodes: [Node], isDry: Bool = false, isRolling: Bool = false, _ steps: @Sendable (Cluster.Member) -> [Step]
    ) async -> [[StepReport]] {
        let work = nodes.map { ($0, steps($0.member)) }
        guard isRolling else {
            return await concurrently(work) { node, steps in await Self.carryOut(steps, on: node, isDry) }
        }
        var all: [[StepReport]] = []
        for (node, steps) in work {
            guard !all.contains(where: \.hasFailed) else {
                all.append(
                    steps.map { StepReport(machine: node.member.name, step: $0.name, state: .left, info: "") })
                continue
            }
            all.append(await Self.carryOut(steps, on: node, isDry))
        }
        return all
    }

    private static func carryOut(_ steps: [Step], on node: Node, _ isDry: Bool) async -> [StepReport] {
        switch node.machine {
        case .success(let machine): return await Steps.run(steps, on: machine, isDry: isDry)
        case .failure(let error):
            Progress.say("\(node.member.name): \(error)")
            var failed = StepReport(machine: node.member.name, step: "reach", state: .failed, info: error.sentence)
            failed.exitCode = error.exitCode
            return [failed]
        }
    }

    /// Prints what was done.
    func show(_ reports: [[StepReport]]) throws { try Self.show(reports, json: json) }

    static func show(_ reports: [[StepReport]], json: Bool) throws {
        if json {
            print(try JSONText.of(["steps": reports.flatMap { $0 }]))
        } else {
            var table = TextTable(["MACHINE", "STEP", "STATE", "WHAT"], leading: 4)
            for report in reports.flatMap({ $0 }) {
                table.add([report.machine, report.step, report.state.rawValue, report.info])
            }
            print(table.lines.joined(separator: "\n"))
        }
    }

    /// `machines`: of how many the first reports are; more are of what they share.
    static func finish(_ reports: [[StepReport]], of machines: Int? = nil) throws {
        let failures = reports.map { $0.first { $0.state == .failed || $0.state == .left } }
        let own = failures.prefix(machines ?? reports.count)
        guard let first = failures.compactMap({ $0 }).first else { return }
        throw ExitCode(own.contains { $0 == nil } ? 7 : max(1, first.exitCode))
    }
}

extension [StepReport] {
    var hasFailed: Bool { contains { $0.state == .failed } }
}
