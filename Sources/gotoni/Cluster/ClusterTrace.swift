import ArgumentParser
import Foundation

struct ClusterStartTrace: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start-trace", abstract: "From now on, note what becomes of each request, on all machines.")

    @OptionGroup var options: ClusterOptions

    func run() async throws {
        let cluster = try options.cluster()
        try await options.withNodes(of: cluster) { nodes in
            let reports = await concurrently(nodes) { node in
                [
                    await StepReport.of("trace", node) { (machine) throws(CommandError) in
                        let way = try await machine.reach(Cluster.place(node.member, cluster.balancer.port))
                        _ = try await cluster.service(way, of: node.member, program: "gotoni-lb")
                            .bytes(.post, "/lb/trace/start")
                        return "runs"
                    }
                ]
            }
            try options.show(reports)
            try ClusterOptions.finish(reports)
        }
    }
}

struct ClusterStopTrace: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop-trace", abstract: "End the trace, and write it as one file on one clock.",
        discussion: """
            The file opens at ui.perfetto.dev. Clocks are compared as well as one can from here; python3 joins the \
            machines' files.
            """)

    @Option(help: ArgumentHelp("The file, .json or .json.gz (default: trace-TIME.json.gz).", valueName: "FILE"))
    var output: String?
    @OptionGroup var options: ClusterOptions

    func run() async throws {
        let cluster = try options.cluster()
        let file = output ?? "trace-\(Int(Date().timeIntervalSince1970)).json.gz"
        try await options.withNodes(of: cluster) { nodes in
            let ways = await concurrently(nodes) { node -> Result<String, CommandError> in
                do throws(CommandError) {
                    let machine = try node.machine.get()
                    _ = try await machine.run(["true"], limit: .seconds(20))
                    let way = try await machine.reach(Cluster.place(node.member, cluster.balancer.port))
                    return .success("\(way)")
                } catch {
                    Progress.say("\(node.member.name): \(error)")
                    return .failure(error)
                }
            }
            let urls = ways.compactMap { try? $0.get() }
            guard !urls.isEmpty else { throw CommandError("None of the machines was reached.") }
            print(try await collect(urls, into: file, token: cluster.adminToken), terminator: "")
            try CommandError.finish(
                ways.compactMap { if case .failure(let error) = $0 { error } else { nil } }, of: ways.count)
        }
    }

    /// By cluster_trace.py, which anybody can also use alone.
    private func collect(_ urls: [String], into file: String, token: String) async throws(CommandError) -> String {
        let folder = try Files.temporaryFolder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let script = folder + "/cluster_trace.py"
        try Files.write(String(decoding: PackageResources.cluster_trace_py, as: UTF8.self), to: script)
        let hidden = try HiddenFile(token)
        // The token is in no command line.
        let shell = #"GOTONI_ADMIN_TOKEN=$(cat "$1"); export GOTONI_ADMIN_TOKEN; shift; exec python3 "$@""#
        let answer = try await Program(
            name: "sh",
            arguments: ["-c", shell, "sh", hidden.path, script, "stop"] + urls
                + ["--out", file, "--timeout", "120"] + (options.json ? ["--json"] : [])
        )
        .run(limit: .seconds(600))
        // 1: some gave none; the others' are in the file.
        if answer.status == 1, !answer.output.isEmpty { Progress.say(answer.errors) }
        guard answer.status == 0 || answer.status == 1 && !answer.output.isEmpty else {
            throw CommandError("The traces were not collected.", lines: answer.errors)
        }
        return answer.output
    }
}
