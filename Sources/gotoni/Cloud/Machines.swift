import ArgumentParser
import Foundation

struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "The machines there are, and what they have cost so far.")

    @Flag(help: "Also private addresses, keys and tags.") var wide = false
    @OptionGroup var options: CloudOptions

    func run() async throws {
        let machines = try await options.cloud().machines().sorted { ($0.label, $0.id) < ($1.label, $1.id) }
        if options.json { return print(try JSONText.of(machines)) }
        guard !machines.isEmpty else { return print("There are no machines.") }
        print(CloudMachine.table(machines, isWide: wide))
        let running = machines.filter(\.isRunning)
        let cost = running.reduce(0) { $0 + ($1.priceCentsPerHour ?? 0) }
        let unknown = running.count { $0.priceCentsPerHour == nil }
        print(
            "\n\(running.count) running, \(Money.text(cents: cost)) an hour"
                + (unknown > 0 ? ", and \(unknown) whose price is not known" : ""))
    }
}

struct Price: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "What each type costs an hour, had now or not; as JSON in cents.")

    @OptionGroup var options: CloudOptions

    func run() async throws {
        let types = try await options.cloud().types()
        if options.json {
            return print(
                try JSONText.of(Dictionary(types.map { ($0.name, $0.priceCentsPerHour) }) { first, _ in first }))
        }
        var table = TextTable(["TYPE", "PER HOUR", "PER GPU"])
        for type in types {
            table.add([
                type.name, Money.text(cents: type.priceCentsPerHour),
                Money.text(cents: type.priceCentsPerHour.map { $0 / max(1, type.gpus) }),
            ])
        }
        print(table.lines.joined(separator: "\n"))
    }
}

struct Kill: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "End machines; what is on them is lost.",
        discussion: "Asks first. A machine that is gone already is no error to name by its id.", aliases: ["delete"])

    @Argument(help: "A machine's name, its id, or how that begins.") var names: [String] = []
    @Option(help: ArgumentHelp("All that belong to this cluster.", valueName: "NAME")) var cluster: String?
    @Flag(help: "All of them.") var all = false
    @OptionGroup var consent: ConsentOptions
    @OptionGroup var options: CloudOptions

    func validate() throws {
        guard [!names.isEmpty, cluster != nil, all].count(where: { $0 }) == 1 else {
            throw ValidationError("Name machines, or say --cluster NAME or --all.")
        }
    }

    private func chosen(of machines: [CloudMachine]) throws -> [CloudMachine] {
        if all { return machines.filter(\.isRunning) }
        guard let cluster else { return try names.map { try machines.one(named: $0) } }
        let members = try Cluster.read(cluster)?.members.map(\.key) ?? []
        return machines.filter { $0.isRunning && ($0.cluster == cluster || members.contains($0.id)) }
    }

    func run() async throws {
        // A cluster's machines are where they were rented, whatever is set by now.
        let known = try cluster.flatMap { (name) throws(CommandError) in try Cluster.read(name)?.provider }
        let cloud =
            options.provider == nil && known != nil
            ? try Provider.cloud(known, options.modal.account) : try options.cloud()
        let machines = try await cloud.machines()
        let chosen = try chosen(of: machines)
        guard !chosen.isEmpty else {
            guard let cluster else { return print("There are no machines to end.") }
            throw CommandError("\(cloud.name) has no machines of the cluster \(cluster).", exitCode: 5)
        }
        try consent.ask("End \(chosen.map { "\($0.label) (\($0.type), \($0.region))" }.joined(separator: ", "))?")
        try await cloud.terminate(chosen.map(\.id))
        if let cluster { try await ClusterFirewall.close(cluster, of: cloud) }
        let ended = chosen.map(\.id)
        try Cluster.forget(of: cloud.name) { key in
            machines.contains { $0.id == key && $0.isRunning } && !ended.contains(key)
        }
        if options.json { return print(try JSONText.of(["terminated": chosen.map(\.id)])) }
        for machine in chosen { print("\(machine.label): ending") }
    }
}

struct Restart: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Boot machines anew; what runs on them ends.")

    @Argument(help: "A machine's name, its id, or how that begins.") var names: [String]
    @OptionGroup var consent: ConsentOptions
    @OptionGroup var options: CloudOptions

    func run() async throws {
        let cloud = try options.cloud()
        let machines = try await cloud.machines()
        let chosen = try names.map { try machines.one(named: $0) }
        try consent.ask("Restart \(chosen.map(\.label).joined(separator: ", "))?")
        try await cloud.restart(chosen.map(\.id))
        if options.json { return print(try JSONText.of(["restarted": chosen.map(\.id)])) }
        for machine in chosen { print("\(machine.label): restarting") }
    }
}

struct Wait: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Wait until machines are of use.")

    enum Goal: String, CaseIterable, ExpressibleByArgument {
        case active, ssh, engine
    }

    @Argument(help: "A machine's name, its id, or how that begins.") var names: [String]
    @Option(
        name: .customLong("for"),
        help: ArgumentHelp(
            "active: the cloud has started it; ssh: it takes commands; engine: its engine answers.", valueName: "GOAL"))
    var goal = Goal.active
    @Option(help: ArgumentHelp("How long to wait.", valueName: "TIME")) var timeout = WaitTime(seconds: 900)
    @OptionGroup var options: CloudOptions
    @OptionGroup(title: "SSH") var ssh: SSHOptions

    func run() async throws {
        let cloud = try options.cloud()
        let machines = try await cloud.machines()
        let ids = try names.map { try machines.one(named: $0).id }
        let waiting = Waiting(cloud: cloud, limit: timeout.duration)
        let ready = try await waiting.active(ids)
        if goal != .active { try await waiting.commands(ready, ssh, engine: goal == .engine) }
        print(options.json ? try JSONText.of(ready) : CloudMachine.table(ready))
    }
}
