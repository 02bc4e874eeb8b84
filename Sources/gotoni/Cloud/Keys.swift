import ArgumentParser
import Foundation

struct Keys: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "The SSH keys that a cloud gives to machines.", subcommands: [List.self, Add.self, Delete.self],
        defaultSubcommand: List.self, aliases: ["ssh-keys"])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "All of them.")

        @OptionGroup var options: CloudOptions

        func run() async throws {
            let keys = try await options.cloud().keys().sorted { $0.name < $1.name }
            if options.json { return print(try JSONText.of(keys)) }
            guard !keys.isEmpty else { return print("There are no keys.") }
            var table = TextTable(["NAME", "ID", "KEY"], leading: 3)
            for key in keys {
                let words = key.publicKey.split(separator: " ")
                table.add([key.name, key.id, (words.first ?? "") + " …" + (words.dropFirst().first?.suffix(16) ?? "")])
            }
            print(table.lines.joined(separator: "\n"))
        }
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Give the cloud a public key.")

        @Argument(help: ArgumentHelp("A file such as ~/.ssh/id_ed25519.pub.", valueName: "FILE")) var file: String
        @Option(
            name: [.short, .long],
            help: ArgumentHelp("What it is called there (default: the file's name).", valueName: "NAME"))
        var name: String?
        @OptionGroup var options: CloudOptions

        func run() async throws {
            guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
                throw ValidationError("\(file) cannot be read.")
            }
            // A private key must never travel.
            let key = text.trimmingCharacters(in: .whitespacesAndNewlines)
            guard key.hasPrefix("ssh-") || key.hasPrefix("ecdsa-") || key.hasPrefix("sk-"), !key.contains("\n") else {
                throw ValidationError("\(file) is no public key of SSH.")
            }
            let title = name ?? String(file.split(separator: "/").last ?? "key").replacing(".pub", with: "")
            let added = try await options.cloud().add(key: title, publicKey: key)
            print(options.json ? try JSONText.of(added) : "\(added.name): added, \(added.id)")
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Take keys away; machines that have them keep them.")

        @Argument(help: "A key's name or id.") var names: [String]
        @OptionGroup var consent: ConsentOptions
        @OptionGroup var options: CloudOptions

        func run() async throws {
            let cloud = try options.cloud()
            let keys = try await cloud.keys()
            let chosen = try names.map { name in
                guard let key = keys.first(where: { $0.id == name || $0.name == name }) else {
                    throw CommandError("There is no key \"\(name)\"; gotoni keys shows all.", exitCode: 5)
                }
                return key
            }
            try consent.ask("Delete \(chosen.map(\.name).joined(separator: ", "))?")
            for key in chosen {
                try await cloud.delete(key: key.id)
                if !options.json { print("\(key.name): deleted") }
            }
            if options.json { print(try JSONText.of(["deleted": chosen.map(\.id)])) }
        }
    }
}
