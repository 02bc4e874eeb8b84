import ArgumentParser
import Foundation

/// Which cloud, and how answers are printed.
struct CloudOptions: ParsableArguments {
    @Option(
        name: [.customShort("p"), .long],
        help: ArgumentHelp("lambda (default: $GOTONI_CLOUD, or whose credentials are there).", valueName: "NAME"))
    var provider: String?

    @Flag(help: "Print JSON.")
    var json = false

    /// Seconds between requests to Lambda: a little more than it asks for, as not all are equally long on their way.
    private static let lambdaInterval = 1.05

    func cloud() throws -> any Cloud {
        guard let cloud = try Self.chosen(provider) else {
            throw CommandError("LAMBDA_API_KEY is not set: cloud.lambda.ai gives keys.", exitCode: 4)
        }
        return cloud
    }

    /// Nil: none is named, and there are no credentials of any.
    static func chosen(_ provider: String?) throws -> (any Cloud)? {
        let environment = ProcessInfo.processInfo.environment
        let settings = try Settings.load()
        let named = settings.value("provider", flag: provider)
        if named == "static" {
            return try StaticCloud(file: settings["machines"]?.value ?? Files.configuration + "/machines.yaml")
        }
        guard named == nil || named == "lambda" else {
            throw ValidationError("There is no provider \"\(named ?? "")\"; there is lambda.")
        }
        guard let key = environment["LAMBDA_API_KEY"], !key.isEmpty else {
            guard named != nil else { return nil }
            throw CommandError("LAMBDA_API_KEY is not set: cloud.lambda.ai gives keys.", exitCode: 4)
        }
        // For tests, and for gateways of one's own.
        let url = environment["GOTONI_LAMBDA_URL"] ?? "https://cloud.lambda.ai"
        guard let place = HTTP.Place(url: url) else { throw CommandError("GOTONI_LAMBDA_URL is no URL: \(url)") }
        let interval = environment["GOTONI_LAMBDA_INTERVAL"].flatMap { Double($0) } ?? lambdaInterval
        return try LambdaCloud(place: place, key: key, interval: max(0, min(interval, 60)))
    }
}

/// Of commands that cost or destroy something.
struct ConsentOptions: ParsableArguments {
    @Flag(name: [.customShort("y"), .long], help: "Do not ask.")
    var yes = false

    /// Asks on the terminal. Errors: no, or nobody to ask.
    func ask(_ question: String) throws(CommandError) {
        guard !yes else { return }
        guard isatty(0) == 1 else {
            throw CommandError("\(question) Say --yes where nobody can be asked.", exitCode: 2)
        }
        FileHandle.standardError.write(Data("\(question) [y/N] ".utf8))
        guard let answer = readLine()?.lowercased(), answer == "y" || answer == "yes" else {
            throw CommandError("Nothing was done.")
        }
    }
}
