import GotoniEngines
import NIOCore

/// The answer to one request that generates: token by token as events, or as a whole when it is complete. What the five
/// endpoints have in common; their words are in `Answer+OpenAI`, `Answer+Responses` and `Answer+Native`.
struct Answer {
    struct Choice {
        var filler: Filler
        /// Tokens there will be, and those that were sent.
        var tokens: Int
        var sent = 0
        /// `/generate` sends all of the text with every token.
        var text = ""
        /// Around a token's text in its event.
        var before = ByteBuffer()
        var after = ByteBuffer()
    }

    let question: Question
    let id: String
    /// Seconds since 1970.
    let created: Int
    /// As a JSON string.
    let model: String
    let promptTokens: Int
    /// Found in the KV cache; known with the first token.
    var cachedTokens = 0
    var choices: [Choice]
    var stream: EventStream
    /// Events of `/v1/responses` are numbered.
    var sequence = 0
    /// Seconds from the request's arrival to now, for `/generate`.
    var latency = 0.0
    private var open: Int

    init(_ question: Question, number: Int, created: Int, model: String, choices: [Choice], isChunked: Bool) {
        self.question = question
        let kind =
            switch question.endpoint {
            case .chat: "chatcmpl"
            case .completions: "cmpl"
            case .responses: "resp"
            case .embeddings: "embd"
            case .generate: "gen"
            }
        self.id = "\(kind)-\(String(number, radix: 16))"
        self.created = created
        self.model = quoted(model)
        self.promptTokens = question.facts.promptTokens
        self.choices = choices
        self.stream = EventStream(isChunked: isChunked)
        self.open = choices.count
        for index in choices.indices { (self.choices[index].before, self.choices[index].after) = around(index) }
    }

    /// All choices are complete.
    var isComplete: Bool { open == 0 }
    var outputTokens: Int { question.endpoint == .embeddings ? 0 : choices.reduce(0) { $0 + $1.tokens } }

    static let contentType = "text/event-stream; charset=utf-8"

    // MARK: As events

    /// The next token of a choice.
    mutating func sendToken(_ index: Int) {
        if choices[index].sent == 0 { begin(index) }
        choices[index].sent += 1
        let number = choices[index].sent
        switch question.endpoint {
        case .chat where question.tool != nil: sendToolPiece(index, number)
        case .chat, .completions:
            stream.add(choices[index].before, choices[index].filler.piece(number), choices[index].after)
        case .responses: sendResponseToken(index, number)
        case .generate: sendNativeToken(index, number)
        case .embeddings: break
        }
    }

    /// A choice is complete, all its tokens were sent.
    mutating func endChoice(_ index: Int) {
        open -= 1
        switch question.endpoint {
        case .chat, .completions: endOpenAIChoice(index)
        case .responses, .generate, .embeddings: break
        }
        guard isComplete else { return }
        switch question.endpoint {
        case .chat, .completions:
            if question.facts.wantsUsage { sendUsage() }
            stream.add("[DONE]")
        case .responses: endResponse()
        case .generate: stream.add("[DONE]")
        case .embeddings: break
        }
        stream.close()
    }

    /// A choice is complete, and the client waits for the whole.
    mutating func completeChoice() { open -= 1 }

    private mutating func begin(_ index: Int) {
        switch question.endpoint {
        case .chat: sendRole(index)
        case .responses: beginResponse()
        case .completions, .generate, .embeddings: break
        }
    }

    private func around(_ index: Int) -> (ByteBuffer, ByteBuffer) {
        switch question.endpoint {
        case .chat, .completions: aroundOpenAIToken(index)
        case .responses, .generate, .embeddings: (ByteBuffer(), ByteBuffer())
        }
    }

    // MARK: As a whole

    var whole: String {
        switch question.endpoint {
        case .chat: wholeChat
        case .completions: wholeCompletion
        case .responses: response(isComplete: true)
        case .generate: wholeNative
        case .embeddings: wholeEmbeddings
        }
    }

    // MARK: Shared

    /// The bound of the client was reached; else the model had nothing more to say.
    func isCutShort(_ index: Int) -> Bool {
        if let tool = question.tool { return choices[index].tokens < tool.pieces.count }
        return question.facts.maxOutputTokens != nil
    }

    func finishReason(_ index: Int) -> String {
        if isCutShort(index) { return "length" }
        return question.tool == nil ? "stop" : "tool_calls"
    }

    var usage: String {
        #"{"prompt_tokens":\#(promptTokens),"total_tokens":\#(promptTokens + outputTokens),"completion_tokens":"#
            + #"\#(outputTokens),"prompt_tokens_details":{"cached_tokens":\#(cachedTokens)},"reasoning_tokens":0}"#
    }
}
