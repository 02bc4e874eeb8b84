import GotoniEngines

/// The tokens that a prompt will have behind this one when a client goes on with the answer.
///
/// The reader of bodies makes of a prompt one run of bytes, and of 4 bytes a token. So the tokens behind are those of
/// the last bytes of this prompt, then what the reader writes for a message of the assistant, then the answer's text.
enum Continuation {
    /// `tail` are the last tokens of the prompt, the very last one padded with zeros. Uses `reader`, whose tokens are
    /// then others. Nil where no client goes on with an answer.
    static func tokens(
        behind tail: [UInt32], endpoint: Endpoint, answer: String, _ reader: BodyReader
    ) -> [UInt32]? {
        var bytes = Self.bytes(tail)
        switch endpoint {
        case .chat:
            // The answer is ASCII without anything to escape.
            let message = Array(#"{"messages":[{"role":"assistant","content":"\#(answer)"}]}"#.utf8)
            guard (try? message.withUnsafeBytes { try reader.read($0, .chat) }) != nil else { return nil }
            bytes += Self.bytes(reader.tokens)
        case .completions, .generate:
            bytes += Array(answer.utf8)
        case .responses, .embeddings:
            return nil
        }
        return stride(from: 0, to: bytes.count - bytes.count % 4, by: 4).map { first in
            bytes[first..<first + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) }
        }
    }

    /// Of a run of tokens, without the zeros at its end.
    private static func bytes(_ tokens: some Collection<UInt32>) -> [UInt8] {
        var bytes = tokens.flatMap { token in (0..<4).map { UInt8(truncatingIfNeeded: token >> (8 * $0)) } }
        for _ in 0..<3 where bytes.last == 0 { bytes.removeLast() }
        return bytes
    }
}
