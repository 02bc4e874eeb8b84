import ArgumentParser
import Foundation

struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a command on machines.",
        discussion: """
            One word is a line for the shell there; several are a program and its arguments, as they are. On one machine \
            it has this terminal, and its exit status is ours (255: ssh itself failed). On several, and in sandboxes, it \
            runs on all at once, and what it says is shown when it ends; exit status 7: some of them did not end with 0.

            Examples:
              gotoni run node-a 'nvidia-smi | head'
              gotoni run node-a,node-b -- df -h /
            """)

    @Argument(help: ArgumentHelp("Machines' names or ids, or USER@HOST, separated by commas.", valueName: "MACHINE,…"))
    var names: String
    @Argument(help: ArgumentHelp("What to run.", valueName: "COMMAND")) var command: [String]
    @Option(help: ArgumentHelp("How long it may take on several machines.", valueName: "TIME"))
    var timeout = WaitTime(seconds: 600)
    @Flag(help: "Print JSON: what each machine said.") var json = false
    @OptionGroup var machines: MachineOptions

    func validate() throws {
        guard !command.isEmpty else { throw ValidationError("What is to be run?") }
    }

    private struct Said: Encodable, Sendable {
        var machine: String
        var status: Int32?
        var output = ""
        var errors = ""
        var error: String?
        var exitCode: Int32 = 1

        private enum CodingKeys: String, CodingKey { case machine, status, output, errors, error }
    }

    func run() async throws {
        let chosen = names.split(separator: ",").map(String.init)
        let found = try await machines.find(chosen)
        if found.count == 1, !json, let target = found[0].link.target {
            let line = command.count == 1 ? command[0] : SSH.command(command)
            try machines.become(["ssh", isatty(0) == 1 && isatty(1) == 1 ? "-t" : "-T", "--", target, line], found)
        }
        let words = command.count == 1 ? ["sh", "-c", command[0]] : command
        let limit = timeout.duration
        try await machines.connected(found) { machines in
            let said = await concurrently(machines) { machine -> Said in
                do throws(CommandError) {
                    let answer = try await machine.run(words, limit: limit)
                    return Said(
                        machine: machine.name, status: answer.status, output: answer.output, errors: answer.errors)
                } catch {
                    return Said(machine: machine.name, error: "\(error)", exitCode: error.exitCode)
                }
            }
            if json {
                print(try JSONText.of(["machines": said]))
            } else {
                said.forEach { Self.show($0, isOnly: said.count == 1) }
            }
            let failures = said.filter { $0.status != 0 }
                .map {
                    CommandError(
                        $0.error ?? "\($0.machine) ended with \($0.status ?? 1).", exitCode: $0.status ?? $0.exitCode)
                }
            try CommandError.finish(failures, of: said.count)
        }
    }

    private static func show(_ said: Said, isOnly: Bool) {
        let lines = (said.output + said.errors).split(separator: "\n", omittingEmptySubsequences: false)
        let text = lines.last == "" ? lines.dropLast() : lines[...]
        for line in text { print((isOnly ? "" : "\(said.machine): ") + line) }
        if let error = said.error { Progress.say("\(said.machine): \(error)") }
        if let status = said.status, status != 0 { Progress.say("\(said.machine): ended with \(status)") }
    }
}
