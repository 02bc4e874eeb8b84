import ArgumentParser
import Foundation

/// What all commands of the tokenizer have.
struct TokenizerOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Where it listens (default: $XDG_RUNTIME_DIR/gotoni/tokenizer.sock, for root /run/gotoni/tokenizer.sock).",
            valueName: "PATH"))
    var socket: String?

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var machines: MachineOptions

    /// `body` with `hosts`, or with this machine where there are none. The connections end with it.
    func withMachines(_ hosts: [String], _ body: ([Machine]) async throws -> Void) async throws {
        guard !hosts.isEmpty else { return try await body([.here]) }
        try await machines.connected(try await machines.find(hosts), body)
    }

    /// `body` on all machines at once, in their order. What went wrong on one is said and in its report; the others go on.
    func onEach(
        _ machines: [Machine],
        _ body: @escaping @Sendable (TokenizerService) async throws(CommandError) -> TokenizerReport
    ) async -> [TokenizerReport] {
        await each(machines) { service in
            do throws(CommandError) {
                return try await body(service)
            } catch {
                Progress.say("\(service.machine.prefix)\(error)")
                return TokenizerReport(service.machine.name, error)
            }
        }
    }

    func each<Answer: Sendable>(
        _ machines: [Machine], _ body: @escaping @Sendable (TokenizerService) async -> Answer
    ) async -> [Answer] {
        await concurrently(machines.map { TokenizerService(machine: $0, socket: socket) }, body)
    }

    /// Prints the table, or what `sentence` makes of each machine, or JSON; ends with the exit status.
    func finish(
        _ reports: [TokenizerReport], wanting status: TokenizerReport.Status?,
        sentence: ((TokenizerReport) -> String)? = nil
    ) throws {
        if json {
            print(try JSONText.of(TokenizerDocument(reports)))
        } else if let sentence {
            for report in reports where report.status != .error {
                print((reports.count > 1 ? report.name + ": " : "") + sentence(report))
            }
        } else {
            print(TokenizerDocument(reports).table)
        }
        let good = reports.count { status == nil ? $0.status != .error : $0.status == status }
        if good < reports.count { throw ExitCode(good > 0 ? 7 : max(1, reports.map(\.exitCode).max() ?? 1)) }
    }
}

/// The machines of the commands that also work here.
struct PlaceOptions: ParsableArguments {
    @Option(
        name: .customLong("on"), parsing: .upToNextOption,
        help: ArgumentHelp("On these machines, over SSH, instead of here.", valueName: "USER@HOST"))
    var hosts: [String] = []

    @OptionGroup var common: TokenizerOptions

    func validate() throws { try SSHOptions.check(hosts) }
}
