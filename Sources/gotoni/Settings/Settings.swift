import Foundation

/// What is set for all commands: the environment over gotoni.yaml of the working folder, over the user's own file, over
/// what holds without any. Flags win over all of it.
struct Settings: Sendable {
    /// Where a value comes from.
    enum Origin: Equatable, Sendable, CustomStringConvertible {
        case flag
        case variable(String)
        case file(String)
        case fallback

        var description: String {
            switch self {
            case .flag: "the command line"
            case .variable(let name): "$\(name)"
            case .file(let path): path
            case .fallback: "default"
            }
        }
    }

    private var values: [String: (value: String, origin: Origin)] = [:]

    static let ownFile = "gotoni.yaml"
    static var userFile: String { Files.configuration + "/config.yaml" }

    /// Errors: a file that cannot be read, and what in it is not understood, with status 2.
    static func load() throws(CommandError) -> Settings {
        try load(ProcessInfo.processInfo.environment)
    }

    private static func load(_ environment: [String: String]) throws(CommandError) -> Settings {
        var settings = Settings()
        for key in SettingKey.all {
            if let fallback = key.fallback { settings.values[key.name] = (fallback, .fallback) }
        }
        for path in [userFile, ownFile] where Files.exists(path) {
            for (name, value) in try SettingsFile.read(path) { settings.values[name] = (value, .file(path)) }
        }
        for key in SettingKey.all {
            guard let value = environment[key.variable], !value.isEmpty else { continue }
            settings.values[key.name] = (value, .variable(key.variable))
        }
        return settings
    }

    /// Nil: it is set nowhere, and nothing holds without.
    subscript(name: String) -> (value: String, origin: Origin)? { values[name] }

    /// What the flag says, or else what is set.
    func value(_ name: String, flag: String?) -> String? { flag ?? values[name]?.value }
}
