internal import CPlatform
internal import CSimdjson
internal import GotoniCore

/// A model's tokenizer: text to exactly the ids that Hugging Face's `tokenizers` gives, for byte-level BPE (GPT-2, Llama 3,
/// Qwen, DeepSeek, Mistral's tekken and their kin). Any thread.
///
/// Special tokens are recognised in the text, as engines do with a rendered prompt. What is memorised (words, messages)
/// never changes a result. A model that would need more than is known here is refused when it is read.
public final class Tokenizer: @unchecked Sendable {
    /// Longest text in bytes, and longest run without a place to cut: nothing a model could read. A word of that length
    /// takes some 0.1 s.
    public static let longestText = 1 << 28
    public static let longestWord = 1 << 18
    /// Most encoders that are kept; each has 2 MiB for words.
    private static let mostIdle = 16

    public static let defaultCacheBytes = 64 << 20

    /// How the model's conversations are rendered; nil: in no way that is known here.
    public let template: ChatTemplate?
    private let model: TokenizerModel
    private let gap: Pattern
    private let sections: Locked<SectionCache>
    private let idle: Locked<IdleEncoders>

    private struct IdleEncoders: ~Copyable {
        var encoders: [Encoder] = []
    }

    /// What a vocabulary is written in.
    public enum Format: Sendable {
        /// Hugging Face's `tokenizer.json`.
        case huggingFace
        /// Mistral's `tekken.json`.
        case tekken
        /// Qwen's `qwen.tiktoken`.
        case qwenTiktoken
    }

    /// `file`: the vocabulary, as a whole. `config`: the `tokenizer_config.json` beside it, if there is one; it may have the
    /// chat template. `template`: that of a `chat_template.jinja`, which counts more. `cacheBytes`: most memory for messages
    /// lately seen. Errors: format, unsupported, memory.
    public convenience init(
        _ file: Span<UInt8>, _ format: Format, config: Span<UInt8>? = nil, template: Span<UInt8>? = nil,
        cacheBytes: Int = defaultCacheBytes
    ) throws(TokenizerError) {
        let model = try file.withUnsafeBufferPointer { (file) throws(TokenizerError) in
            switch format {
            case .huggingFace:
                if let config {
                    try config.withUnsafeBufferPointer { (config) throws(TokenizerError) in
                        try TokenizerFile.read(file, config: config)
                    }
                } else {
                    try TokenizerFile.read(file, config: nil)
                }
            case .tekken: try RankFiles.tekken(file)
            case .qwenTiktoken: try RankFiles.qwen(file)
            }
        }
        var known = try config?.withUnsafeBufferPointer { (config) throws(TokenizerError) in
            try TokenizerFile.template(config)
        }
        if let template { known = template.withUnsafeBufferPointer { ChatTemplate.recognize($0) } }
        try self.init(model, known ?? nil, cacheBytes: cacheBytes)
    }

    private init(_ model: consuming TokenizerModel, _ template: ChatTemplate?, cacheBytes: Int) throws(TokenizerError) {
        self.template = template
        self.model = model
        gap = try Pattern()
        let cache = try SectionCache.make(budget: cacheBytes)
        do throws(RouterError) {
            let empty = IdleEncoders()
            idle = try Locked(empty)
            sections = try Locked(cache)
        } catch {
            throw .memory
        }
    }

    /// Appends the tokens of `text`. `addSpecialTokens`: with what the model wants around a prompt, its first token mostly.
    /// Errors: utf8, tooLong, pattern, memory; then nothing is appended.
    public func encode(
        _ text: Span<UInt8>, addSpecialTokens: Bool, into ids: inout [UInt32]
    ) throws(TokenizerError) {
        try withTokens(text, addSpecialTokens: addSpecialTokens) { (tokens) throws(TokenizerError) in
            tokens.withUnsafeBufferPointer { ids.append(contentsOf: $0) }
        }
    }

    /// Gives the tokens of `text` to `use` without a copy. Errors: as `encode`.
    public func withTokens<Result>(
        _ text: Span<UInt8>, addSpecialTokens: Bool, _ use: (Span<UInt32>) throws(TokenizerError) -> Result
    ) throws(TokenizerError) -> Result {
        guard text.count <= Self.longestText else { throw .tooLong }
        let encoder = try takeEncoder()
        defer { giveBack(encoder) }
        try text.withUnsafeBufferPointer { (text) throws(TokenizerError) in
            guard gotoni_json_is_utf8(text.baseAddress, text.count) else { throw .utf8 }
            try encoder.encode(text, model, gap, sections, addSpecialTokens: addSpecialTokens)
        }
        return try use(UnsafeBufferPointer(encoder.out.elements).span)
    }

    /// The id of a token by its bytes or, of a special one, its text; nil: there is none.
    public func id(of piece: Span<UInt8>) -> UInt32? {
        piece.withUnsafeBufferPointer { model.pieces.id(of: $0) }
    }

    public var vocabularySize: Int { model.pieces.count }

    /// Of messages lately seen.
    public struct CacheStatistics: Sendable, Equatable {
        public var entries = 0
        public var bytes = 0
        public var hits: UInt64 = 0
        public var misses: UInt64 = 0
    }

    public var cacheStatistics: CacheStatistics {
        sections.withLock {
            CacheStatistics(entries: $0.count, bytes: $0.bytes, hits: $0.hits, misses: $0.misses)
        }
    }

    private func takeEncoder() throws(TokenizerError) -> Encoder {
        if let encoder = idle.withLock({ $0.encoders.popLast() }) { return encoder }
        return try Encoder()
    }

    private func giveBack(_ encoder: Encoder) {
        idle.withLock { idle in
            if idle.encoders.count < Self.mostIdle { idle.encoders.append(encoder) }
        }
    }
}
