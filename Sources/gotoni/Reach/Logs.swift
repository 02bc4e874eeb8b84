import ArgumentParser

struct Logs: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "What a program on a machine has written.",
        discussion: "Of the balancer, if nothing else is asked for.")

    enum Service: String, EnumerableFlag {
        case engine, lb, proxy

        static func help(for value: Service) -> ArgumentHelp? {
            switch value {
            case .engine: "Of the engine."
            case .lb: "Of the balancer (default)."
            case .proxy: "Of the proxy."
            }
        }
    }

    @Argument(help: ArgumentHelp("A machine's name or id, or USER@HOST.", valueName: "MACHINE")) var name: String
    @Flag(exclusivity: .exclusive) var service = Service.lb
    @Flag(name: [.short, .long], help: "Go on as it is written.") var follow = false
    @Option(name: [.customShort("n"), .long], help: ArgumentHelp("So many of the last lines.", valueName: "N"))
    var lines = 100
    @OptionGroup var machines: MachineOptions

    func run() async throws {
        let (found, target) = try await machines.one(name)
        let words = Machine.words(
            PackageResources.cluster_sh, ["logs", service.rawValue, "\(lines)"] + (follow ? ["follow"] : []))
        try machines.become(["ssh", "-T", "--", target, SSH.command(words)], [found])
    }
}
