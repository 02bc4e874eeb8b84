internal import GotoniCore

/// What a tokenizer's file says: everything that encoding needs, and does not change.
struct TokenizerModel: ~Copyable {
    var pairs: BytePairs
    /// Words that are a token as a whole are that token, whatever merging would give; nil: they are merged like others.
    var words: PieceTable?
    /// The bytes of each id, for people; of special tokens their text.
    var pieces: PieceTable
    /// Found in the text as it comes, and in what has been normalized.
    var added: AddedTokens
    var addedNormalized: AddedTokens
    var normalizer: Normalizer?
    /// A space before a text that has none.
    var prefixesSpace = false
    var splits: Splits
    /// Around a prompt whose special tokens are wanted.
    var prefix: [UInt32] = []
    var suffix: [UInt32] = []

    /// The token that `word` is as a whole, where that counts.
    func wholeWord(_ word: Bytes) -> UInt32? {
        guard words != nil else { return nil }
        return words?.id(of: word)
    }

    /// The tokens of the 256 bytes: pieces of one byte. Errors: unsupported, if UTF-8 has a byte without a token.
    static func byteIDs(_ pieces: borrowing PieceTable) throws(TokenizerError) -> Buffer<UInt32> {
        let ids: Buffer<UInt32> = try makeBuffer(256)
        ids.fill(256, with: MergeTable.none)
        pieces.forEach { text, id in
            if text.count == 1, ids[Int(text[0])] == MergeTable.none { ids[Int(text[0])] = id }
        }
        for byte in 0..<256 where ids[byte] == MergeTable.none {
            switch byte {
            // No byte of UTF-8.
            case 0xC0, 0xC1, 0xF5...0xFF: continue
            default: throw .missingByte
            }
        }
        return ids
    }

    /// Two pieces that together are a piece become that, the earlier the lower its rank (tiktoken's rule).
    static func merges(
        of pieces: borrowing PieceTable, rank: (UInt32) -> UInt32
    ) throws(TokenizerError) -> MergeTable {
        var pairs: [(left: UInt32, right: UInt32, id: UInt32)] = []
        pieces.forEach { text, id in
            for cut in 1..<max(text.count, 1) {
                guard let left = pieces.id(of: text.part(0..<cut)),
                    let right = pieces.id(of: text.part(cut..<text.count))
                else { continue }
                pairs.append((left, right, id))
            }
        }
        var table = try MergeTable(capacity: pairs.count)
        for pair in pairs { try table.insert(pair.left, pair.right, .init(rank: rank(pair.id), id: pair.id)) }
        return table
    }
}

/// Patterns that a file means and does not have.
enum KnownPattern {
    /// GPT-2's, what `ByteLevel` means by its own regex.
    static let gpt2: StaticString = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
    /// Qwen's: tiktoken's cl100k_base with digits one by one.
    static let qwen: StaticString =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
}
