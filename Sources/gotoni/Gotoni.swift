import ArgumentParser
import Foundation

@main
struct Gotoni: AsyncParsableCommand {
    static let number = "0.1.0"
    static let configuration = CommandConfiguration(
        commandName: "gotoni", abstract: "Routes requests to LLM servers by what they would wait for.",
        discussion: """
            Exit status: 0 done; 1 failed; 2 not understood; 4 not allowed; 5 not found; 6 none to be had; 7 done on some machines only; \
            124 took too long.
            """,
        version: number,
        subcommands: [Simulate.self, BenchDigest.self],
        groupedSubcommands: [
            CommandGroup(
                name: "Machines",
                subcommands: [
                    Available.self, Launch.self, List.self, Kill.self, Restart.self, Price.self, Wait.self, Keys.self,
                    Rename.self, FileSystems.self, Firewall.self, SSHConfig.self,
                ]),
            CommandGroup(
                name: "On machines",
                subcommands: [
                    Connect.self, Run.self, Copy.self, Logs.self, Forward.self, ClusterCommand.self,
                ]),
            CommandGroup(name: "Routers", subcommands: [Proxy.self, Node.self, Tokenizer.self]),
            CommandGroup(
                name: "This machine", subcommands: [Config.self, Doctor.self, Completion.self, ShowVersion.self]),
        ])

    static func main() async {
        do {
            let result: Result<Void, any Error>
            do { result = .success(try await perform()) } catch { result = .failure(error) }
            await ModalHelper.stop()
            try result.get()
        } catch let error as CommandError {
            Progress.say("\(error)")
            Foundation.exit(error.exitCode)
        } catch {
            // ArgumentParser's own status for this is 64.
            guard exitCode(for: error) == .validationFailure else { exit(withError: error) }
            Progress.say(fullMessage(for: error))
            Foundation.exit(2)
        }
    }

    private static func perform() async throws {
        var command = try parseAsRoot(FormerCommands.current(Array(CommandLine.arguments.dropFirst())))
        if var running = command as? any AsyncParsableCommand {
            try await running.run()
        } else {
            try command.run()
        }
    }
}
