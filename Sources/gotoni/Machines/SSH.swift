import ArgumentParser
import Foundation

/// How machines are reached: the system's OpenSSH, so that agents, jump hosts and ~/.ssh/config work as they always do.
struct SSHOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The private key, where ssh would not find it by itself.", valueName: "FILE"))
    var identity: String?

    @Option(help: ArgumentHelp("The port of SSH on all machines.", valueName: "N"))
    var sshPort: UInt16?

    /// Names of machines. Errors: what would be an option or two words, and what is there twice.
    static func check(_ hosts: [String]) throws {
        if let wrong = hosts.first(where: { $0.isEmpty || $0.hasPrefix("-") || $0.contains(where: \.isWhitespace) }) {
            throw ValidationError("\"\(wrong)\" is no machine; machines are named like user@host.")
        }
        if let twice = Dictionary(grouping: hosts, by: { $0 }).first(where: { $0.value.count > 1 })?.key {
            throw ValidationError("\(twice) is named twice.")
        }
    }
}

/// Connections to machines, one for each however many commands run over it. Host keys are always checked: a new machine's
/// is remembered, a changed one is refused.
struct SSH: Sendable {
    private let options: [String]
    /// For nobody else; its name is short because names of sockets must be.
    private let folder: String

    init(_ wanted: SSHOptions) throws(CommandError) {
        let configuration = Files.configuration
        try Files.makeFolder(configuration)
        folder = try Files.temporaryFolder()
        // Ours come first, because ssh takes the first value that it is given.
        options =
            [
                "BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=15", "ServerAliveCountMax=3",
                "ControlMaster=auto", "ControlPath=\(folder)/%C", "ControlPersist=60", "LogLevel=ERROR",
                "StrictHostKeyChecking=accept-new", "UserKnownHostsFile=\"\(configuration)/known_hosts\"",
            ]
            .flatMap { ["-o", $0] }
            + (wanted.sshPort.map { ["-p", "\($0)"] } ?? [])
            + (wanted.identity.map { ["-i", $0, "-o", "IdentitiesOnly=yes"] } ?? [])
    }

    /// Runs `arguments` on `host`, as they are: no shell there sees more than one word in each.
    func run(_ arguments: [String], on host: String, input: String? = nil, limit: Duration) async throws(CommandError)
        -> Program.Answer
    {
        // Were only ssh ended, the command would go on there.
        let bounded = ["timeout", "-k", "5", "\(limit.components.seconds)"] + arguments
        let command = bounded.map(Self.quoted).joined(separator: " ")
        let answer = try await Program(name: "ssh", arguments: options + ["--", host, command])
            .run(input: input, limit: limit + .seconds(20))
        guard answer.status != 255 else {
            throw CommandError("\(host) cannot be reached by ssh.", lines: answer.errors)
        }
        return answer
    }

    /// A socket here behind which is `target` there: a socket's path, or HOST:PORT. Some command must have run on `host` before.
    func forward(_ target: String, on host: String) async throws(CommandError) -> String {
        let path = "\(folder)/\(UUID().uuidString.prefix(8))"
        let answer = try await Program(
            name: "ssh", arguments: options + ["-O", "forward", "-L", "\(path):\(target)", "--", host]
        )
        .run(limit: .seconds(20))
        guard answer.status == 0 else {
            throw CommandError("ssh cannot forward \(target) of \(host).", lines: answer.errors)
        }
        return path
    }

    /// `body` with connections, which end with it.
    static func connected(
        _ wanted: SSHOptions, to hosts: [String], _ body: (SSH) async throws -> Void
    ) async throws {
        let connections = try SSH(wanted)
        let result: Result<Void, any Error>
        do { result = .success(try await body(connections)) } catch { result = .failure(error) }
        await connections.close(hosts)
        try result.get()
    }

    private func close(_ hosts: [String]) async {
        for host in hosts {
            _ = try? await Program(name: "ssh", arguments: options + ["-O", "exit", "--", host])
                .run(limit: .seconds(10))
        }
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// One word for a shell, whatever is in it.
    static func quoted(_ word: String) -> String { "'" + word.replacing("'", with: "'\\''") + "'" }
}
