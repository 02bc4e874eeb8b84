/// What went wrong on a machine, in a sentence, and the last lines of what said so there.
struct TokenizerError: Error, Equatable, CustomStringConvertible {
    static let nobodyAnswers = TokenizerError(
        "Nobody answers on the socket; gotoni tokenizer start starts the service.")

    var sentence: String
    var lines: [String] = []
    var exitCode: Int32 = 1

    init(_ sentence: String, lines: String = "", exitCode: Int32 = 1) {
        self.sentence = sentence
        self.lines = lines.split(separator: "\n").suffix(10).map(String.init)
        self.exitCode = exitCode
    }

    var description: String { ([sentence] + lines.map { "  " + $0 }).joined(separator: "\n") }
}
