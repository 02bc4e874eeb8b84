import ArgumentParser
import Foundation

/// Which nodes, and how they are asked.
struct NodeOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Nodes, separated by commas; repeat for more (default: localhost).", valueName: "HOST[:PORT],…"))
    var host: [String] = []

    @Option(help: ArgumentHelp("The nodes' port (default: 8000).", valueName: "N"))
    var port: Int?

    @Option(
        help: ArgumentHelp(
            "Nodes on the loopback of these machines, over SSH; repeat for more.", valueName: "USER@HOST,…"))
    var remote: [String] = []

    @OptionGroup var asking: AskOptions

    /// One of the nodes that are asked.
    struct Target: Sendable {
        var name: String
        /// Nil: the machine was not reached, and that was said.
        var service: JSONService?
    }

    private static func split(_ lists: [String]) -> [String] {
        lists.flatMap { $0.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) } }
    }

    func validate() throws {
        if let port { try HTTP.Place.check(port: port) }
        guard host.isEmpty || remote.isEmpty else { throw ValidationError("Give --host or --remote.") }
        try SSHOptions.check(Self.split(host) + Self.split(remote))
    }

    func withNodes(_ body: ([Target]) async throws -> Void) async throws {
        let machines = Self.split(remote)
        guard machines.isEmpty else {
            return try await asking.withRemotes(machines, port: port, of: .lb) { remotes in
                try await body(
                    zip(machines, remotes).map { name, remote in
                        Target(
                            name: name, service: try remote.place.map { try service($0, remote.name, remote.token) })
                    })
            }
        }
        let hosts = Self.split(host)
        try await body(
            (hosts.isEmpty ? ["localhost"] : hosts).map { name in
                let place = try HTTP.Place(host: name, port: port ?? 8000)
                return Target(name: name, service: try service(place, "\(place)"))
            })
    }

    private func service(_ place: HTTP.Place, _ name: String, _ token: String? = nil)
        throws(CommandError) -> JSONService
    {
        try asking.service(place, name: name, program: "gotoni-lb", token: token)
    }

    /// What each node answered, in their order; what went wrong is said, and the others go on.
    func ask(
        _ targets: [Target], _ method: HTTP.Method, _ path: String, _ body: Data? = nil
    ) async -> [Result<Data, CommandError>] {
        await concurrently(targets) { target in
            guard let service = target.service else {
                return .failure(CommandError("\(target.name) was not reached."))
            }
            do throws(CommandError) {
                return .success(try await service.bytes(method, path, body))
            } catch {
                Progress.say("\(error)")
                return .failure(error)
            }
        }
    }

    /// Asks all nodes and prints a table: a row for each that answered. Ends with 7 if only some did.
    func show<Answer: Decodable>(
        _ method: HTTP.Method, _ path: String, _ body: Data? = nil, table heading: [String], leading: Int,
        rows: (String, Answer) -> [[String]]
    ) async throws {
        try await withNodes { targets in
            let answers = await ask(targets, method, path, body)
            if asking.json {
                print(try Self.json(targets, answers))
            } else {
                var table = TextTable(["HOST"] + heading, leading: leading)
                for (target, answer) in zip(targets, answers) {
                    guard let service = target.service, case .success(let bytes) = answer else { continue }
                    for row in rows(target.name, try service.decode(bytes)) { table.add([target.name] + row) }
                }
                print(table.lines.joined(separator: "\n"))
            }
            try Self.finish(answers)
        }
    }

    /// {"hosts": [{"host": …, "answer": …}, {"host": …, "error": …}]}
    static func json(_ targets: [Target], _ answers: [Result<Data, CommandError>]) throws -> String {
        let hosts = zip(targets, answers).map { target, answer -> [String: Any] in
            switch answer {
            case .success(let bytes):
                ["host": target.name, "answer": (try? JSONSerialization.jsonObject(with: bytes)) ?? NSNull()]
            case .failure(let error): ["host": target.name, "error": error.sentence]
            }
        }
        return JSONText.pretty(try JSONSerialization.data(withJSONObject: ["hosts": hosts]))
    }

    static func finish(_ answers: [Result<Data, CommandError>]) throws {
        try CommandError.finish(
            answers.compactMap { if case .failure(let error) = $0 { error } else { nil } }, of: answers.count)
    }
}
