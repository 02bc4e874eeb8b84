import Foundation

/// A cloud that rents machines. Errors are sentences for people, with the status of `Gotoni`; 6: it has none left.
protocol Cloud: Sendable {
    var name: String { get }
    /// Where it is asked by HTTP; nil: otherwise.
    var place: HTTP.Place? { get }
    /// Between questions of who waits.
    var pause: Duration { get }
    /// All there are, also those that cannot be had now; the cheapest first.
    func types() async throws(CommandError) -> [MachineType]
    /// It rents sandboxes, which have no SSH and no keys, and may live for a time only.
    var rentsSandboxes: Bool { get }
    /// A machine of this type in this region; auto: wherever there is one. Errors: 5 no such type, 6 none to be had.
    func offer(_ type: String, in region: String) async throws(CommandError) -> MachineOffer
    func machines() async throws(CommandError) -> [CloudMachine]
    /// Its id. Asked twice for one order it launches once.
    func launch(_ order: LaunchOrder) async throws(CommandError) -> String
    func restart(_ ids: [String]) async throws(CommandError)
    /// One that is gone already is no error.
    func terminate(_ ids: [String]) async throws(CommandError)
    func keys() async throws(CommandError) -> [CloudKey]
    func add(key name: String, publicKey: String) async throws(CommandError) -> CloudKey
    func delete(key id: String) async throws(CommandError)
    /// Nil: it cannot be reached now.
    func link(to machine: CloudMachine) -> MachineLink?

    func rename(_ id: String, to name: String) async throws(CommandError)

    func fileSystems() async throws(CommandError) -> [CloudFileSystem]
    /// What a machine can be launched with by this name or id. Errors: 5.
    func fileSystem(_ name: String) async throws(CommandError) -> CloudFileSystem
    func create(fileSystem name: String, region: String) async throws(CommandError) -> CloudFileSystem
    /// With all that is on it. One that is gone already is no error.
    func delete(fileSystem id: String) async throws(CommandError)

    /// There all ports are open, whatever rules say.
    var regionsWithoutFirewall: [String] { get }
    /// Machines can have a firewall of their cluster.
    var hasRulesets: Bool { get }
    /// All there are, the account's first.
    func rulesets() async throws(CommandError) -> [FirewallRuleset]
    func replace(rulesOf id: String, by rules: [FirewallRule]) async throws(CommandError)
    /// One that is gone already is no error.
    func delete(ruleset id: String) async throws(CommandError)
    /// The id of the ruleset for a cluster's machines, made if there is none; in it comes SSH, as by the account's rules.
    /// Nil: the cloud has no firewall there.
    func ruleset(_ name: String, region: String) async throws(CommandError) -> String?
    /// Lets in what the ruleset does not yet let in; makes the ruleset if there is none. What was added.
    func allow(_ rules: [FirewallRule], ruleset name: String, region: String) async throws(CommandError)
        -> [FirewallRule]
}

/// Of clouds that lack them.
extension Cloud {
    private func lacks(_ what: String) -> CommandError { CommandError("\(name) has no \(what).", exitCode: 2) }

    var rentsSandboxes: Bool { false }

    func offer(_ type: String, in region: String) async throws(CommandError) -> MachineOffer {
        let types = try await types()
        guard let found = types.one(named: type) else {
            throw CommandError(
                "There is no type \(type); there are \(types.map(\.name).joined(separator: ", ")).", exitCode: 5)
        }
        if region == "auto", let first = found.regions.first { return MachineOffer(type: found, region: first) }
        if found.regions.contains(region) { return MachineOffer(type: found, region: region) }
        let others = found.regions.isEmpty ? "nowhere now" : "only in \(found.regions.joined(separator: ", "))"
        throw CommandError("\(found.name) can be had \(others).", exitCode: 6)
    }

    func restart(_ ids: [String]) async throws(CommandError) { throw lacks("restarts; kill and launch") }
    func keys() async throws(CommandError) -> [CloudKey] { throw lacks("keys") }
    func add(key name: String, publicKey: String) async throws(CommandError) -> CloudKey { throw lacks("keys") }
    func delete(key id: String) async throws(CommandError) { throw lacks("keys") }

    func rename(_ id: String, to name: String) async throws(CommandError) { throw lacks("other names for machines") }

    func fileSystems() async throws(CommandError) -> [CloudFileSystem] { throw lacks("file systems") }
    func fileSystem(_ name: String) async throws(CommandError) -> CloudFileSystem {
        try await fileSystems().one(named: name)
    }
    func create(fileSystem name: String, region: String) async throws(CommandError) -> CloudFileSystem {
        throw lacks("file systems")
    }
    func delete(fileSystem id: String) async throws(CommandError) { throw lacks("file systems") }

    var regionsWithoutFirewall: [String] { [] }
    var hasRulesets: Bool { false }
    func rulesets() async throws(CommandError) -> [FirewallRuleset] { throw lacks("firewall") }
    func replace(rulesOf id: String, by rules: [FirewallRule]) async throws(CommandError) { throw lacks("firewall") }
    func delete(ruleset id: String) async throws(CommandError) { throw lacks("firewall") }
    func ruleset(_ name: String, region: String) async throws(CommandError) -> String? { nil }
    func allow(
        _ rules: [FirewallRule], ruleset name: String, region: String
    ) async throws(CommandError) -> [FirewallRule] { [] }
}

extension Cloud {
    var place: HTTP.Place? { nil }
}

struct MachineType: Encodable, Sendable {
    var name: String
    var description: String
    var gpus: Int
    var gpuDescription: String
    var vcpus: Int
    var memoryGib: Int
    var storageGib: Int
    /// Nil: not known.
    var priceCentsPerHour: Int?
    /// Where there is one now.
    var regions: [String]
}

extension MachineType {
    /// Dollars an hour; what is not known may cost more.
    func costs(atMost dollars: Double) -> Bool { priceCentsPerHour.map { Double($0) / 100 <= dollars } ?? false }
}

extension Array<MachineType> {
    var cheapestFirst: [MachineType] {
        sorted { ($0.priceCentsPerHour ?? .max, $0.name) < ($1.priceCentsPerHour ?? .max, $1.name) }
    }
}

struct MachineOffer: Sendable {
    /// With the price in this region.
    var type: MachineType
    var region: String
    /// What there is to be said of the price.
    var remark: String?
}

struct CloudMachine: Encodable, Sendable {
    enum Status: String, Encodable, Sendable {
        case booting, active, unhealthy, terminating, terminated, preempted, other
    }

    var id: String
    var name: String?
    var type: String
    var region: String
    var status: Status
    var ip: String?
    var privateIp: String?
    /// Where it is reached if it has no address of its own.
    var url: String?
    /// Nil: not known.
    var priceCentsPerHour: Int?
    var sshKeyNames: [String]
    /// Seconds since 1970, if gotoni launched it.
    var launchedAt: Int?
    var tags: [String: String]
    /// Ids of the firewall's rulesets it was launched with.
    var rulesets: [String] = []

    var label: String { name ?? String(id.prefix(8)) }

    /// It is active, and it is known where.
    var isReady: Bool { status == .active && (ip != nil || url != nil) }

    var isRunning: Bool { status == .booting || status == .active || status == .unhealthy }
}

struct LaunchOrder: Sendable {
    /// What makes it this order and no other.
    var mark: String
    var name: String
    var type: String
    var region: String
    /// Nil: of a cloud without keys.
    var key: String?
    var imageFamily: String?
    var fileSystem: String?
    var tags: [String: String] = [:]
    /// The id of a ruleset of that region.
    var ruleset: String?
    /// Seconds since 1970.
    var time: Int
    /// What it costs, as it was said.
    var priceCentsPerHour: Int?
    /// Of sandboxes: how long they may live, and which ports have tunnels.
    var lifeSeconds = 86_400
    var ports: [Int] = []
    /// How long a launch may wait for a place.
    var limitSeconds = 900
}

struct CloudKey: Encodable, Sendable {
    var id: String
    var name: String
    var publicKey: String
}

extension [MachineType] {
    /// The type of this name, or the only one whose name goes on with _ behind it: gpu_8x_h100 is gpu_8x_h100_sxm5, if there
    /// is no other such.
    fileprivate func one(named name: String) -> MachineType? {
        if let exact = first(where: { $0.name == name }) { return exact }
        let longer = filter { $0.name.hasPrefix(name + "_") }
        return longer.count == 1 ? longer[0] : nil
    }
}

extension Array<CloudMachine> {
    /// The machine of this name, this id, or an id that begins so. Errors: none, or several.
    func one(named name: String) throws(CommandError) -> CloudMachine {
        if let exact = first(where: { $0.id == name }) { return exact }
        let running = filter(\.isRunning)
        let named = running.filter { $0.name == name }
        let found = named.isEmpty && name.count >= 4 ? running.filter { $0.id.hasPrefix(name) } : named
        guard let first = found.first else {
            throw CommandError("There is no machine \"\(name)\"; gotoni list shows all.", exitCode: 5)
        }
        guard found.count == 1 else {
            throw CommandError(
                "\"\(name)\" are \(found.count) machines; name one by its id:",
                lines: found.map { "\($0.id)  \($0.label)  \($0.region)" }.joined(separator: "\n"), exitCode: 2)
        }
        return first
    }
}

enum Money {
    /// "-": not known.
    static func text(cents: Int?) -> String { cents.map { text(cents: $0) } ?? "-" }

    static func text(cents: Int) -> String { "$\(cents / 100)." + (cents % 100 < 10 ? "0" : "") + "\(cents % 100)" }
}
