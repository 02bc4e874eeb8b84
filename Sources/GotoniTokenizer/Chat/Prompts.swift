internal import GotoniCore

/// How near our tokens are to the engine's.
public enum Exactness: Sendable, Equatable {
    /// The same.
    case exact
    /// Those of the texts in it, but not of what stands around them.
    case approximate
}

extension Tokenizer {
    /// Gives the tokens of a prompt as `BodyReader` writes it: a text, or a conversation, which is rendered as `template`
    /// has it. Nil: it has images or the like, whose tokens only an engine knows. Errors: as `encode`.
    ///
    /// A conversation that the template cannot render here, or whose template is unknown, is written as its texts.
    public func withPrompt<Result>(
        _ prompt: Span<UInt8>, isConversation: Bool, thinking: ChatTemplate.Thinking,
        _ use: (Span<UInt32>, Exactness) throws(TokenizerError) -> Result
    ) throws(TokenizerError) -> Result? {
        guard isConversation else {
            // A mark is there only where something is that is no text.
            guard !prompt.withUnsafeBufferPointer({ $0.contains(Conversation.mark) }) else { return nil }
            return try withTokens(prompt, addSpecialTokens: true) { (tokens) throws(TokenizerError) in
                try use(tokens, .exact)
            }
        }
        var rendered: List<UInt8> = try List(capacity: prompt.count + prompt.count / 4 + 256)
        let exactness = try prompt.withUnsafeBufferPointer { (text) throws(TokenizerError) -> Exactness? in
            let conversation = Conversation(text)
            guard !conversation.hasMedia else { return nil }
            if let template, try template.render(conversation, thinking, into: &rendered) { return .exact }
            try Self.writeTexts(text, into: &rendered)
            return .approximate
        }
        guard let exactness else { return nil }
        return try withTokens(UnsafeBufferPointer(rendered.elements).span, addSpecialTokens: false) {
            (tokens) throws(TokenizerError) in
            try use(tokens, exactness)
        }
    }

    /// Each part on lines of its own: what a conversation that goes on begins with does not change.
    private static func writeTexts(_ text: Bytes, into out: inout List<UInt8>) throws(TokenizerError) {
        var isKind = false
        for byte in text {
            if isKind {
                isKind = false
                if out.count > 0 { try out.append(UInt8(ascii: "\n")) }
            } else if byte == Conversation.mark {
                isKind = true
            } else {
                try out.append(byte)
            }
        }
    }
}
