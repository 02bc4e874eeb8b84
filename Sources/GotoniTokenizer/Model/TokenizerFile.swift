internal import GotoniCore

/// Reads Hugging Face's `tokenizer.json`: byte-level BPE alone. Whatever could change an id and is not known is an error.
struct TokenizerFile {
    private let json: JSONDocument
    private let alphabet = ByteAlphabet()

    static func read(_ bytes: Bytes, config: Bytes?) throws(TokenizerError) -> TokenizerModel {
        let file = TokenizerFile(json: try JSONDocument(bytes))
        var model = try file.model()
        if let config { try file.apply(config, to: &model) }
        return model
    }

    private func model() throws(TokenizerError) -> TokenizerModel {
        let description = json.field(json.root, "model")
        guard json.kind(description) == .object else { throw .noModel }
        let type = json.field(description, "type")
        guard !json.isThere(type) || json.string(type) == "BPE" else {
            throw .otherModel
        }
        guard !json.isThere(json.field(description, "dropout")) else { throw .dropout }
        for name: StaticString in ["continuing_subword_prefix", "end_of_word_suffix"] {
            guard json.string(json.field(description, name)).isEmpty else {
                throw .wordEnds
            }
        }
        var texts = try PieceTable.make()
        try json.fields(json.field(description, "vocab")) { (text, id) throws(TokenizerError) in
            guard let id = json.count(id), id < Int(UInt32.max) else {
                throw .vocabularyID
            }
            try texts.insert(text, UInt32(id))
        }
        guard texts.count > 0 else { throw .noVocabulary }

        var pieces = try PieceTable.make()
        var words = try PieceTable.make()
        var decoded: [UInt8] = []
        try texts.forEach { (text, id) throws(TokenizerError) in
            decoded.removeAll(keepingCapacity: true)
            let isWord = alphabet.decode(text, into: &decoded)
            if !isWord { decoded = Array(text) }
            try decoded.withUnsafeBufferPointer { (bytes) throws(TokenizerError) in
                try pieces.insert(bytes, id)
                if isWord { try words.insert(bytes, id) }
            }
        }
        let merges = try merges(json.field(description, "merges"), texts)
        let byteIDs = try TokenizerModel.byteIDs(words)
        let ignoresMerges = json.isTrue(json.field(description, "ignore_merges"))

        let normalizer = try normalizer(json.field(json.root, "normalizer"))
        let (raw, normalized) = try addedTokens(texts, normalizer, &pieces)
        var model = TokenizerModel(
            pairs: try BytePairs(merges, byteIDs: byteIDs), words: nil, pieces: pieces,
            added: try AddedTokens(raw), addedNormalized: try AddedTokens(normalized), normalizer: normalizer,
            splits: Splits(steps: []))
        if ignoresMerges { model.words = consume words }
        try preTokenizer(&model)
        try postProcessor(json.field(json.root, "post_processor"), &model)
        return model
    }

    // MARK: The model

    /// `"a b"` or `["a", "b"]`; the earlier the lower its rank.
    private func merges(_ list: JSONDocument.Value, _ texts: borrowing PieceTable) throws(TokenizerError) -> MergeTable
    {
        var pairs: [(left: UInt32, right: UInt32, id: UInt32)] = []
        var joined: [UInt8] = []
        try json.elements(list) { (element) throws(TokenizerError) in
            joined.removeAll(keepingCapacity: true)
            var cut = -1
            if json.kind(element) == .array {
                var count = 0
                json.elements(element) { part in
                    if count == 1 { cut = joined.count }
                    joined.append(contentsOf: json.string(part))
                    count += 1
                }
                guard count == 2 else { throw Self.unknownMerge }
            } else {
                for byte in json.string(element) {
                    if byte == UInt8(ascii: " ") {
                        guard cut < 0 else { throw Self.unknownMerge }
                        cut = joined.count
                    } else {
                        joined.append(byte)
                    }
                }
            }
            let pair = joined.withUnsafeBufferPointer { joined -> (left: UInt32, right: UInt32, id: UInt32)? in
                guard cut > 0, cut < joined.count, let left = texts.id(of: joined.part(0..<cut)),
                    let right = texts.id(of: joined.part(cut..<joined.count)), let id = texts.id(of: joined)
                else { return nil }
                return (left, right, id)
            }
            guard let pair else { throw Self.unknownMerge }
            pairs.append(pair)
        }
        var table = try MergeTable(capacity: pairs.count)
        for (rank, pair) in pairs.enumerated() {
            try table.insert(pair.left, pair.right, .init(rank: UInt32(rank), id: pair.id))
        }
        return table
    }

    private static let unknownMerge = TokenizerError.merge

    // MARK: Added tokens

    /// Those found in the text as it comes, and those found in normalized text.
    private func addedTokens(
        _ texts: borrowing PieceTable, _ normalizer: Normalizer?, _ pieces: inout PieceTable
    ) throws(TokenizerError) -> (raw: [AddedTokens.Token], normalized: [AddedTokens.Token]) {
        var tokens: [(token: AddedTokens.Token, isNormalized: Bool)] = []
        var places = try PieceTable.make()
        var highest: UInt32?
        try json.elements(json.field(json.root, "added_tokens")) { (entry) throws(TokenizerError) in
            guard !json.isTrue(json.field(entry, "single_word")) else { throw .singleWord }
            let content = Array(json.string(json.field(entry, "content")))
            guard !content.isEmpty else { return }
            let strips = (json.isTrue(json.field(entry, "lstrip")), json.isTrue(json.field(entry, "rstrip")))
            let isNormalized = json.isTrue(json.field(entry, "normalized"))
            try content.withUnsafeBufferPointer { (text) throws(TokenizerError) in
                var found = content
                if isNormalized, let normalizer {
                    var out: List<UInt8> = try List()
                    found = Array(try normalizer.normalize(text, into: &out))
                }
                if let place = places.id(of: text).map(Int.init) {
                    // The same again: it keeps its id, and what is said last counts.
                    tokens[place] = (.init(content: found, id: tokens[place].token.id, strips: strips), isNormalized)
                    return
                }
                // An id that the vocabulary does not give is the next free one, in the order of the list.
                let known = texts.id(of: text)
                let id = known ?? max(UInt32(texts.count), highest.map { $0 + 1 } ?? 0)
                highest = max(highest ?? 0, id)
                if known == nil { try pieces.insert(text, id) }
                try places.insert(text, UInt32(tokens.count))
                tokens.append((.init(content: found, id: id, strips: strips), isNormalized))
            }
        }
        var (raw, normalized): ([AddedTokens.Token], [AddedTokens.Token]) = ([], [])
        for (token, isNormalized) in tokens {
            if isNormalized { normalized.append(token) } else { raw.append(token) }
        }
        return (raw, normalized)
    }

    // MARK: What happens to a text

    private func normalizer(_ value: JSONDocument.Value) throws(TokenizerError) -> Normalizer? {
        guard json.isThere(value) else { return nil }
        let type = json.string(json.field(value, "type"))
        if type == "NFC" { return try Normalizer(.nfc) }
        if type == "NFD" { return try Normalizer(.nfd) }
        if type == "NFKC" { return try Normalizer(.nfkc) }
        if type == "NFKD" { return try Normalizer(.nfkd) }
        guard type == "Sequence" else { throw Self.unknownNormalizer }
        var (found, count) = (Normalizer?.none, 0)
        try json.elements(json.field(value, "normalizers")) { (element) throws(TokenizerError) in
            found = try normalizer(element)
            count += 1
        }
        guard count <= 1 else { throw Self.unknownNormalizer }
        return found
    }

    private static let unknownNormalizer = TokenizerError.normalizer

    private func preTokenizer(_ model: inout TokenizerModel) throws(TokenizerError) {
        let value = json.field(json.root, "pre_tokenizer")
        var steps: [Split] = []
        // Byte-level comes last: it turns characters into others, on which a pattern would not match.
        var isByteLevel = false
        try step(value, &steps, &isByteLevel, &model)
        guard isByteLevel else { throw .notByteLevel }
        guard steps.count <= Splits.most else { throw .stepCount }
        model.splits = Splits(steps: steps)
    }

    private func step(
        _ value: JSONDocument.Value, _ steps: inout [Split], _ isByteLevel: inout Bool, _ model: inout TokenizerModel,
        depth: Int = 0
    ) throws(TokenizerError) {
        let type = json.string(json.field(value, "type"))
        guard !isByteLevel, depth < 4 else { throw .afterByteLevel }
        if type == "Sequence" {
            var (list, level) = (steps, isByteLevel)
            var parts: [JSONDocument.Value] = []
            json.elements(json.field(value, "pretokenizers")) { parts.append($0) }
            for part in parts { try step(part, &list, &level, &model, depth: depth + 1) }
            (steps, isByteLevel) = (list, level)
        } else if type == "ByteLevel" {
            isByteLevel = true
            model.prefixesSpace = json.isTrue(json.field(value, "add_prefix_space"))
            // A space before each piece, not before the text.
            guard !model.prefixesSpace || steps.isEmpty else { throw Self.unknownStep }
            let own = json.field(value, "use_regex")
            if !json.isThere(own) || json.isTrue(own) {
                steps.append(Split(pattern: try Pattern(KnownPattern.gpt2.bytes)))
            }
        } else if type == "Digits" {
            let single = json.isTrue(json.field(value, "individual_digits"))
            // Rust's own, which are of Unicode 17: two ranges came after the patterns' Unicode 16.
            let pattern: StaticString =
                single
                ? #"[\p{N}\x{11DE0}-\x{11DE9}\x{16FF4}-\x{16FF6}]"#
                : #"[\p{N}\x{11DE0}-\x{11DE9}\x{16FF4}-\x{16FF6}]+"#
            steps.append(Split(pattern: try Pattern(pattern.bytes)))
        } else if type == "Split" {
            steps.append(try split(value))
        } else {
            throw Self.unknownStep
        }
    }

    private static let unknownStep = TokenizerError.preTokenizer

    private func split(_ value: JSONDocument.Value) throws(TokenizerError) -> Split {
        let source = json.field(value, "pattern")
        var pattern = Array(json.string(json.field(source, "Regex")))
        if pattern.isEmpty {
            for byte in json.string(json.field(source, "String")) {
                // What could mean something in a pattern means itself.
                if byte < 0x80, byte > 0x20, !(0x30...0x39).contains(byte), !(0x41...0x5A).contains(byte & 0xDF) {
                    pattern.append(UInt8(ascii: "\\"))
                }
                pattern.append(byte)
            }
        }
        guard !pattern.isEmpty else { throw Self.unknownStep }
        var split = Split(
            pattern: try pattern.withUnsafeBufferPointer { (bytes) throws(TokenizerError) in try Pattern(bytes) })
        split.inverted = json.isTrue(json.field(value, "invert"))
        let behavior = json.string(json.field(value, "behavior"))
        if behavior == "Isolated" {
            split.behavior = .isolated
        } else if behavior == "Removed" {
            split.behavior = .removed
        } else if behavior == "MergedWithPrevious" {
            split.behavior = .withPrevious
        } else if behavior == "MergedWithNext" {
            split.behavior = .withNext
        } else if behavior == "Contiguous" {
            split.behavior = .contiguous
        } else {
            throw Self.unknownStep
        }
        return split
    }

    /// What is put before and behind a prompt.
    private func postProcessor(_ value: JSONDocument.Value, _ model: inout TokenizerModel) throws(TokenizerError) {
        guard json.isThere(value) else { return }
        let type = json.string(json.field(value, "type"))
        if type == "Sequence" {
            var parts: [JSONDocument.Value] = []
            json.elements(json.field(value, "processors")) { parts.append($0) }
            for part in parts {
                guard json.kind(json.field(part, "processors")) == .nothing else { throw Self.unknownPostProcessor }
                try postProcessor(part, &model)
            }
        } else if type == "TemplateProcessing" {
            try template(value, &model)
        } else if type == "ByteLevel" {
            return
        } else {
            throw Self.unknownPostProcessor
        }
    }

    private static let unknownPostProcessor = TokenizerError.postProcessor

    private func template(_ value: JSONDocument.Value, _ model: inout TokenizerModel) throws(TokenizerError) {
        let known = json.field(value, "special_tokens")
        var (prefix, suffix): ([UInt32], [UInt32]) = ([], [])
        var isBehind = false
        try json.elements(json.field(value, "single")) { (item) throws(TokenizerError) in
            if json.isThere(json.field(item, "Sequence")) {
                guard !isBehind else { throw .repeatedPrompt }
                isBehind = true
                return
            }
            let name = Array(json.string(json.field(json.field(item, "SpecialToken"), "id")))
            var ids: [UInt32] = []
            json.fields(known) { key, token in
                guard name.withUnsafeBufferPointer({ equal(key, $0) }) else { return }
                ids = []
                json.elements(json.field(token, "ids")) { ids.append(UInt32(clamping: json.count($0) ?? -1)) }
            }
            guard !ids.isEmpty else { throw .postProcessorToken }
            if isBehind { suffix += ids } else { prefix += ids }
        }
        guard isBehind else { throw .noPrompt }
        (model.prefix, model.suffix) = (prefix, suffix)
    }

    // MARK: tokenizer_config.json

    /// The chat template it names, or the one named default of several; nil: none, or one that is not known.
    static func template(_ config: Bytes) throws(TokenizerError) -> ChatTemplate? {
        let json = try JSONDocument(config)
        var source = json.field(json.root, "chat_template")
        if json.kind(source) == .array {
            let list = source
            source = .none
            json.elements(list) { named in
                if json.string(json.field(named, "name")) == "default" { source = json.field(named, "template") }
            }
        }
        return json.kind(source) == .string ? ChatTemplate.recognize(json.string(source)) : nil
    }

    /// Classes of `transformers` that put the first token there themselves, whatever tokenizer.json says.
    private static let classesWithFirstToken: [StaticString] = [
        "LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast", "GemmaTokenizer",
        "GemmaTokenizerFast", "CohereTokenizer", "CohereTokenizerFast",
    ]

    private func apply(_ config: Bytes, to model: inout TokenizerModel) throws(TokenizerError) {
        let json = try JSONDocument(config)
        let name = json.string(json.field(json.root, "tokenizer_class"))
        guard Self.classesWithFirstToken.contains(where: { (known: StaticString) in equal(name, known.bytes) }) else {
            return
        }
        func token(_ key: StaticString) throws(TokenizerError) -> [UInt32] {
            var value = json.field(json.root, key)
            if json.kind(value) == .object { value = json.field(value, "content") }
            guard json.kind(value) == .string, let id = model.pieces.id(of: json.string(value)) else {
                throw .firstToken
            }
            return [id]
        }
        let (first, last) = (json.field(json.root, "add_bos_token"), json.field(json.root, "add_eos_token"))
        // By default these classes put the first token there.
        let wantsFirst = json.isTrue(first) || !json.isThere(first)
        model.prefix = wantsFirst ? try token("bos_token") : []
        model.suffix = json.isTrue(last) ? try token("eos_token") : []
    }
}
