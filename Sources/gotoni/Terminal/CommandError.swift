import ArgumentParser

/// What went wrong, in a sentence, the last lines of who said so, and the status that a command ends with.
struct CommandError: Error, Equatable, CustomStringConvertible {
    var sentence: String
    var lines: [String] = []
    var exitCode: Int32 = 1

    init(_ sentence: String, lines: String = "", exitCode: Int32 = 1) {
        self.sentence = sentence
        self.lines = lines.split(separator: "\n").suffix(10).map(String.init)
        self.exitCode = exitCode
    }

    var description: String { ([sentence] + lines.map { "  " + $0 }).joined(separator: "\n") }

    /// Ends a command that did `count` things, after what went wrong was said: with 7 if some went well.
    static func finish(_ failures: [CommandError], of count: Int) throws {
        guard let first = failures.first else { return }
        throw ExitCode(failures.count < count ? 7 : first.exitCode)
    }
}
