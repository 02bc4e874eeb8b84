/// Why there is no tokenizer, or no tokens.
public enum TokenizerError: Error, Equatable, Sendable {
    /// The file is not what it should be.
    case format(StaticString)
    /// A model that this tokenizer cannot follow exactly; `gotoni-tokenizer` can.
    case unsupported(StaticString)
    /// The text is not UTF-8.
    case utf8
    /// A text, or one word of it, is longer than the limits of `Tokenizer`.
    case tooLong
    /// A pattern needs more steps or memory for this text than it may have.
    case pattern
    case memory

    /// In one sentence.
    public var text: StaticString {
        switch self {
        case .format(let text), .unsupported(let text): text
        case .utf8: "the text is not valid UTF-8"
        case .tooLong: "the text, or one word of it, is too long"
        case .pattern: "the tokenizer's pattern needs too many steps for this text"
        case .memory: "the system gave no memory"
        }
    }

    public static func == (a: TokenizerError, b: TokenizerError) -> Bool { a.code == b.code }

    /// The error without a text of its own that has this code.
    public static func withCode(_ code: Int32) -> TokenizerError? {
        [.utf8, .tooLong, .pattern, .memory].first { $0.code == code }
    }

    /// The C library's status is its negative.
    public var code: Int32 {
        switch self {
        case .format: 1
        case .unsupported: 2
        case .utf8: 3
        case .tooLong: 4
        case .pattern: 5
        case .memory: 6
        }
    }
}
