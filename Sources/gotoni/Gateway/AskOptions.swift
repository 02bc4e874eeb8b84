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

    @OptionGroup var machines: MachineOptions

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

    /// `program` at `place`, which people know as `name`; `known` is its token, if no other is given.
    func service(_ place: HTTP.Place, name: String, program: String, token known: String? = nil)
        throws(CommandError) -> JSONService
    {
        JSONService(
            place: place, name: name, program: program,
            nobody: CommandError("Nobody answers at \(name); is \(program) running there?"),
            fields: try (token() ?? known).map { [("authorization", "Bearer \($0)")] } ?? [], limit: timeout.duration)
    }

    /// A program on a machine.
    struct Remote: Sendable {
        /// For people: the machine, and the port there.
        var name: String
        /// What leads to it from here. Nil: the machine cannot be reached, which was said.
        var place: HTTP.Place?
        /// What it was started with, if that was from here.
        var token: String?
    }

    /// `body` with the program at `port` of each machine, or where it was started from here, or at 8000. The connections end
    /// with it.
    func withRemotes(
        _ hosts: [String], port: Int?, of program: ClusterProgram, _ body: ([Remote]) async throws -> Void
    ) async throws {
        let found = try await machines.find(hosts)
        try await machines.connected(found) { machines in
            let wanted = zip(found, machines).map { found, machine in
                (machine, ClusterProgram.place(program, on: found, port: port))
            }
            try await body(await concurrently(wanted) { await Self.remote(on: $0, $1) })
        }
    }

    private static func remote(on machine: Machine, _ known: ClusterProgram.Place) async -> Remote {
        var remote = Remote(name: "\(machine.name), port \(known.port)", place: nil, token: known.token)
        do throws(CommandError) {
            _ = try await machine.run(["true"], limit: .seconds(20))
            remote.place = try await machine.reach("\(known.host):\(known.port)")
        } catch {
            Progress.say("\(error)")
        }
        return remote
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
