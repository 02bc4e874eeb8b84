import ArgumentParser
import Foundation

struct Launch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Rent machines.",
        discussion: """
            Says what they cost and asks first. A launch that got no answer is looked for before it is tried again, so \
            no machine is rented twice. The machines take a key of gotoni's own, in ~/.config/gotoni/keys.

            Those of modal are sandboxes: they end by themselves, have no keys, and cost more in a region than anywhere.

            Exit status: 6 if there is no such machine to be had now.
            """)

    @Argument(help: "The machine's name; of several, what their names begin with.") var names: [String] = []
    @Option(name: .customLong("name"), help: ArgumentHelp("The same.", valueName: "NAME")) var named: String?
    @Option(
        name: [.customShort("t"), .customLong("type"), .customLong("instance-type")],
        help: ArgumentHelp("Its type, as gotoni available names it (default: gotoni config).", valueName: "TYPE"))
    var type: String?
    @Option(
        name: [.short, .long],
        help: ArgumentHelp("Where; auto: wherever there is one (default: gotoni config).", valueName: "REGION"))
    var region: String?
    @Option(help: ArgumentHelp("How many.", valueName: "N")) var count = 1
    @Option(
        help: ArgumentHelp(
            "The family of the image, such as lambda-stack-22-04; of modal an image of a registry.", valueName: "IMAGE")
    )
    var image: String?
    @Option(
        name: [.short, .long],
        help: ArgumentHelp(
            "A file system of that region, or its id; of modal a volume, at /modal-volume.", valueName: "NAME"))
    var filesystem: String?
    @Option(help: ArgumentHelp("A key that the cloud has, instead of gotoni's own.", valueName: "NAME"))
    var sshKey: String?
    @Option(name: .customLong("tag"), help: ArgumentHelp("A tag; repeat for more.", valueName: "KEY=VALUE"))
    var tags: [String] = []
    @Option(
        help: ArgumentHelp(
            "They belong to this cluster: with a tag, and a firewall ruleset gotoni-NAME-REGION.", valueName: "NAME"))
    var cluster: String?
    @Option(help: ArgumentHelp("Only for no more than this an hour, each.", valueName: "DOLLARS"))
    var maxPrice: Double?
    @Flag(name: .customLong("wait"), inversion: .prefixedNo, help: "Wait until they are active.") var waits = true
    @Option(help: ArgumentHelp("How long to wait.", valueName: "TIME")) var timeout = WaitTime(seconds: 900)
    @Flag(help: "Say what would be launched, and do nothing.") var dryRun = false
    @OptionGroup(title: "Sandboxes of modal") var sandbox: SandboxOptions
    @OptionGroup var consent: ConsentOptions
    @OptionGroup var options: CloudOptions

    func validate() throws {
        guard (1...64).contains(count) else { throw ValidationError("From 1 to 64 machines can be launched at once.") }
        guard names.count <= 1, names.isEmpty || named == nil else { throw ValidationError("Give one name.") }
        guard tags.allSatisfy({ $0.split(separator: "=", maxSplits: 1).count == 2 }) else {
            throw ValidationError("Tags are like KEY=VALUE.")
        }
    }

    func run() async throws {
        let settings = try Settings.load()
        guard let type = settings.value("type", flag: type) else {
            throw ValidationError("Name a --type; gotoni available shows what there is.")
        }
        let cloud = try options.cloud()
        let now = Int(Date().timeIntervalSince1970)
        if let cluster { try ClusterName.check(cluster) }
        guard cloud.rentsSandboxes || sandbox.isEmpty else {
            throw ValidationError(
                "Machines of \(cloud.name) live until they are ended, and need no --life and no --port.")
        }
        guard !cloud.rentsSandboxes || sshKey == nil else { throw ValidationError("\(cloud.name) has no keys.") }
        let shared: CloudFileSystem?
        if let filesystem { shared = try await cloud.fileSystem(filesystem) } else { shared = nil }
        let offer = try await choose(
            type, in: settings.value("region", flag: region) ?? "auto", from: cloud, shared)
        let place = offer.region
        let cost = offer.type.priceCentsPerHour.map { $0 * count }
        let remarks =
            (offer.remark.map { [$0] } ?? [])
            + (cloud.rentsSandboxes ? ["ends by itself after \(CloudMachine.span(sandbox.lifeSeconds))"] : [])
        let base = names.first ?? named ?? "gotoni-\(now)"
        let wanted = count == 1 ? [base] : (1...count).map { "\(base)-\($0)" }
        let summary =
            "\(wanted.joined(separator: ", ")): \(count) x \(offer.type.name) in \(place), "
            + (cost.map { "\(Money.text(cents: $0)) an hour, \(Money.text(cents: $0 * 24)) a day" }
                ?? "at a price that is not known here")
            + (remarks.isEmpty ? "" : " (\(remarks.joined(separator: "; ")))")
        if dryRun { return print("would launch \(summary)") }
        try consent.ask("Launch \(summary)?")
        var key = sshKey
        if key == nil, !cloud.rentsSandboxes { key = try await OwnKey.name(in: cloud) }
        let pairs = tags.map { $0.split(separator: "=", maxSplits: 1).map(String.init) }
        var labels = Dictionary(pairs.map { ($0[0], $0[1]) }) { $1 }
        var ruleset: String?
        if let cluster {
            labels[ClusterName.tag] = cluster
            ruleset = try await cloud.ruleset(FirewallRuleset.name(cluster: cluster, region: place), region: place)
        }
        var ids: [String] = []
        do {
            for name in wanted {
                Progress.say("launching \(name)")
                let order = LaunchOrder(
                    mark: UUID().uuidString.lowercased(), name: name, type: offer.type.name, region: place, key: key,
                    imageFamily: image, fileSystem: shared?.name, tags: labels, ruleset: ruleset, time: now,
                    priceCentsPerHour: offer.type.priceCentsPerHour, lifeSeconds: sandbox.lifeSeconds,
                    ports: sandbox.tunnels, limitSeconds: Int(timeout.duration.components.seconds))
                ids.append(try await cloud.launch(order))
            }
        } catch {
            guard !ids.isEmpty else { throw error }
            throw CommandError(
                "\(error.sentence) \(ids.count) of \(count) were launched and run; gotoni kill ends them:",
                lines: ids.joined(separator: "\n"), exitCode: 7)
        }
        let machines =
            waits
            ? try await Waiting(cloud: cloud, limit: timeout.duration).active(ids)
            : try await cloud.machines().filter { ids.contains($0.id) }
        print(options.json ? try JSONText.of(machines) : CloudMachine.table(machines))
    }

    /// In the region of the file system, if it must have `shared`.
    private func choose(
        _ type: String, in region: String, from cloud: any Cloud, _ shared: CloudFileSystem?
    ) async throws -> MachineOffer {
        let offer: MachineOffer
        if let shared, let home = shared.region {
            guard region == "auto" || region == home else {
                throw CommandError(
                    "The file system \(shared.name) is in \(home); a machine in \(region) cannot have it. "
                        + "Say --region \(home), or name another one.", exitCode: 2)
            }
            do throws(CommandError) {
                offer = try await cloud.offer(type, in: home)
            } catch {
                guard error.exitCode == 6 else { throw error }
                throw CommandError(
                    "\(type) cannot be had in \(home) now, where the file system \(shared.name) is.", exitCode: 6)
            }
        } else {
            offer = try await cloud.offer(type, in: region)
        }
        guard let maxPrice, !offer.type.costs(atMost: maxPrice) else { return offer }
        let price = offer.type.priceCentsPerHour.map { "costs \(Money.text(cents: $0)) an hour" }
        throw CommandError("\(type) \(price ?? "may cost any sum"), more than --max-price.", exitCode: 6)
    }
}
