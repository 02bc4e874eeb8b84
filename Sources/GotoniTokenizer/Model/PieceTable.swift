internal import CXXHash
internal import GotoniCore

/// Byte strings and the ids they stand for, found by their bytes. Of equal ones the first that came is found.
struct PieceTable: ~Copyable {
    /// A vocabulary is some hundred thousand pieces of a few bytes.
    static let most = 1 << 22
    static let mostBytes = 1 << 30

    struct Piece: BitwiseCopyable {
        var start: UInt32
        var count: UInt32
        var id: UInt32
        var hash: UInt32
    }

    private var bytes: List<UInt8>
    private var pieces: List<Piece>
    /// Index of a piece plus one; 0: empty. Open addressing, at most half full.
    private var slots: Buffer<UInt32>

    private init(_ bytes: consuming List<UInt8>, _ pieces: consuming List<Piece>, _ slots: consuming Buffer<UInt32>) {
        self.bytes = bytes
        self.pieces = pieces
        self.slots = slots
    }

    static func make() throws(TokenizerError) -> PieceTable {
        PieceTable(try List(capacity: 1 << 16), try List(capacity: 1 << 12), try makeBuffer(1 << 13))
    }

    var count: Int { pieces.count }

    private static func hash(_ text: Bytes) -> UInt32 {
        UInt32(truncatingIfNeeded: XXH3_64bits(text.baseAddress, text.count))
    }

    private func text(_ piece: Piece) -> Bytes {
        Bytes(start: bytes.buffer.base + Int(piece.start), count: Int(piece.count))
    }

    mutating func insert(_ text: Bytes, _ id: UInt32) throws(TokenizerError) {
        guard pieces.count < Self.most, bytes.count + text.count <= Self.mostBytes else {
            throw .vocabularySize
        }
        if (pieces.count + 1) * 2 > slots.count { try rehash(slots.count * 4) }
        let piece = Piece(
            start: UInt32(bytes.count), count: UInt32(text.count), id: id, hash: Self.hash(text))
        try bytes.append(text)
        try pieces.append(piece)
        place(pieces.count - 1)
    }

    private mutating func rehash(_ size: Int) throws(TokenizerError) {
        slots = try makeBuffer(size)
        for index in 0..<pieces.count { place(index) }
    }

    private func place(_ index: Int) {
        var slot = Int(pieces.buffer[index].hash) & (slots.count - 1)
        while slots[slot] != 0 { slot = (slot + 1) & (slots.count - 1) }
        slots[slot] = UInt32(index + 1)
    }

    func id(of text: Bytes) -> UInt32? {
        let hash = Self.hash(text)
        var slot = Int(hash) & (slots.count - 1)
        while slots[slot] != 0 {
            let piece = pieces.buffer[Int(slots[slot]) - 1]
            if piece.hash == hash, equal(self.text(piece), text) { return piece.id }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    func forEach<Failure: Error>(_ use: (Bytes, UInt32) throws(Failure) -> Void) throws(Failure) {
        for index in 0..<pieces.count {
            let piece = pieces.buffer[index]
            try use(text(piece), piece.id)
        }
    }
}
