import ArgumentParser

struct Connect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "A shell on a machine.", aliases: ["ssh"])

    @Argument(help: ArgumentHelp("A machine's name or id, or USER@HOST.", valueName: "MACHINE")) var name: String
    @OptionGroup var machines: MachineOptions

    func run() async throws {
        let (found, target) = try await machines.one(name)
        try machines.become(["ssh", "-t", "--", target], [found])
    }
}
