import ArgumentParser
import Foundation

/// How control endpoints are asked, of proxies and nodes alike.
struct AskOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A file with the admin token, or - for standard input (default: $GOTONI_ADMIN_TOKEN).", valueName: "FILE"))
    var tokenFile: String?

    @Option(help: ArgumentHelp("How long to wait for an answer.", valueName: "TIME"))
    var timeout = WaitTime(seconds: 5)

    @Flag(help: "Print what was answered, as JSON.")
    var json = false

    @OptionGroup(title: "SSH") var ssh: SSHOptions

    private func token() throws(CommandError) -> String? {
        guard let tokenFile else { return ProcessInfo.processInfo.environment["GOTONI_ADMIN_TOKEN"] }
        let text: String?
        if tokenFile == "-" {
            text = readLine()
        } else {
            text = try? String(contentsOfFile: tokenFile, encoding: .utf8)
        }
        guard let token = text?.trimmingCharacters(in: .whitespacesAndNewlines), !token.isEmpty else {
            throw CommandError("\(tokenFile) has no token.")
        }
        return token
    }

    /// `program` at `place`, which people know as `name`.
    func service(_ place: HTTP.Place, name: String, program: String) throws(CommandError) -> JSONService {
        JSONService(
            place: place, name: name, program: program,
            nobody: CommandError("Nobody answers at \(name); is \(program) running there?"),
            fields: try token().map { [("authorization", "Bearer \($0)")] } ?? [], limit: timeout.duration)
    }

    /// `body` with what leads to `port` of the loopback of each machine, nil where a machine cannot be reached, which is
    /// said. The connections end with it.
    func withForwards(
        to hosts: [String], port: Int, _ body: ([HTTP.Place?]) async throws -> Void
    ) async throws {
        try await SSH.connected(ssh, to: hosts) { connections in
            try await body(await concurrently(hosts) { await Self.forward(connections, $0, port) })
        }
    }

    private static func forward(_ ssh: SSH, _ host: String, _ port: Int) async -> HTTP.Place? {
        do throws(CommandError) {
            _ = try await ssh.run(["true"], on: host, limit: .seconds(20))
            return .socket(try await ssh.forward("127.0.0.1:\(port)", on: host))
        } catch {
            Progress.say("\(error)")
            return nil
        }
    }
}

// Places as they are named on the command line.
extension HTTP.Place {
    /// HOST, HOST:PORT, an address of IPv6 or [ADDRESS]:PORT.
    init(host: String, port: Int) throws {
        let colons = host.count { $0 == ":" }
        if host.isEmpty || host.hasPrefix("-") || host.contains(where: \.isWhitespace) {
            throw ValidationError("\"\(host)\" is no host; hosts are named like 10.0.0.5 or 10.0.0.5:8000.")
        } else if colons == 0 || colons > 1 && !host.hasPrefix("[") {
            self = .server(host: host, port: port, isTLS: false)
        } else if host.hasPrefix("["), host.hasSuffix("]") {
            self = .server(host: String(host.dropFirst().dropLast()), port: port, isTLS: false)
        } else {
            try self.init(argument: "http://\(host)")
        }
    }

    init(argument: String) throws {
        guard let place = HTTP.Place(url: argument) else {
            throw ValidationError("\"\(argument)\" is no URL of a host; URLs are like https://proxy.example.org.")
        }
        self = place
    }

    static func check(port: Int) throws {
        guard (1...65_535).contains(port) else { throw ValidationError("A port is from 1 to 65535.") }
    }
}
