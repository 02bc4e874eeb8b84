import ArgumentParser
import Foundation

struct ClusterRestartEngines: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restart-engine", abstract: "Start the engines anew; what they hold in memory is lost.",
        discussion: "Balancers hold requests back until their engine answers. For another model: gotoni cluster setup.")

    @Option(help: ArgumentHelp("How long an engine may load its model.", valueName: "TIME"))
    var engineTimeout = WaitTime(seconds: 1800)
    @Flag(help: "One after the other, so that the others go on serving.") var rolling = false
    @OptionGroup var options: ClusterOptions

    func run() async throws {
        let (cluster, lock) = try await options.clusterToChange()
        defer { lock.release() }
        guard cluster.engine.kind != .external else {
            throw CommandError("The engines of \(cluster.name) were not started by gotoni.", exitCode: 2)
        }
        try await Work.with(cluster, programs: []) { work in
            try await options.withNodes(of: cluster) { nodes in
                let reports = await options.carryOut(on: nodes, isRolling: rolling) { member in
                    let plan = work.plan(for: member, engineTimeout.duration)
                    return (plan.engineStop.map { [$0] } ?? []) + [plan.engineStep]
                }
                try options.show(reports)
                try ClusterOptions.finish(reports)
            }
        }
    }
}

struct ClusterFlush: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flush-cache", abstract: "Empty the engines' KV caches, and what balancers know of them.",
        discussion: """
            Between two measurements, for the second not to find what the first has left. An engine that serves \
            requests does not empty its cache: it is asked until --wait is over.
            """)

    @Flag(help: "Only what engines hold.") var engineOnly = false
    @Flag(help: "Only what balancers know.") var lbOnly = false
    @Option(help: ArgumentHelp("How long a busy engine is asked.", valueName: "TIME")) var wait = WaitTime(seconds: 30)
    @OptionGroup var options: ClusterOptions

    func validate() throws {
        guard !engineOnly || !lbOnly else { throw ValidationError("Give --engine-only or --lb-only.") }
    }

    func run() async throws {
        let cluster = try options.cluster()
        try await options.withNodes(of: cluster) { nodes in
            let engines = !lbOnly
            let balancers = !engineOnly
            let limit = wait.duration
            let reports = await concurrently(nodes) { node -> [StepReport] in
                var reports: [StepReport] = []
                if engines {
                    reports.append(
                        await StepReport.of("engine", node) { (machine) throws(CommandError) in
                            try await Self.flush(cluster, node.member, machine, limit)
                        })
                }
                if balancers {
                    reports.append(
                        await StepReport.of("lb", node) { (machine) throws(CommandError) in
                            let service = cluster.service(
                                try await machine.reach(Cluster.place(node.member, cluster.balancer.port)),
                                of: node.member, program: "gotoni-lb")
                            let answer: NodeClearedAnswer = try await service.ask(.post, "/lb/cache/clear")
                            return "forgot \(answer.nodesCleared) prefixes"
                        })
                }
                return reports
            }
            try options.show(reports)
            try ClusterOptions.finish(reports)
        }
    }

    /// SGLang refuses with 400 while it serves requests.
    private static func flush(
        _ cluster: Cluster, _ member: Cluster.Member, _ machine: Machine, _ limit: Duration
    ) async throws(CommandError) -> String {
        struct Flushed: Decodable { var success: Bool? }
        let path = cluster.engine.kind.flushPath
        let service = cluster.service(
            try await machine.reach(Cluster.place(member, cluster.engine.port)), of: member, program: "the engine")
        let clock = ContinuousClock()
        let start = clock.now
        while true {
            do throws(JSONService.Failure) {
                let answer = try await service.answer(.post, path)
                // vLLM says it so, with status 200.
                let flushed = try? JSONDecoder().decode(Flushed.self, from: answer)
                if flushed?.success != false { return "emptied" }
            } catch {
                if case .refused(404, _) = error {
                    throw CommandError(
                        "The engine has no \(path) (vLLM: in development mode only); restart-engine empties it too.")
                }
                guard case .refused(400, _) = error else { throw service.sentence(error) }
            }
            guard clock.now - start < limit else {
                throw CommandError("The engine serves requests and keeps its cache, after \(limit).", exitCode: 124)
            }
            try? await Task.sleep(for: .milliseconds(500))
        }
    }
}

extension StepReport {
    /// Something that is done once, without looking first.
    static func of(
        _ name: String, _ node: ClusterOptions.Node, _ body: (Machine) async throws(CommandError) -> String
    ) async -> StepReport {
        var report = StepReport(machine: node.member.name, step: name, state: .done, info: "")
        do throws(CommandError) {
            let machine = try node.machine.get()
            // Opens the connection, if nothing has so far.
            _ = try await machine.run(["true"], limit: .seconds(20))
            report.info = try await body(machine)
        } catch {
            Progress.say("\(node.member.name): \(name): \(error)")
            (report.state, report.info, report.exitCode) = (.failed, error.sentence, error.exitCode)
        }
        return report
    }
}
