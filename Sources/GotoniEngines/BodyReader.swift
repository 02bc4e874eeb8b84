internal import CSimdjson
internal import GotoniCore

/// Reads the bodies of requests: what a router needs to know, and the prompt as tokens.
///
/// Without a tokenizer 4 bytes of UTF-8 are one token, whose id is those bytes, little-endian, the last padded with
/// zeros: counts are estimates, yet equal prompts have equal tokens, and a conversation that goes on begins with the
/// tokens it had (all but a padded last one). A conversation is written as one run of bytes: tools as raw JSON,
/// instructions, then the messages, each with its role, name, call id, reasoning, text and tool calls as raw JSON, each
/// part behind a byte that UTF-8 never has (`CSimdjson/writer.hpp` lists them). An image, a sound or a file is a digest
/// of its JSON that counts 256 tokens, however long its base64 is. Token ids are taken as they are. The prompts of a
/// batch follow each other in order, each from a whole token on.
///
/// The body must be one JSON object. All of its structure and numbers are checked, escapes only in the strings that are
/// read. Of a key that is there twice the last counts, as in Python. A surrogate without its other half becomes U+FFFD.
/// A prompt that is missing or of a shape no API has is no error: the engine answers it in its own words.
///
/// Not thread-safe: one for each event loop. It keeps its memory from call to call, at most some 10 MiB; what a body of
/// more than 1 MiB needed beyond is given back by the next call.
public final class BodyReader {
    private let reader: OpaquePointer?
    private var body = gotoni_json_body()

    public init() { reader = gotoni_json_create() }

    deinit { gotoni_json_destroy(reader) }

    /// Reads one body of at most 1 GiB, which is only borrowed.
    public func read(_ body: UnsafeRawBufferPointer, _ endpoint: Endpoint) throws(BodyError) -> BodyFacts {
        self.body = gotoni_json_body()
        guard let reader else { throw .memory }
        let bytes = body.assumingMemoryBound(to: UInt8.self)
        let status = gotoni_json_read(reader, bytes.baseAddress, bytes.count, UInt32(endpoint.rawValue), &self.body)
        guard status == 0 else { throw BodyError(rawValue: UInt8(clamping: status)) ?? .json }

        var facts = BodyFacts()
        let (model, adapter, salt) = (buffer(self.body.model), buffer(self.body.adapter), buffer(self.body.salt))
        facts.namespace = Key.namespace(model: model.bytes, adapter: adapter.bytes, salt: salt.bytes)
        facts.promptTokens = self.body.token_count
        facts.isExact = self.body.exact
        if self.body.session.size > 0 { facts.sessionKey = max(Key.of(buffer(self.body.session).bytes), 1) }
        facts.priority = Int(self.body.priority)
        facts.streams = self.body.streams
        facts.wantsUsage = self.body.wants_usage
        if self.body.max_output_tokens >= 0 { facts.maxOutputTokens = Int(self.body.max_output_tokens) }
        facts.sequences = self.body.sequences
        facts.isConversation = self.body.conversation
        facts.templateWishes = TemplateWishes(rawValue: self.body.template_wishes) ?? .more
        return facts
    }

    /// Reads what vLLM's `/tokenize` and its like answer: `tokens`, ids alone. False: there are none.
    public func readTokens(ofAnswer answer: UnsafeRawBufferPointer) -> Bool {
        body = gotoni_json_body()
        let bytes = answer.assumingMemoryBound(to: UInt8.self)
        guard let reader,
            gotoni_json_read(reader, bytes.baseAddress, bytes.count, UInt32(GOTONI_JSON_TOKENIZED), &body) == 0
        else { return false }
        return body.exact
    }

    /// The prompt of the body last read as token ids; empty after an error. Valid until the next read.
    public var tokens: UnsafeBufferPointer<UInt32> { .init(start: body.tokens, count: body.token_count) }

    /// The prompt of the body last read as it is written in `tokens`, without the zeros behind it: a text, or parts behind
    /// marks. Empty if there are several, or if they are ids. Valid until the next read.
    public var prompt: UnsafeBufferPointer<UInt8> { .init(start: body.prompt.bytes, count: body.prompt.size) }

    /// The prompt of the body last read as token ids; empty after an error.
    public func withTokens<Result: ~Copyable, Failure: Error>(
        _ use: (Span<UInt32>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try use(tokens.span)
    }

    /// The model named in the body last read, at most its first 256 bytes, for logs; nil: none.
    public func model() -> String? {
        body.model.size > 0 ? String(decoding: buffer(body.model).prefix(256), as: UTF8.self) : nil
    }

    private func buffer(_ text: gotoni_json_text) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: text.bytes, count: text.size)
    }
}
