/// What can be set once for all commands.
struct SettingKey: Sendable {
    var name: String
    /// Of the environment.
    var variable: String
    /// Without anything set; nil: nothing.
    var fallback: String? = nil
    /// Names a file; in a settings file, beside that one.
    var isPath = false
    /// In a sentence.
    var what: String

    /// All there are. The variables are not those by which gotoni-lb and gotoni-proxy read their own settings, unless both
    /// mean the same.
    static let all = [
        SettingKey(
            name: "provider", variable: "GOTONI_CLOUD",
            what: "Which cloud; without it, whose credentials are there."),
        SettingKey(
            name: "machines", variable: "GOTONI_MACHINES", isPath: true,
            what: "A file that names machines of your own."),
        SettingKey(
            name: "region", variable: "GOTONI_REGION", fallback: "auto",
            what: "Where machines are rented; auto: wherever there is one."),
        SettingKey(name: "type", variable: "GOTONI_TYPE", what: "Which machines, as gotoni available names them."),
        SettingKey(name: "cluster", variable: "GOTONI_CLUSTER", what: "Which cluster, where none is named."),
        SettingKey(
            name: "engine", variable: "GOTONI_ENGINE_KIND", fallback: "sglang", what: "What serves the model."),
        SettingKey(name: "model", variable: "GOTONI_MODEL", what: "Which model engines serve."),
        SettingKey(name: "image", variable: "GOTONI_IMAGE", what: "The engine's container image."),
        SettingKey(
            name: "strategy", variable: "GOTONI_STRATEGY", fallback: "gorgo", what: "By which policy nodes route."),
        SettingKey(
            name: "identity", variable: "GOTONI_IDENTITY", isPath: true,
            what: "The private key of SSH, where ssh would not find it by itself."),
        SettingKey(name: "ssh-port", variable: "GOTONI_SSH_PORT", what: "The port of SSH on all machines."),
        SettingKey(
            name: "ssh-user", variable: "GOTONI_SSH_USER",
            what: "The user on machines of a cloud, if not its images' own."
        ),
    ]

    static func named(_ name: String) -> SettingKey? { all.first { $0.name == name } }
}
