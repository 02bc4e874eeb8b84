import ArgumentParser
import Foundation

/// The clouds that there are, and how one is chosen.
struct Provider: Sendable {
    private typealias Environment = [String: String]

    var name: String
    /// Why it cannot be used, and who gives credentials.
    private var missing: String
    private var hasCredentials: @Sendable (Environment) -> Bool
    private var make: @Sendable (ModalAccount, Environment) throws -> any Cloud

    private static let all = [
        Provider(
            name: "lambda", missing: "LAMBDA_API_KEY is not set: cloud.lambda.ai gives keys.",
            hasCredentials: { $0.text("LAMBDA_API_KEY") != nil }, make: lambda),
        Provider(
            name: "modal",
            missing: "MODAL_TOKEN_ID and MODAL_TOKEN_SECRET are not set, and there is no ~/.modal.toml: "
                + "modal token new gets a token.",
            hasCredentials: hasModalToken, make: modal),
        Provider(
            name: "static",
            missing: "There is no file of machines: GOTONI_MACHINES or gotoni config names it.",
            hasCredentials: { _ in machinesFile != nil },
            make: { _, _ in try StaticCloud(file: machinesFile ?? "") }),
    ]

    private static var names: String { all.map(\.name).joined(separator: ", ") }

    /// The one that is chosen. Errors: 4 where there is none.
    static func cloud(_ named: String?, _ modal: ModalAccount) throws -> any Cloud {
        if let cloud = try chosen(named, modal) { return cloud }
        throw CommandError(
            "There are no credentials for a cloud.",
            lines: all.map { "\($0.name): \($0.missing)" }.joined(separator: "\n"), exitCode: 4)
    }

    /// `named` comes before what is set, and that before whose credentials are there. Nil: nobody's are.
    static func chosen(_ named: String?, _ modal: ModalAccount = ModalAccount()) throws -> (any Cloud)? {
        let environment = ProcessInfo.processInfo.environment
        if let name = try Settings.load().value("provider", flag: named) {
            guard let provider = all.first(where: { $0.name == name }) else {
                throw ValidationError("There is no provider \"\(name)\"; there are \(names).")
            }
            guard provider.hasCredentials(environment) else { throw CommandError(provider.missing, exitCode: 4) }
            return try provider.make(modal, environment)
        }
        let found = all.filter { $0.hasCredentials(environment) }
        guard found.count <= 1 else {
            let names = found.map(\.name).joined(separator: " and for ")
            throw CommandError(
                "There are credentials for \(names): say which with --provider or GOTONI_CLOUD.", exitCode: 2)
        }
        return try found.first?.make(modal, environment)
    }

    // MARK: Each

    /// Seconds between requests to Lambda: a little more than it asks for, as not all are equally long on their way.
    private static let lambdaInterval = 1.05

    private static func lambda(_: ModalAccount, _ environment: Environment) throws -> any Cloud {
        // For tests, and for gateways of one's own.
        let url = environment["GOTONI_LAMBDA_URL"] ?? "https://cloud.lambda.ai"
        guard let place = HTTP.Place(url: url) else { throw CommandError("GOTONI_LAMBDA_URL is no URL: \(url)") }
        let interval = environment["GOTONI_LAMBDA_INTERVAL"].flatMap { Double($0) } ?? lambdaInterval
        return try LambdaCloud(
            place: place, key: environment["LAMBDA_API_KEY"] ?? "", interval: max(0, min(interval, 60)))
    }

    /// Either in the environment, or in the file of Modal's own program.
    static func hasModalToken(_ environment: [String: String]) -> Bool {
        if environment.text("MODAL_TOKEN_ID") != nil, environment.text("MODAL_TOKEN_SECRET") != nil { return true }
        return Files.exists(modalFile(environment))
    }

    static func modalFile(_ environment: [String: String]) -> String {
        environment.text("MODAL_CONFIG_PATH") ?? Files.home + "/.modal.toml"
    }

    private static func modal(_ account: ModalAccount, _ environment: Environment) throws -> any Cloud {
        ModalCloud(
            app: environment.text("GOTONI_MODAL_APP") ?? "gotoni",
            environment: account.environment ?? environment.text("GOTONI_MODAL_ENV")
                ?? environment.text("MODAL_ENVIRONMENT"),
            python: account.python)
    }

    /// Of machines of one's own. Nil: there is none; one that is named and not there is an error of its reader.
    static var machinesFile: String? {
        let file = Files.configuration + "/machines.yaml"
        return (try? Settings.load())?["machines"]?.value ?? (Files.exists(file) ? file : nil)
    }
}

extension [String: String] {
    /// What is set to nothing is not set.
    fileprivate func text(_ name: String) -> String? { self[name].flatMap { $0.isEmpty ? nil : $0 } }
}
