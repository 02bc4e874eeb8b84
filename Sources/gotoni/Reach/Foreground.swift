import ArgumentParser
import Foundation

/// ssh and scp in this process's place: what a terminal, a pipe and an exit status are to them, they are to the user.
extension MachineOptions {
    /// Does not come back. `words` begins with the program, `found` are the machines that are named in it.
    func become(_ words: [String], _ found: [Found]) throws -> Never {
        guard let path = LocalProgram.inPath(words[0]) else {
            throw CommandError("There is no \(words[0]) here; install OpenSSH's client.")
        }
        // It stays, because ssh reads it when we have become that: one for these machines, whoever else names others now.
        let hosts = found.compactMap(\.link.host)
        let folder = Files.configuration + "/ssh"
        try Files.makeFolder(folder)
        let name = hosts.isEmpty ? "config" : hosts.map(\.alias).sorted().joined(separator: "+")
        let options = try SSH.words(ssh, hosts: hosts, file: "\(folder)/\(name.prefix(200))")
        try LocalProgram.become(path, options + words.dropFirst())
    }

    /// One machine, and what ssh calls it.
    func one(_ name: String) async throws -> (Found, String) {
        let found = try await find([name])
        guard let first = found.first, let target = first.link.target else {
            throw CommandError("\(name) is a sandbox without ssh; gotoni run runs commands in it.", exitCode: 2)
        }
        return (first, target)
    }
}
