/// Why there is no tokenizer, or no tokens.
public enum TokenizerError: UInt8, Error, CaseIterable, Sendable {
    // Of a text.
    case utf8
    case tooLong
    case pattern
    // Of both.
    case memory
    // Of a file that is not what it should be.
    case notJSON, vocabularySize, mergeCount, addedTokens, noModel, noVocabulary, vocabularyID, merge, stepCount,
        postProcessorToken, firstToken, ranks, tekkenSizes
    // Of a model that cannot be followed exactly here.
    case otherModel, dropout, wordEnds, missingByte, singleWord, normalizer, notByteLevel, afterByteLevel, preTokenizer,
        patternKind, patternSyntax, emptyMatch, postProcessor, repeatedPrompt, noPrompt

    /// What the caller can do about it.
    public enum Kind: Int32, Sendable {
        /// The file is not what it should be.
        case format = 1
        /// A model that this tokenizer cannot follow exactly; `gotoni-tokenizer` can.
        case unsupported = 2
        /// The text is not UTF-8.
        case utf8 = 3
        /// A text, or one word of it, is longer than the limits of `Tokenizer`.
        case tooLong = 4
        /// A pattern needs more steps or memory for this text than it may have.
        case pattern = 5
        case memory = 6
    }

    /// The C library's status is the negative of its raw value.
    public var kind: Kind {
        switch self {
        case .utf8: .utf8
        case .tooLong: .tooLong
        case .pattern: .pattern
        case .memory: .memory
        case .notJSON, .vocabularySize, .mergeCount, .addedTokens, .noModel, .noVocabulary, .vocabularyID, .merge,
            .stepCount, .postProcessorToken, .firstToken, .ranks, .tekkenSizes:
            .format
        case .otherModel, .dropout, .wordEnds, .missingByte, .singleWord, .normalizer, .notByteLevel, .afterByteLevel,
            .preTokenizer, .patternKind, .patternSyntax, .emptyMatch, .postProcessor, .repeatedPrompt, .noPrompt:
            .unsupported
        }
    }

    /// In one sentence.
    public var text: StaticString {
        switch self {
        case .utf8: "the text is not valid UTF-8"
        case .tooLong: "the text, or one word of it, is too long"
        case .pattern: "the tokenizer's pattern needs too many steps for this text"
        case .memory: "the system gave no memory"
        case .notJSON: "the file is no JSON object"
        case .vocabularySize: "the vocabulary is too large"
        case .mergeCount: "too many merges"
        case .addedTokens: "the added tokens are too many, too long or empty"
        case .noModel: "tokenizer.json has no model"
        case .noVocabulary: "tokenizer.json has no vocabulary"
        case .vocabularyID: "an id of the vocabulary is no number"
        case .merge: "a merge is not of two tokens of the vocabulary"
        case .stepCount: "the pre-tokenizer has too many steps"
        case .postProcessorToken: "the post-processor names an unknown token"
        case .firstToken: "tokenizer_config.json wants a token that it does not name"
        case .ranks: "a line is not a token in base64 and its rank"
        case .tekkenSizes: "tekken.json has no sizes"
        case .otherModel: "the model is not BPE"
        case .dropout: "the model has dropout"
        case .wordEnds: "the model marks the ends of words: it is not byte-level"
        case .missingByte: "the vocabulary has no token for some byte: it is not byte-level"
        case .singleWord: "an added token is found as a whole word only"
        case .normalizer: "the normalizer is of an unknown kind"
        case .notByteLevel: "the pre-tokenizer is not byte-level"
        case .afterByteLevel: "the pre-tokenizer goes on behind its byte level"
        case .preTokenizer: "the pre-tokenizer is of an unknown kind"
        case .patternKind: "the pattern of the pre-tokenizer is of an unknown kind"
        case .patternSyntax: "the pattern of the pre-tokenizer is not one that libpcre2 reads"
        case .emptyMatch: "the pattern of the pre-tokenizer matches where there is nothing"
        case .postProcessor: "the post-processor is of an unknown kind"
        case .repeatedPrompt: "the post-processor repeats the prompt"
        case .noPrompt: "the post-processor leaves the prompt out"
        }
    }
}
