import ArgumentParser
import Foundation

struct TokenizerTest: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "test", abstract: "Tokenize a text, or three built-in ones, and show counts and ids.",
        discussion: """
            The estimate is what a router without a tokenizer takes: a token for every 4 bytes of UTF-8. No special \
            tokens are added. Fails where the service's own count differs from the ids that it gives.
            """)

    @Argument(help: "The text (before --on).")
    var text: String?

    @Option(help: ArgumentHelp("The text is this file's; - reads standard input.", valueName: "FILE"))
    var file: String?

    @OptionGroup var place: PlaceOptions

    func validate() throws {
        if text != nil, file != nil { throw ValidationError("Give a text or a file, not both.") }
    }

    func run() async throws {
        let texts = try texts()
        try await place.common.withMachines(place.hosts) { machines in
            let reports = await place.common.each(machines) { await TestReport(of: texts, by: $0) }
            if place.common.json {
                print(try JSONText.of(["hosts": reports]))
            } else {
                for report in reports where report.error == nil { print(report.text(isNamed: !place.hosts.isEmpty)) }
            }
            for (report, machine) in zip(reports, machines) {
                if let error = report.error { Progress.say(machine.prefix + error) }
            }
            let failed = reports.count { $0.error != nil }
            if failed > 0 { throw ExitCode(failed == reports.count ? 1 : 7) }
        }
    }

    private func texts() throws -> [String] {
        guard let file else { return text.map { [$0] } ?? TestReport.builtIn }
        do {
            let data =
                file == "-" ? try FileHandle.standardInput.readToEnd() : try Data(contentsOf: URL(filePath: file))
            return [String(decoding: data ?? Data(), as: UTF8.self)]
        } catch {
            throw ValidationError("\(file) cannot be read: \(error.localizedDescription)")
        }
    }
}

/// How one service tokenizes some texts.
struct TestReport: Encodable, Sendable {
    static let builtIn = [
        "Hello, world!", "The quick brown fox jumps over the lazy dog.", "naïve 漢字 → 3.14 🙂",
    ]

    struct Text: Encodable {
        var text: String
        var count: Int
        var estimate: Int
        var tokens: [UInt32]
    }

    var name: String
    var model: String?
    var texts: [Text] = []
    var error: String?

    init(of texts: [String], by service: TokenizerService) async {
        name = service.machine.name
        do throws(CommandError) {
            let place = try await service.reach()
            for text in texts { try await add(text, service, place) }
        } catch {
            self.error = error.description
        }
    }

    private struct Tokenized: Decodable {
        var tokens: [UInt32]
        var model: String
    }

    private struct Counted: Decodable { var count: Int }

    private mutating func add(_ text: String, _ service: TokenizerService, _ place: HTTP.Place)
        async throws(CommandError)
    {
        let (tokenize, count): (Data, Data)
        do {
            tokenize = try JSONSerialization.data(withJSONObject: ["prompt": text, "add_special_tokens": false])
            count = try JSONSerialization.data(withJSONObject: ["text": text])
        } catch {
            throw CommandError("The text cannot be written as JSON.")
        }
        let limit = Duration.seconds(30)
        let tokenized: Tokenized = try await service.ask("/tokenize", tokenize, at: place, limit: limit)
        let counted: Counted = try await service.ask("/count", count, at: place, limit: limit)
        model = tokenized.model
        texts.append(
            Text(text: text, count: counted.count, estimate: (text.utf8.count + 3) / 4, tokens: tokenized.tokens))
        guard counted.count == tokenized.tokens.count else {
            throw CommandError("It counts \(counted.count) tokens and gives \(tokenized.tokens.count) ids.")
        }
    }

    func text(isNamed: Bool) -> String {
        // Before the texts, whose characters may be of any width.
        let rows =
            [("TOKENS", "ESTIMATE", "IDS", "TEXT")]
            + texts.map { ("\($0.count)", "\($0.estimate)", Self.shown($0.tokens), Self.line($0.text)) }
        let width = rows.map(\.2.count).max() ?? 0
        let lines = rows.map {
            "\($0.0.padding(to: 6, left: true))  \($0.1.padding(to: 8, left: true))  \($0.2.padding(to: width))  \($0.3)"
        }
        return (["\(isNamed ? name + ": " : "")model \(model ?? "")"] + lines).joined(separator: "\n")
    }

    private static func line(_ text: String) -> String {
        let flat = text.prefix(48).map { $0.isNewline || $0 == "\t" ? " " : $0 }
        return String(flat) + (text.count > 48 ? "…" : "")
    }

    private static func shown(_ tokens: [UInt32]) -> String {
        tokens.prefix(8).map(String.init).joined(separator: " ") + (tokens.count > 8 ? " …" : "")
    }
}
