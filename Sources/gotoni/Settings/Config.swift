import ArgumentParser
import Foundation

struct Config: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "What is set for all commands, and where.",
        discussion: """
            A flag wins over the environment, that over gotoni.yaml in the working folder, that over the user's own file \
            (gotoni config path), that over what holds without any. The files are YAML:
              region: us-east-1
              type: gpu_1x_a100
            """,
        subcommands: [ConfigShow.self, ConfigPath.self, ConfigInit.self])
}

struct ConfigShow: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "show", abstract: "All settings and their values.")

    @Flag(help: "Also where each value comes from.") var origin = false
    @Flag(help: "Print JSON, always with origins.") var json = false

    private struct Shown: Encodable {
        var value: String?
        var origin: String?
        var variable: String
        var what: String
    }

    func run() throws {
        let settings = try Settings.load()
        guard !json else {
            let all = SettingKey.all.map { key in
                let found = settings[key.name]
                return (
                    key.name,
                    Shown(
                        value: found?.value, origin: found.map { "\($0.origin)" }, variable: key.variable,
                        what: key.what)
                )
            }
            return print(try JSONText.of(Dictionary(all) { first, _ in first }))
        }
        var table = TextTable(["SETTING", "VALUE"] + (origin ? ["FROM"] : []), leading: 3)
        for key in SettingKey.all {
            let found = settings[key.name]
            table.add([key.name, found?.value ?? "-"] + (origin ? [found.map { "\($0.origin)" } ?? "-"] : []))
        }
        print(table.lines.joined(separator: "\n"))
    }
}

struct ConfigPath: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "path", abstract: "Where the user's own file is, or would be.")

    @Flag(help: "Print both files, as JSON.") var json = false

    private struct Place: Encodable {
        var path: String
        var exists: Bool
    }

    func run() throws {
        guard json else { return print(Settings.userFile) }
        let folder = FileManager.default.currentDirectoryPath
        let paths = ["\(folder)/\(Settings.ownFile)", Settings.userFile]
        print(try JSONText.of(paths.map { Place(path: $0, exists: Files.exists($0)) }))
    }
}

struct ConfigInit: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Make the user's own file, with every setting as a comment.")

    @Flag(help: "gotoni.yaml in the working folder instead.") var here = false

    func run() throws {
        let path = here ? Settings.ownFile : Settings.userFile
        if !here { try Files.makeFolder(Files.configuration) }
        try SettingsFile.make(path)
        print(path)
    }
}
