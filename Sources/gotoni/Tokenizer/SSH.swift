import ArgumentParser
import Foundation

/// How machines are reached: the system's OpenSSH, so that agents, jump hosts and ~/.ssh/config work as they always do.
struct SSHOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The private key, where ssh would not find it by itself.", valueName: "FILE"))
    var identity: String?

    @Option(help: ArgumentHelp("The port of SSH on all machines.", valueName: "N"))
    var port: UInt16?
}

/// Connections to machines, one for each however many commands run over it. Host keys are always checked: a new machine's
/// is remembered, a changed one is refused.
struct SSH: Sendable {
    private let options: [String]
    /// For nobody else; its name is short because names of sockets must be.
    private let folder: String

    init(_ wanted: SSHOptions) throws(TokenizerError) {
        let environment = ProcessInfo.processInfo.environment
        let home = environment["HOME"] ?? NSHomeDirectory()
        let configuration = (environment["XDG_CONFIG_HOME"] ?? home + "/.config") + "/gotoni"
        do {
            try FileManager.default.createDirectory(atPath: configuration, withIntermediateDirectories: true)
        } catch {
            throw TokenizerError("\(configuration) cannot be made: \(error.localizedDescription)")
        }
        folder = try Files.temporaryFolder()
        // Ours come first, because ssh takes the first value that it is given.
        options =
            [
                "BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=15", "ServerAliveCountMax=3",
                "ControlMaster=auto", "ControlPath=\(folder)/%C", "ControlPersist=60", "LogLevel=ERROR",
                "StrictHostKeyChecking=accept-new", "UserKnownHostsFile=\"\(configuration)/known_hosts\"",
            ]
            .flatMap { ["-o", $0] }
            + (wanted.port.map { ["-p", "\($0)"] } ?? [])
            + (wanted.identity.map { ["-i", $0, "-o", "IdentitiesOnly=yes"] } ?? [])
    }

    /// Runs `arguments` on `host`, as they are: no shell there sees more than one word in each.
    func run(_ arguments: [String], on host: String, input: String? = nil, limit: Duration) async throws(TokenizerError)
        -> Command.Answer
    {
        // Were only ssh ended, the command would go on there.
        let bounded = ["timeout", "-k", "5", "\(limit.components.seconds)"] + arguments
        let command = bounded.map(Self.quoted).joined(separator: " ")
        let answer = try await Command(program: "ssh", arguments: options + ["--", host, command])
            .run(input: input, limit: limit + .seconds(20))
        guard answer.status != 255 else {
            throw TokenizerError("\(host) cannot be reached by ssh.", lines: answer.errors)
        }
        return answer
    }

    /// A socket here behind which is `socket` there. Some command must have run on `host` before.
    func forward(_ socket: String, on host: String) async throws(TokenizerError) -> String {
        let path = "\(folder)/\(UUID().uuidString.prefix(8))"
        let answer = try await Command(
            program: "ssh", arguments: options + ["-O", "forward", "-L", "\(path):\(socket)", "--", host]
        )
        .run(limit: .seconds(20))
        guard answer.status == 0 else {
            throw TokenizerError("ssh cannot forward \(socket) of \(host).", lines: answer.errors)
        }
        return path
    }

    /// Ends the connections.
    func close(_ hosts: [String]) async {
        for host in hosts {
            _ = try? await Command(program: "ssh", arguments: options + ["-O", "exit", "--", host])
                .run(limit: .seconds(10))
        }
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// One word for a shell, whatever is in it.
    static func quoted(_ word: String) -> String { "'" + word.replacing("'", with: "'\\''") + "'" }
}
