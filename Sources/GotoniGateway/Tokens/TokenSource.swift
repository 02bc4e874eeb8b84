import GotoniCore
import GotoniEngines
public import GotoniTokenizer

/// Where the tokens of prompts come from. Where none of these can say, they are estimated: four bytes of UTF-8 are one.
public enum TokenSource: Sendable, Equatable, CustomStringConvertible {
    /// The model's own tokenizer, in this process. `path`: where it was read.
    case model(Tokenizer, path: String)
    /// `gotoni-tokenizer` on a Unix socket, or whoever answers vLLM's `/tokenize` there.
    case service(socket: String)
    /// The engines' own `/tokenize`.
    case engine

    /// No question to somebody else.
    var isHere: Bool {
        if case .model = self { true } else { false }
    }

    public static func == (a: TokenSource, b: TokenSource) -> Bool { a.description == b.description }

    /// As it is given to `--tokenizer`.
    public var description: String {
        switch self {
        case .model(_, let path): path
        case .service(let socket): "unix:\(socket)"
        case .engine: "engine"
        }
    }
}

/// Who said what the tokens of a prompt are.
enum TokenOrigin: String, Sendable, CaseIterable {
    /// The client sent ids.
    case client
    case model, service, engine
    /// The model's tokenizer, but not as the engine's template has the conversation.
    case approximate
    case estimate

    /// They are the engine's own.
    var isExact: Bool {
        switch self {
        case .client, .model, .service, .engine: true
        case .approximate, .estimate: false
        }
    }
}

struct PromptTokens: Sendable {
    var ids: [UInt32]
    var origin: TokenOrigin

    /// The tokens of a prompt: those that were found, or else what `reader` has.
    static func of<Result>(
        _ found: PromptTokens?, _ reader: BodyReader, _ use: (Span<UInt32>) throws(RouterError) -> Result
    ) throws(RouterError) -> Result {
        if let found { return try use(found.ids.span) }
        return try use(reader.tokens.span)
    }
}
