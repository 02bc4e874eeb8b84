import ArgumentParser

struct FileSystems: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "filesystems", abstract: "File systems that machines share and that outlive them.",
        subcommands: [List.self, Create.self, Delete.self], defaultSubcommand: List.self, aliases: ["file-systems"])

    static func table(_ systems: [CloudFileSystem]) -> String {
        var table = TextTable(["NAME", "REGION", "MOUNT", "IN USE", "CREATED", "ID", "SIZE"], leading: 6)
        for system in systems {
            table.add([
                system.name, system.region ?? "all", system.mountPoint, system.isInUse ? "yes" : "no",
                String(system.created.prefix(10)), system.id, system.size,
            ])
        }
        return table.lines.joined(separator: "\n")
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "All of them; sizes are the cloud's, which counts every few hours.", aliases: ["show"])

        @OptionGroup var options: CloudOptions

        func run() async throws {
            let found = try await options.cloud().fileSystems().sorted { ($0.name, $0.id) < ($1.name, $1.id) }
            if options.json { return print(try JSONText.of(found)) }
            print(found.isEmpty ? "There are no file systems." : FileSystems.table(found))
        }
    }

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make one; the cloud bills what lies on it.",
            discussion: "Asks first. Machines have it only if they are launched with it, in the same region.")

        @Argument(help: "Its name: a letter, then letters, digits and hyphens, 60 at most.") var name: String
        @Option(name: [.short, .long], help: ArgumentHelp("Where.", valueName: "REGION")) var region: String
        @OptionGroup var consent: ConsentOptions
        @OptionGroup var options: CloudOptions

        func run() async throws {
            let cloud = try options.cloud()
            try consent.ask("Make the file system \(name) in \(region)? What lies on it is billed.")
            let made = try await cloud.create(fileSystem: name, region: region)
            print(
                options.json ? try JSONText.of(made) : "\(made.name): made, \(made.id), mounted at \(made.mountPoint)")
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Delete file systems, and all that is on them.",
            discussion: "Asks first. One that a machine has mounted cannot be deleted: end the machine before.")

        @Argument(help: "A file system's name or id.") var names: [String]
        @OptionGroup var consent: ConsentOptions
        @OptionGroup var options: CloudOptions

        func run() async throws {
            let cloud = try options.cloud()
            let systems = try await cloud.fileSystems()
            let chosen = try names.map { try systems.one(named: $0) }
            if let used = chosen.first(where: \.isInUse) {
                throw CommandError(
                    "\(used.name) is mounted on a machine, so nothing was deleted; end the machine first.")
            }
            let words = chosen.map { "\($0.name) (\($0.region ?? "all regions"), \($0.size), \($0.id))" }
            try consent.ask("Delete \(words.joined(separator: ", ")) and all that is on it? It cannot be had back.")
            var failures: [CommandError] = []
            var deleted: [String] = []
            for system in chosen {
                do throws(CommandError) {
                    try await cloud.delete(fileSystem: system.id)
                    deleted.append(system.id)
                    if !options.json { print("\(system.name): deleted") }
                } catch {
                    Progress.say("\(system.name): \(error)")
                    failures.append(error)
                }
            }
            if options.json { print(try JSONText.of(["deleted": deleted])) }
            try CommandError.finish(failures, of: chosen.count)
        }
    }
}
