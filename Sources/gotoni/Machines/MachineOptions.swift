import ArgumentParser
import Foundation

/// Machines by name: those of a cloud, or what ssh knows.
struct MachineOptions: ParsableArguments {
    @Option(
        name: [.customShort("p"), .long],
        help: ArgumentHelp("Whose machines are named (default: as for gotoni list).", valueName: "NAME"))
    var provider: String?

    @OptionGroup(title: "SSH") var ssh: SSHOptions

    /// A machine that was named, found.
    struct Found: Sendable {
        var name: String
        /// Nil: one that only ssh knows.
        var machine: CloudMachine?
        var link: MachineLink

        /// What finds it again.
        var key: String { machine?.id ?? name }
    }

    /// The one that is named; otherwise that of a cluster, which is `known`; otherwise the one that is set.
    func cloud(_ known: String?) throws -> (any Cloud)? { try Provider.chosen(provider ?? known) }

    /// USER@HOST is for ssh. Another name is a machine of the cloud, or for ssh where there is no cloud. Errors: 5, and a
    /// machine that has no address yet.
    func find(_ names: [String], of known: String? = nil) async throws -> [Found] {
        try SSHOptions.check(names)
        guard names.contains(where: { !$0.contains("@") }), let cloud = try cloud(known) else {
            return try names.map { try found($0, among: [], of: nil) }
        }
        let machines = try await cloud.machines()
        return try names.map { try found($0, among: machines, of: cloud) }
    }

    /// The same of one name, by what the cloud has said.
    func found(_ name: String, among machines: [CloudMachine], of cloud: (any Cloud)?) throws(CommandError) -> Found {
        guard let cloud, !name.contains("@") else { return Found(name: name, machine: nil, link: .named(name)) }
        let machine = try machines.one(named: name)
        return Found(name: machine.label, machine: machine, link: try ssh.link(to: machine, of: cloud))
    }

    func connected(_ found: [Found], _ body: ([Machine]) async throws -> Void) async throws {
        try await ssh.connected(to: found, body)
    }
}

extension SSHOptions {
    func link(to machine: CloudMachine, of cloud: any Cloud) throws(CommandError) -> MachineLink {
        guard let link = cloud.link(to: machine) else {
            let advice = machine.status == .booting ? "; gotoni wait \(machine.label) waits." : "."
            throw CommandError("\(machine.label) is \(machine.status.rawValue) and cannot be reached\(advice)")
        }
        guard case .ssh(var host) = link else { return link }
        host.user = try user() ?? host.user
        return .ssh(host)
    }

    /// `body` with connections to what was found, which end with it.
    func connected(to found: [MachineOptions.Found], _ body: ([Machine]) async throws -> Void) async throws {
        let targets = found.compactMap(\.link.target)
        let hosts = found.compactMap(\.link.host)
        try await SSH.connected(self, to: targets, hosts: hosts) { connections in
            try await body(
                found.map { each in
                    switch each.link {
                    case .named(let target): .host(name: each.name, target: target, connections)
                    case .ssh(let host): .host(name: each.name, target: host.alias, connections)
                    case .sandbox(let sandbox): .sandbox(sandbox)
                    }
                })
        }
    }
}

/// What leads to a machine.
enum MachineLink: Sendable {
    /// What ssh knows itself.
    case named(String)
    case ssh(SSHHost)
    case sandbox(Sandbox)

    /// What ssh calls it; nil: ssh does not reach it.
    var target: String? {
        switch self {
        case .named(let name): name
        case .ssh(let host): host.alias
        case .sandbox: nil
        }
    }

    var host: SSHHost? { if case .ssh(let host) = self { host } else { nil } }
}
