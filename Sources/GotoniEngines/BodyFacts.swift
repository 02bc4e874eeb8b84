/// What a router needs to know of a request's body besides its tokens.
public struct BodyFacts: Equatable, Sendable {
    /// Of the model, the adapter and the cache salt: prompts of different namespaces share no prefix.
    public var namespace: UInt64 = 0
    /// Of all sequences together.
    public var promptTokens: Int = 0
    /// The client sent token ids, so `promptTokens` is no estimate.
    public var isExact: Bool = false
    /// Of the session the client names, else of its user; 0: neither.
    public var sessionKey: UInt64 = 0
    /// As vLLM has it: lower is earlier; 0 where the client says nothing.
    public var priority: Int = 0
    public var streams: Bool = false
    /// The client asks for a last event with the usage (`stream_options.include_usage`).
    public var wantsUsage: Bool = false
    /// Most tokens of the answer; nil: the client sets no bound.
    public var maxOutputTokens: Int?
    /// Prompts in the batch, 1 for an ordinary request, 0 for a body without a prompt.
    public var sequences: Int = 0
    /// The prompt is messages, which the engine's chat template renders.
    public var isConversation: Bool = false
    public var templateWishes = TemplateWishes.nothing

    public init() {}
}

/// What a body asks of the chat template besides the messages.
public enum TemplateWishes: UInt8, Sendable {
    case nothing
    /// `chat_template_kwargs.enable_thinking`.
    case thinking, noThinking
    /// Documents, a template of its own, no generation prompt.
    case more
}

/// Why a body is refused. Each is an answer 400 (`tooLarge` 413, `memory` 503).
public enum BodyError: UInt8, Error, Sendable, CaseIterable {
    case json = 1
    case utf8 = 2
    case depth = 3
    case tokenID = 4
    case tooLarge = 5
    case memory = 6

    /// What is wrong with the body, in one sentence for the client.
    public var text: StaticString {
        switch self {
        case .json: "the request body is not a valid JSON object"
        case .utf8: "the request body is not valid UTF-8"
        case .depth: "the request body is nested deeper than 1024 levels"
        case .tokenID: "a token id in the prompt is not an integer between 0 and 4294967295"
        case .tooLarge: "the request body is larger than 1 GiB"
        case .memory: "the system gave no memory to read the request body"
        }
    }
}
