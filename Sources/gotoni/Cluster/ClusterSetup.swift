import ArgumentParser
import Foundation

/// What a cluster is to be; what is not given stays as it was, or is as by default.
struct ClusterWishes: ParsableArguments {
    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "The machines: names of the cloud's, or USER@HOST (default: its own, and what was launched for it).",
            valueName: "NAME"))
    var nodes: [String] = []

    @Option(
        help: ArgumentHelp(
            "sglang (default), vllm, simulated (needs no GPU), or external: one that runs.", valueName: "KIND"))
    var engine: EngineKind?

    @Option(help: ArgumentHelp("The model, as the engine names it.", valueName: "NAME")) var model: String?
    @Option(help: ArgumentHelp("The engine's container image.", valueName: "IMAGE")) var image: String?
    @Option(
        name: [.customLong("tp"), .customLong("tensor-parallel")],
        help: ArgumentHelp("GPUs that work on one request (default: 1).", valueName: "N"))
    var tensorParallel: Int?
    @Option(help: ArgumentHelp("The engines' port (default: 8080).", valueName: "N")) var enginePort: Int?

    @Option(help: ArgumentHelp("The balancers' port (default: 8000).", valueName: "N")) var port: Int?
    @Option(help: ArgumentHelp("How balancers choose: gorgo (default), prefix-tree, least-load, …", valueName: "NAME"))
    var strategy: String?
    @Option(help: ArgumentHelp("Most requests at an engine (default: 100).", valueName: "N")) var maxConcurrent: Int?
    @Option(help: ArgumentHelp("Below so many at the engine a request stays (default: 0).", valueName: "N"))
    var runningThreshold: Int?

    @Option(
        help: ArgumentHelp(
            "How machines reach one another: private, public, or auto: private where all are in one region.",
            valueName: "NAME"))
    var network = Network.auto

    enum Network: String, ExpressibleByArgument { case auto, `private`, `public` }

    func validate() throws {
        for port in [port, enginePort].compactMap({ $0 }) { try HTTP.Place.check(port: port) }
        guard tensorParallel ?? 1 >= 1, maxConcurrent ?? 1 >= 1, runningThreshold ?? 0 >= 0 else {
            throw ValidationError("--tp and --max-concurrent are 1 or more, --running-threshold is 0 or more.")
        }
    }

    /// The engine: one of another kind begins anew.
    func engine(after before: Cluster.Engine?, _ arguments: [String]?, _ settings: Settings) throws(CommandError)
        -> Cluster.Engine
    {
        let set = settings["engine"]?.value ?? ""
        guard let kind = engine ?? before?.kind ?? EngineKind(rawValue: set) else {
            let known = EngineKind.allCases.map(\.rawValue).joined(separator: ", ")
            throw CommandError("There is no engine \"\(set)\"; there are \(known).", exitCode: 2)
        }
        let last = before?.kind == kind ? before : nil
        return Cluster.Engine(
            kind: kind, port: enginePort ?? last?.port ?? 8080,
            model: model ?? last?.model ?? settings["model"]?.value ?? kind.model,
            image: image ?? last?.image ?? settings["image"]?.value ?? kind.image,
            tensorParallel: tensorParallel ?? last?.tensorParallel ?? 1,
            arguments: arguments ?? last?.arguments ?? [])
    }

    func balancer(after before: Cluster.Balancer?, _ settings: Settings) -> Cluster.Balancer {
        Cluster.Balancer(
            port: port ?? before?.port ?? 8000,
            strategy: strategy ?? before?.strategy ?? settings["strategy"]?.value ?? "gorgo",
            maxConcurrent: maxConcurrent ?? before?.maxConcurrent ?? 100,
            runningThreshold: runningThreshold ?? before?.runningThreshold ?? 0)
    }

    /// Where each machine listens, and by what address the others reach it.
    func members(_ found: [MachineOptions.Found]) async throws(CommandError) -> [Cluster.Member] {
        let regions = Set(found.map { $0.machine?.region ?? "-" })
        let hasPrivate = found.allSatisfy { $0.machine?.privateIp != nil }
        let isPrivate = network == .private || network == .auto && hasPrivate && regions.count == 1
        guard !isPrivate || hasPrivate else {
            throw CommandError("Not all of the machines have a private address; say --network public.", exitCode: 2)
        }
        var members: [Cluster.Member] = []
        for each in found {
            let own = isPrivate ? each.machine?.privateIp : nil
            let address = own ?? each.machine?.ip ?? String(each.name.split(separator: "@").last ?? "")
            members.append(
                Cluster.Member(
                    name: each.name, key: each.key, listen: own ?? Cluster.anywhere, address: address,
                    region: each.machine?.region ?? "-", tunnels: try await tunnels(each.link)))
        }
        return members
    }

    /// Nil: it is no sandbox.
    private func tunnels(_ link: MachineLink) async throws(CommandError) -> [String: String]? {
        guard case .sandbox(let sandbox) = link else { return nil }
        do throws(ModalHelper.Failure) {
            let found = try await sandbox.tunnels(limit: .seconds(30))
            return Dictionary(found.map { ("\($0.port)", $0.url) }) { first, _ in first }
        } catch {
            throw error.sentence
        }
    }
}

struct ClusterSetup: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "setup",
        abstract: "Make machines a cluster: an engine and a balancer on each, which know one another.",
        discussion: """
            Looks what is there, does what is missing, and looks again; started anew it does what is left. An engine of \
            another kind, model or image replaces the one that runs. The token for Hugging Face's hub is taken from \
            HF_TOKEN. Words behind -- are for the engine; -- as the last word takes them away.

            Engines and balancers listen where the other machines reach them: engines ask for no key, so nobody else \
            may reach these ports. On Lambda the cluster's ruleset sees to that; elsewhere your firewall has to.

            A sandbox of modal is a container already: launch it with the engine's image.

            Example:
              gotoni cluster setup --engine sglang --model Qwen/Qwen3-8B --tp 1 -- --mem-fraction-static 0.85
            """)

    @OptionGroup var wishes: ClusterWishes
    @Argument(parsing: .postTerminator, help: ArgumentHelp("For the engine, as they are.", valueName: "WORDS"))
    var engineArguments: [String] = []
    @Option(help: ArgumentHelp("How long an engine may load its model.", valueName: "TIME"))
    var engineTimeout = WaitTime(seconds: 1800)
    @Flag(help: "Only look, and print what would be done.") var dryRun = false
    @OptionGroup var options: ClusterOptions

    private static let defaultName = "gotoni"

    func run() async throws {
        let settings = try Settings.load()
        // Of several, the one that is meant has to be said.
        let name =
            try options.chosen(settings) ?? (Cluster.names().isEmpty ? Self.defaultName : Cluster.named(nil).name)
        let lock = dryRun ? nil : try await ClusterLock(name)
        defer { lock?.release() }
        let before = try Cluster.read(name)
        let found = try await machines(of: name, before)
        // With nothing behind --, the engine gets no words any more.
        let words = engineArguments.isEmpty && CommandLine.arguments.last != "--" ? nil : engineArguments
        let cluster = Cluster(
            name: name,
            provider: found.contains { $0.machine != nil }
                ? try options.machines.cloud(before?.provider)?.name : nil,
            members: try await wishes.members(found),
            engine: try wishes.engine(after: before?.engine, words, settings),
            balancer: wishes.balancer(after: before?.balancer, settings), proxy: before?.proxy,
            meshKey: before?.meshKey ?? Cluster.secret(), adminToken: before?.adminToken ?? Cluster.secret())
        let left = (before?.members ?? []).filter { old in !cluster.members.contains { $0.key == old.key } }
        if !left.isEmpty {
            Progress.say(
                "No longer of the cluster: \(left.map(\.name).joined(separator: ", ")). What runs there goes on until the "
                    + "machine is ended.")
        }
        // What was begun can be found, and ended.
        if !dryRun { try cluster.write() }
        try await Work.with(cluster, programs: NodePlan.programs(for: cluster.engine.kind)) { work in
            try await options.withNodes(of: cluster) { nodes in
                var reports = await options.carryOut(on: nodes, isDry: dryRun) { member in
                    let plan = work.plan(for: member, engineTimeout.duration)
                    return plan.preparation + work.programs.steps + [plan.engineStep, plan.balancerStep]
                }
                if cluster.provider != nil, let cloud = try options.machines.cloud(cluster.provider),
                    cloud.hasRulesets
                {
                    reports += await ClusterFirewall(cluster: cluster, cloud: cloud, nodes: nodes).open(isDry: dryRun)
                        .map { [$0] }
                }
                if !dryRun, !reports.contains(where: \.hasFailed) {
                    let mesh = await Mesh.check(nodes, cluster)
                    for (index, report) in mesh.enumerated() { reports[index].append(report) }
                }
                try options.show(reports)
                if !dryRun, !reports.contains(where: \.hasFailed), !options.json { say(cluster, nodes) }
                try ClusterOptions.finish(reports, of: nodes.count)
            }
        }
    }

    /// Those that are named, those of before, or the cloud's that run and belong to it or to none.
    private func machines(of name: String, _ before: Cluster?) async throws -> [MachineOptions.Found] {
        let names = wishes.nodes.flatMap { $0.split(separator: ",").map(String.init) }
        if !names.isEmpty { return try await options.machines.find(names, of: before?.provider) }
        if let before { return try await those(of: before) }
        guard let cloud = try options.machines.cloud(nil) else {
            throw CommandError(
                "Which machines? Name them with --nodes USER@HOST …, or set a cloud's credentials.", exitCode: 2)
        }
        let running = try await cloud.machines().filter(\.isRunning).sorted { ($0.label, $0.id) < ($1.label, $1.id) }
        // Those that were launched for it; otherwise those that were launched for none.
        let own = running.filter { $0.cluster == name }
        let chosen = own.isEmpty ? running.filter { $0.cluster == nil } : own
        guard !chosen.isEmpty else {
            throw CommandError(
                "There are no machines for the cluster \(name); gotoni launch --cluster \(name) rents some.",
                exitCode: 5)
        }
        return try await options.machines.find(chosen.map(\.id), of: cloud.name)
    }

    /// Those of before, and what was launched for it since. Errors: some are gone, which only the user can settle.
    private func those(of before: Cluster) async throws -> [MachineOptions.Found] {
        let cloud = before.provider == nil ? nil : try options.machines.cloud(before.provider)
        let machines = try await cloud?.machines() ?? []
        var found: [MachineOptions.Found] = []
        var gone: [(name: String, why: CommandError)] = []
        for member in before.members {
            do throws(CommandError) {
                found.append(try options.machines.found(member.key, among: machines, of: cloud))
            } catch {
                gone.append((member.name, error))
            }
        }
        if let first = gone.first {
            guard !found.isEmpty else { throw first.why }
            let left = before.members.map(\.name).filter { name in !gone.contains { $0.name == name } }
            throw CommandError(
                "\(gone.map(\.name).joined(separator: ", ")) of the cluster \(before.name) cannot be reached any more. To go "
                    + "on without: gotoni cluster setup --cluster \(before.name) --nodes \(left.joined(separator: ","))",
                lines: first.why.sentence, exitCode: 5)
        }
        let new = machines.filter { machine in
            machine.isRunning && machine.cluster == before.name && !before.members.contains { $0.key == machine.id }
        }
        return try found + new.map { try options.machines.found($0.id, among: machines, of: cloud) }
    }

    private func say(_ cluster: Cluster, _ nodes: [ClusterOptions.Node]) {
        // From here, which need not be the way that machines have to one another.
        let first =
            nodes.first?.cloudMachine?.ip.map { "http://\($0):\(cluster.balancer.port)" }
            ?? cluster.members.first.map { Cluster.url($0, cluster.balancer.port) } ?? ""
        print("\nAsk any of them, such as \(first)/v1/chat/completions; gotoni cluster status says how it goes.")
    }
}

/// What a command on a cluster sends: programs, and files with what nobody else may see. They end with the command.
struct Work: Sendable {
    var cluster: Cluster
    var programs: SentPrograms
    private var secrets: HiddenFile
    private var token: HiddenFile?

    static func with(_ cluster: Cluster, programs: [String], _ body: (Work) async throws -> Void) async throws {
        let secrets = try HiddenFile(cluster.secrets)
        let text = ProcessInfo.processInfo.environment["HF_TOKEN"].flatMap { $0.isEmpty ? nil : $0 }
        let token = try text.map { (text) throws(CommandError) in try HiddenFile(text) }
        // Steps know only their paths.
        defer { withExtendedLifetime((secrets, token)) {} }
        let local = try SentPrograms(programs)
        defer { local.remove() }
        try await body(Work(cluster: cluster, programs: local, secrets: secrets, token: token))
    }

    func plan(for member: Cluster.Member, _ engineLimit: Duration = .seconds(1800)) -> NodePlan {
        NodePlan(cluster: cluster, member: member, secrets: secrets.path, token: token?.path, engineLimit: engineLimit)
    }

    /// A balancer or proxy of ours on `member`.
    func service(
        _ name: String, program: String, listen: String, _ more: [String], place: String, path: String
    ) -> Step {
        NodePlan.service(
            name, program: program, listen: listen, more, secrets: secrets.path, place: place, path: path,
            token: cluster.adminToken)
    }
}
