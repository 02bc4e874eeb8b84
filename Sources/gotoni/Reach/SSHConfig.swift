import ArgumentParser
import Foundation

struct SSHConfig: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ssh-config", abstract: "The cloud's machines as ssh, scp, rsync and editors want them.",
        discussion: "--install keeps them in a file of gotoni's, and adds one line to ~/.ssh/config that includes it.")

    @Flag(help: "Have ssh know them by their names, from now on.") var install = false
    @OptionGroup var machines: MachineOptions

    private static var file: String { Files.configuration + "/ssh_hosts" }

    func run() async throws {
        guard let cloud = try machines.cloud(nil) else {
            throw CommandError("No cloud's credentials are set; gotoni list --help says which there are.", exitCode: 4)
        }
        let running = try await cloud.machines().filter(\.isRunning).sorted { ($0.label, $0.id) < ($1.label, $1.id) }
        let known = "  UserKnownHostsFile \"\(Files.configuration)/known_hosts\"\n  StrictHostKeyChecking accept-new\n"
        let blocks = running.compactMap { machine -> String? in
            guard case .ssh(let host) = try? machines.ssh.link(to: machine, of: cloud) else { return nil }
            return host.block(names: SSHHost.isName(machine.label) ? [machine.label] : []) + known
        }
        guard install else { return print(blocks.joined(separator: "\n"), terminator: "") }
        try Files.makeFolder(Files.configuration)
        try Files.write(blocks.joined(separator: "\n"), to: Self.file)
        try include()
        print("\(blocks.count) machines are in \(Self.file)")
    }

    /// Once, and before everything else: behind a Host line it would be that host's alone.
    private func include() throws {
        let folder = Files.home + "/.ssh"
        let line = "Include \"\(Self.file)\""
        // It may be a link into somebody's collection of such files.
        let path = URL(filePath: folder + "/config").resolvingSymlinksInPath().path
        let text = Files.exists(path) ? try? String(contentsOfFile: path, encoding: .utf8) : ""
        guard let text else { throw CommandError("\(path) cannot be read.") }
        guard !text.split(separator: "\n").contains(Substring(line)) else { return }
        try Files.makeFolder(folder)
        try Files.write(line + "\n\n" + text, to: path)
    }
}
