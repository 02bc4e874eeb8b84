import Foundation
import Yams

/// Machines that somebody else rents, told by a file:
///
///     machines:
///       - name: a
///         host: 203.0.113.7       # an address, or a name that DNS knows
///         user: ubuntu            # the others may be left out
///         port: 22
///         identity: ~/.ssh/id_ed25519
///         private_address: 10.0.0.7
///         region: us-east
struct StaticCloud: Cloud {
    let name = "static"
    let pause = Duration.seconds(1)
    private let entries: [Entry]

    private struct Entry: Decodable, Sendable {
        var name: String
        var host: String
        var user: String?
        var port: UInt16?
        var identity: String?
        var privateAddress: String?
        var region: String?

        enum CodingKeys: String, CodingKey, CaseIterable {
            case name, host, user, port, identity
            case privateAddress = "private_address"
            case region
        }
    }

    private struct Document: Decodable { var machines: [Entry] }

    init(file: String) throws(CommandError) {
        guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
            throw CommandError("\(file) cannot be read; it is to have the machines' names and hosts.", exitCode: 2)
        }
        do {
            try Self.check(keys: text)
            entries = try YAMLDecoder().decode(Document.self, from: text).machines
        } catch {
            throw CommandError("\(file): \(Self.words(error))", exitCode: 2)
        }
        try Self.check(entries, file)
    }

    /// What a decoder would pass over.
    private static func check(keys text: String) throws {
        let known = Set(Entry.CodingKeys.allCases.map(\.rawValue))
        guard let root = try Yams.compose(yaml: text)?.mapping else { return }
        for (key, value) in root {
            guard key.string == "machines" else { throw CommandError("there is no key \"\(key.string ?? "?")\".") }
            for entry in value.sequence ?? [] {
                for (key, _) in entry.mapping ?? [:] where !known.contains(key.string ?? "") {
                    throw CommandError(
                        "a machine has no key \"\(key.string ?? "?")\"; there are \(known.sorted().joined(separator: ", "))."
                    )
                }
            }
        }
    }

    private static func check(_ entries: [Entry], _ file: String) throws(CommandError) {
        for entry in entries where entry.host.isEmpty || entry.host.hasPrefix("-") || entry.host.contains("\n") {
            throw CommandError("\(file): \"\(entry.host)\" is no host.", exitCode: 2)
        }
        let names = entries.map(\.name)
        if let wrong = names.first(where: { !SSHHost.isName($0) }) {
            throw CommandError(
                "\(file): \"\(wrong)\" is no name; names have letters, digits, -, _ and dots.", exitCode: 2)
        }
        if Set(names).count < names.count {
            throw CommandError("\(file): two machines have one name.", exitCode: 2)
        }
    }

    private static func words(_ error: any Error) -> String {
        switch error {
        case let error as CommandError: error.sentence
        case DecodingError.keyNotFound(let key, _): "\"\(key.stringValue)\" is missing."
        case DecodingError.typeMismatch(_, let context), DecodingError.dataCorrupted(let context):
            context.debugDescription
        default: "\(error)"
        }
    }

    // MARK: Cloud

    func machines() async throws(CommandError) -> [CloudMachine] {
        entries.map { entry in
            CloudMachine(
                id: entry.name, name: entry.name, type: "-", region: entry.region ?? "-", status: .active,
                ip: entry.host, privateIp: entry.privateAddress, priceCentsPerHour: nil, sshKeyNames: [],
                launchedAt: nil,
                tags: [:])
        }
    }

    func link(to machine: CloudMachine) -> MachineLink? {
        guard let entry = entries.first(where: { $0.name == machine.id }) else { return nil }
        return .ssh(
            SSHHost(
                alias: "gotoni-\(entry.name)", address: entry.host, user: entry.user, port: entry.port,
                identity: entry.identity, isOnlyKey: entry.identity != nil))
    }

    private var cannot: CommandError {
        CommandError("The machines of a file are neither rented nor ended here.", exitCode: 2)
    }

    func types() async throws(CommandError) -> [MachineType] { throw cannot }
    func launch(_ order: LaunchOrder) async throws(CommandError) -> String { throw cannot }
    func restart(_ ids: [String]) async throws(CommandError) { throw cannot }
    func terminate(_ ids: [String]) async throws(CommandError) { throw cannot }
    func keys() async throws(CommandError) -> [CloudKey] { throw cannot }
    func add(key name: String, publicKey: String) async throws(CommandError) -> CloudKey { throw cannot }
    func delete(key id: String) async throws(CommandError) { throw cannot }
}
