import ArgumentParser
import Foundation

/// How machines are reached: the system's OpenSSH, so that agents, jump hosts and ~/.ssh/config work as they always do.
struct SSHOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The private key, where ssh would not find it by itself.", valueName: "FILE"))
    var identity: String?

    @Option(help: ArgumentHelp("The port of SSH on all machines.", valueName: "N"))
    var sshPort: UInt16?

    @Option(help: ArgumentHelp("The user on machines of a cloud (default: its images' own).", valueName: "NAME"))
    var sshUser: String?

    /// Names of machines. Errors: what would be an option or two words, and what is there twice.
    static func check(_ hosts: [String]) throws {
        if let wrong = hosts.first(where: { $0.isEmpty || $0.hasPrefix("-") || $0.contains(where: \.isWhitespace) }) {
            throw ValidationError("\"\(wrong)\" is no machine; machines are named like user@host.")
        }
        if let twice = Dictionary(grouping: hosts, by: { $0 }).first(where: { $0.value.count > 1 })?.key {
            throw ValidationError("\(twice) is named twice.")
        }
    }

    /// The user on machines of a cloud, if one is wanted.
    func user() throws(CommandError) -> String? { try Settings.load().value("ssh-user", flag: sshUser) }

    /// Words of ssh's command line for all hosts.
    fileprivate func words() throws(CommandError) -> [String] {
        let settings = try Settings.load()
        let port = settings.value("ssh-port", flag: sshPort.map(String.init))
        guard port.map({ UInt16($0) ?? 0 > 0 }) ?? true else {
            throw CommandError("A port of SSH is from 1 to 65535, not \"\(port ?? "")\".", exitCode: 2)
        }
        let identity = settings.value("identity", flag: identity)
        return (port.map { ["-o", "Port=\($0)"] } ?? [])
            + (identity.map { ["-i", $0, "-o", "IdentitiesOnly=yes"] } ?? [])
    }
}

/// A machine of a cloud, as ssh is told of it.
struct SSHHost: Sendable {
    /// What ssh calls it, and what its host key is known by: an address that is given out again is another machine.
    var alias: String
    var address: String
    var user: String?
    var port: UInt16?
    /// A private key; with `isOnlyKey` no other is tried.
    var identity: String?
    var isOnlyKey = false

    /// One that ssh and its configuration take as it is.
    static func isName(_ text: String) -> Bool {
        !text.isEmpty && !text.hasPrefix("-")
            && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-_.".contains($0)) }
    }

    /// For a configuration file of ssh.
    func block(names: [String] = []) -> String {
        var lines = ["Host \(([alias] + names).joined(separator: " "))", "  HostName \(address)"]
        if let user { lines.append("  User \(user)") }
        if let port { lines.append("  Port \(port)") }
        if let identity { lines.append("  IdentityFile \"\(identity)\"") }
        if isOnlyKey { lines.append("  IdentitiesOnly yes") }
        lines.append("  HostKeyAlias \(alias)")
        return lines.joined(separator: "\n") + "\n"
    }
}

/// Connections to machines, one for each however many commands run over it. Host keys are always checked: a new machine's
/// is remembered, a changed one is refused.
struct SSH: Sendable {
    private let options: [String]
    /// For nobody else; its name is short because names of sockets must be.
    private let folder: String

    init(_ wanted: SSHOptions, hosts: [SSHHost] = []) throws(CommandError) {
        folder = try Files.temporaryFolder()
        // Ours come first, because ssh takes the first value that it is given.
        options =
            try Self.words(wanted, hosts: hosts, file: folder + "/config")
            + [
                "BatchMode=yes", "ControlMaster=auto", "ControlPath=\(folder)/%C", "ControlPersist=60",
            ]
            .flatMap { ["-o", $0] }
    }

    /// Words of ssh's and scp's command line; what is to be known of `hosts` is written to `file`.
    static func words(_ wanted: SSHOptions, hosts: [SSHHost], file: String) throws(CommandError) -> [String] {
        let configuration = Files.configuration
        try Files.makeFolder(configuration)
        // The user's and the system's come behind ours.
        let text =
            hosts.map { $0.block() }.joined() + "Match all\n  Include ~/.ssh/config\n  Include /etc/ssh/ssh_config\n"
        try Files.write(text, to: file)
        return try ["-F", file]
            + [
                "ConnectTimeout=10", "ServerAliveInterval=15", "ServerAliveCountMax=3", "LogLevel=ERROR",
                "StrictHostKeyChecking=accept-new", "UserKnownHostsFile=\"\(configuration)/known_hosts\"",
            ]
            .flatMap { ["-o", $0] } + wanted.words()
    }

    /// Runs `arguments` on `host`, as they are: no shell there sees more than one word in each.
    func run(_ arguments: [String], on host: String, input: String? = nil, limit: Duration) async throws(CommandError)
        -> Program.Answer
    {
        // Were only ssh ended, the command would go on there.
        let bounded = ["timeout", "-k", "5", "\(limit.components.seconds)"] + arguments
        let answer = try await Program(name: "ssh", arguments: options + ["--", host, Self.command(bounded)])
            .run(input: input, limit: limit + .seconds(20))
        guard answer.status != 255 else { throw Self.unreachable(host, answer.errors) }
        return answer
    }

    private static func unreachable(_ host: String, _ errors: String) -> CommandError {
        guard errors.contains("Host key verification failed") else {
            return CommandError("\(host) cannot be reached by ssh.", lines: errors)
        }
        // As ssh says it: a port other than 22 is part of the name.
        let known = errors.firstMatch(of: /Host key for (\S+) has changed/).map { String($0.1) }
        let name = known ?? String(host.split(separator: "@").last ?? "")
        return CommandError(
            "\(host) has another host key than before, so it may be another machine: nothing was sent. If that is as it "
                + "should be: ssh-keygen -f \(quoted("\(Files.configuration)/known_hosts")) -R \(quoted(name))",
            exitCode: 4)
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
        _ wanted: SSHOptions, to names: [String], hosts: [SSHHost] = [], _ body: (SSH) async throws -> Void
    ) async throws {
        let connections = try SSH(wanted, hosts: hosts)
        let result: Result<Void, any Error>
        do { result = .success(try await body(connections)) } catch { result = .failure(error) }
        await connections.close(names)
        try result.get()
    }

    private func close(_ hosts: [String]) async {
        // One that was never reached has no connection; then this is as quick.
        _ = await concurrently(hosts) { host in
            try? await Program(name: "ssh", arguments: options + ["-O", "exit", "--", host]).run(limit: .seconds(10))
        }
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// One command for a shell, of words that stay as they are.
    static func command(_ words: [String]) -> String { words.map(quoted).joined(separator: " ") }

    /// One word for a shell, whatever is in it.
    static func quoted(_ word: String) -> String { "'" + word.replacing("'", with: "'\\''") + "'" }
}
