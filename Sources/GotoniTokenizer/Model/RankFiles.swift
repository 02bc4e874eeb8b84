internal import GotoniCore

/// Reads vocabularies that are ranks alone: tiktoken's files, and Mistral's tekken.json. A word that is a token is that
/// token; two neighbours become one token if their bytes together are one, the lowest rank first (tiktoken, lib.rs).
enum RankFiles {
    /// Qwen's `qwen.tiktoken`: lines of a token in base64 and its rank. Its pattern and its special tokens, whose ids follow
    /// the ranks, are in Qwen's code (tokenization_qwen.py).
    static func qwen(_ file: Bytes) throws(TokenizerError) -> TokenizerModel {
        var words = try PieceTable.make()
        var piece: [UInt8] = []
        var index = 0
        var highest: UInt32 = 0
        while index < file.count {
            piece.removeAll(keepingCapacity: true)
            index = decodeBase64(file, index, into: &piece)
            guard index < file.count, file[index] == UInt8(ascii: " ") else { throw Self.notRanks }
            index += 1
            var rank = 0
            let start = index
            while index < file.count, (0x30...0x39).contains(file[index]), rank < 1 << 24 {
                rank = rank * 10 + Int(file[index] - 0x30)
                index += 1
            }
            guard index > start, rank < 1 << 24, !piece.isEmpty else { throw Self.notRanks }
            try piece.withUnsafeBufferPointer { (bytes) throws(TokenizerError) in try words.insert(bytes, UInt32(rank))
            }
            highest = max(highest, UInt32(rank))
            while index < file.count, file[index] == UInt8(ascii: "\n") || file[index] == UInt8(ascii: "\r") {
                index += 1
            }
        }
        let names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + (0..<205).map { "<|extra_\($0)|>" }
        let specials = names.enumerated().map { index, name in
            AddedTokens.Token(content: Array(name.utf8), id: highest + 1 + UInt32(index))
        }
        return try model(words, specials, KnownPattern.qwen.bytes, try Normalizer(.nfc)) { $0 }
    }

    private static let notRanks = TokenizerError.ranks

    /// Mistral's tekken.json: special tokens have the first ids, the ranks begin behind them. Special tokens are never
    /// found in a text; a template puts them there.
    static func tekken(_ file: Bytes) throws(TokenizerError) -> TokenizerModel {
        let json = try JSONDocument(file)
        let config = json.field(json.root, "config")
        guard let specialCount = json.count(json.field(config, "default_num_special_tokens")), specialCount < 1 << 20,
            let most = json.count(json.field(config, "default_vocab_size")), most > specialCount
        else { throw .tekkenSizes }
        var words = try PieceTable.make()
        var piece: [UInt8] = []
        try json.elements(json.field(json.root, "vocab")) { (entry) throws(TokenizerError) in
            guard let rank = json.count(json.field(entry, "rank")), rank < PieceTable.most else { throw Self.notRanks }
            guard rank < most - specialCount else { return }
            piece.removeAll(keepingCapacity: true)
            let text = json.string(json.field(entry, "token_bytes"))
            guard decodeBase64(text, 0, into: &piece) == text.count, !piece.isEmpty else { throw Self.notRanks }
            try piece.withUnsafeBufferPointer { (bytes) throws(TokenizerError) in
                try words.insert(bytes, UInt32(rank + specialCount))
            }
        }
        var specials: [AddedTokens.Token] = []
        try json.elements(json.field(json.root, "special_tokens")) { (entry) throws(TokenizerError) in
            guard let rank = json.count(json.field(entry, "rank")), rank < specialCount else { throw Self.notRanks }
            let content = Array(json.string(json.field(entry, "token_str")))
            if !content.isEmpty { specials.append(.init(content: content, id: UInt32(rank))) }
        }
        // The document outlives the pattern.
        let pattern = json.string(json.field(config, "pattern"))
        return try model(words, specials, pattern, nil) { $0 - UInt32(specialCount) }
    }

    private static func model(
        _ words: consuming PieceTable, _ specials: [AddedTokens.Token], _ pattern: Bytes, _ normalizer: Normalizer?,
        rank: (UInt32) -> UInt32
    ) throws(TokenizerError) -> TokenizerModel {
        let merges = try TokenizerModel.merges(of: words, rank: rank)
        let byteIDs = try TokenizerModel.byteIDs(words)
        var pieces = try PieceTable.make()
        try words.forEach { (text, id) throws(TokenizerError) in try pieces.insert(text, id) }
        for special in specials {
            try special.content.withUnsafeBufferPointer { (text) throws(TokenizerError) in
                try pieces.insert(text, special.id)
            }
        }
        return TokenizerModel(
            pairs: try BytePairs(merges, byteIDs: byteIDs), words: words, pieces: pieces,
            added: try AddedTokens(specials), addedNormalized: try AddedTokens([]), normalizer: normalizer,
            splits: Splits(steps: [Split(pattern: try Pattern(pattern))]))
    }

    /// Decodes up to the first byte that is none of base64's and returns where that is.
    private static func decodeBase64(_ text: Bytes, _ start: Int, into out: inout [UInt8]) -> Int {
        var (bits, count, index) = (UInt32(0), 0, start)
        while index < text.count {
            let value: UInt32
            switch text[index] {
            case let c where (0x41...0x5A).contains(c): value = UInt32(c - 0x41)
            case let c where (0x61...0x7A).contains(c): value = UInt32(c - 0x61 + 26)
            case let c where (0x30...0x39).contains(c): value = UInt32(c - 0x30 + 52)
            case UInt8(ascii: "+"): value = 62
            case UInt8(ascii: "/"): value = 63
            case UInt8(ascii: "="):
                index += 1
                continue
            default: return index
            }
            bits = bits << 6 | value
            count += 6
            if count >= 8 {
                count -= 8
                out.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
            index += 1
        }
        return index
    }
}
