import FoundationEssentials
import GotoniEngines
import NIOCore

/// What a request asks for.
struct Question {
    var endpoint: Endpoint
    var facts: BodyFacts
    /// Named by the client; nil: none.
    var model: String?
    /// Answers to each prompt, and prompts in the body.
    var samples = 1
    var prompts: Int { facts.sequences }
    var tool: ToolCall?
    /// Of one request.
    private static let mostPrompts = 2_048

    /// Embeddings in base64, as OpenAI's client wants them.
    var wantsBase64 = false

    /// Reads a body; its tokens are then those of `reader`.
    init(_ body: ByteBuffer, _ endpoint: Endpoint, _ reader: BodyReader) throws(Refusal) {
        self.endpoint = endpoint
        do {
            facts = try body.withUnsafeReadableBytes { bytes throws(BodyError) in try reader.read(bytes, endpoint) }
        } catch {
            throw Refusal("\(error.text)")
        }
        guard facts.sequences > 0, facts.promptTokens > 0 else {
            throw Refusal("the request has no prompt")
        }
        guard facts.sequences <= Self.mostPrompts else {
            throw Refusal("more than \(Self.mostPrompts) prompts in one request")
        }
        model = reader.model()
        try readRest(body)
    }

    /// Keys that a router does not care about, so that its reader does not read them. Only bodies that have them are
    /// read a second time.
    private mutating func readRest(_ body: ByteBuffer) throws(Refusal) {
        struct Rest: Decodable {
            var n: Int?
            var tools: [Tool]?
            var tool_choice: ToolChoice?
            var encoding_format: String?
        }
        let keys: [String]
        switch endpoint {
        case .chat: keys = ["\"n\"", "\"tool_choice\""]
        case .completions: keys = ["\"n\""]
        case .embeddings: keys = ["\"encoding_format\""]
        case .responses, .generate: keys = []
        }
        guard keys.contains(where: { Self.has(body, $0) }) else { return }
        let rest: Rest
        do {
            rest = try JSONDecoder().decode(Rest.self, from: Data(body.readableBytesView))
        } catch {
            throw Refusal("n, tools, tool_choice or encoding_format is not of the right kind")
        }
        samples = rest.n ?? 1
        guard (1...16).contains(samples) else { throw Refusal("n must be 1 to 16") }
        wantsBase64 = rest.encoding_format == "base64"
        tool = try ToolCall(rest.tools ?? [], rest.tool_choice)
    }

    private static func has(_ body: ByteBuffer, _ text: String) -> Bool {
        body.withUnsafeReadableBytes { bytes in
            let wanted = Array(text.utf8)
            var rest = bytes[...]
            while let quote = rest.firstIndex(of: UInt8(ascii: "\"")) {
                if rest[quote...].starts(with: wanted) { return true }
                rest = rest[(quote + 1)...]
            }
            return false
        }
    }
}
