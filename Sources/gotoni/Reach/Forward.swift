import ArgumentParser

struct Forward: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Have a port of a machine here, until it is interrupted.",
        discussion: """
            Example:
              gotoni forward node-a 8000:9000     # http://127.0.0.1:9000 is the machine's port 8000
            """)

    @Argument(help: ArgumentHelp("A machine's name or id, or USER@HOST.", valueName: "MACHINE")) var name: String
    @Argument(help: ArgumentHelp("The machine's port, and the one here.", valueName: "PORT[:HERE]")) var ports: PortPair
    @OptionGroup var machines: MachineOptions

    struct PortPair: ExpressibleByArgument {
        var there: UInt16
        var here: UInt16

        init?(argument: String) {
            let parts = argument.split(separator: ":", omittingEmptySubsequences: false).map { UInt16($0) }
            guard parts.count <= 2, let there = parts[0], let here = parts[parts.count - 1], there > 0, here > 0 else {
                return nil
            }
            (self.there, self.here) = (there, here)
        }
    }

    func run() async throws {
        let (found, target) = try await machines.one(name)
        // Where the cluster's programs listen on one address only.
        let host = Cluster.having(found.key)?.host(on: found.key) ?? "127.0.0.1"
        Progress.say("http://127.0.0.1:\(ports.here) is \(found.name), port \(ports.there); Ctrl-C ends it")
        let way = "127.0.0.1:\(ports.here):\(host):\(ports.there)"
        try machines.become(["ssh", "-N", "-o", "ExitOnForwardFailure=yes", "-L", way, "--", target], [found])
    }
}
