internal import CPlatform
internal import GotoniCore

/// Tokens that are found in a text as they stand, before anything else happens to it: special ones and others that were
/// added to a model. Of those that begin at one place the longest is found; the search goes on behind it (`tokenizers`
/// 0.23, added_vocabulary.rs).
struct AddedTokens: ~Copyable {
    struct Token {
        var content: [UInt8]
        var id: UInt32
        /// It takes the white space before it, or behind it.
        var strips = (left: false, right: false)
    }

    /// More than any model has.
    static let most = 1 << 17
    static let longest = 1 << 12

    /// In the order of their bytes.
    private let tokens: [Token]
    /// Bit for the first two bytes of a token, or for the first and any second if it is one byte long.
    private let starts: Buffer<UInt64>
    /// If they begin with few bytes, as most do: those, each eight times. Fewer than four are there several times.
    private let firsts: (UInt64, UInt64, UInt64, UInt64)?

    init(_ tokens: [Token]) throws(TokenizerError) {
        guard tokens.count <= Self.most, tokens.allSatisfy({ (1...Self.longest).contains($0.content.count) }) else {
            throw .addedTokens
        }
        let starts: Buffer<UInt64> = try makeBuffer(1 << 10)
        for token in tokens {
            let first = Int(token.content[0])
            let seconds = token.content.count > 1 ? Int(token.content[1])...Int(token.content[1]) : 0...255
            for second in seconds { starts[first << 2 | second >> 6] |= 1 << UInt64(second & 63) }
        }
        var known: [UInt8] = []
        for token in tokens where !known.contains(token.content[0]) { known.append(token.content[0]) }
        let first = { (place: Int) in UInt64(known[min(place, known.count - 1)]) &* Self.ones }
        firsts = (1...4).contains(known.count) ? (first(0), first(1), first(2), first(3)) : nil
        self.tokens = tokens.sorted { $0.content.lexicographicallyPrecedes($1.content) }
        self.starts = starts
    }

    var isEmpty: Bool { tokens.isEmpty }

    /// Gives the parts of `text` in their order: what lies between tokens, and tokens by their id.
    @inline(__always) func parts(
        _ text: Bytes, plain: (Bytes) throws(TokenizerError) -> Void, token: (UInt32) throws(TokenizerError) -> Void
    ) throws(TokenizerError) {
        var (start, position) = (0, 0)
        while !tokens.isEmpty, let (found, at) = next(in: text, from: position) {
            let found = tokens[found]
            position = at + found.content.count
            var (begin, end) = (at, position)
            if found.strips.left {
                while begin > start, let before = space(endingAt: begin, text) { begin = max(start, before) }
            }
            if found.strips.right { while let after = space(at: end, text) { end = after } }
            if start < begin { try plain(text.part(start..<begin)) }
            try token(found.id)
            // White space that was taken is still searched, and may be taken twice.
            start = end
        }
        if start < text.count { try plain(start == 0 ? text : text.part(start..<text.count)) }
    }

    /// The next token from `position` on: its index and place.
    private func next(in text: Bytes, from position: Int) -> (token: Int, at: Int)? {
        guard let base = text.baseAddress else { return nil }
        var position = position
        while position < text.count {
            if let firsts {
                skip(firsts, in: text, from: &position)
                guard position < text.count else { return nil }
            }
            let second = position + 1 < text.count ? Int(base[position + 1]) : 0
            if starts[Int(base[position]) << 2 | second >> 6] >> UInt64(second & 63) & 1 != 0,
                let token = longest(at: position, text)
            {
                return (token, position)
            }
            position += 1
        }
        return nil
    }

    private static let ones: UInt64 = 0x0101_0101_0101_0101

    /// Goes on to the next byte that is one of `firsts`, or to one of the last seven.
    @inline(__always) private func skip(
        _ firsts: (UInt64, UInt64, UInt64, UInt64), in text: Bytes, from position: inout Int
    ) {
        guard let base = text.baseAddress.map(UnsafeRawPointer.init) else { return }
        // The highest bit of a byte that is zero; of those behind the first such byte perhaps wrongly so.
        func zeros(_ word: UInt64) -> UInt64 { (word &- Self.ones) & ~word & (Self.ones << 7) }
        while position + 8 <= text.count {
            let word = (base + position).loadUnaligned(as: UInt64.self)
            let found =
                zeros(word ^ firsts.0) | zeros(word ^ firsts.1) | zeros(word ^ firsts.2) | zeros(word ^ firsts.3)
            guard found == 0 else {
                position += found.trailingZeroBitCount / 8
                return
            }
            position += 8
        }
    }

    /// The longest token that stands at `position`.
    private func longest(at position: Int, _ text: Bytes) -> Int? {
        var candidates = tokens.indices
        var (found, depth) = (Int?.none, 0)
        while !candidates.isEmpty {
            // The shortest of those that are alike so far comes first. Of equal ones the first counts; `tokenizers` takes
            // one by chance.
            var rest = candidates
            while let first = rest.first, tokens[first].content.count == depth {
                if rest == candidates { found = first }
                rest = rest.dropFirst()
            }
            candidates = rest
            guard position + depth < text.count else { break }
            let byte = text[position + depth]
            let low = partition(candidates) { tokens[$0].content[depth] >= byte }
            let high = partition(low..<candidates.upperBound) { tokens[$0].content[depth] > byte }
            candidates = low..<high
            depth += 1
        }
        return found
    }

    /// The first for which `isBehind` is true; it is so for all that follow.
    private func partition(_ range: Range<Int>, _ isBehind: (Int) -> Bool) -> Int {
        var (low, high) = (range.lowerBound, range.upperBound)
        while low < high {
            let middle = (low + high) / 2
            if isBehind(middle) { high = middle } else { low = middle + 1 }
        }
        return low
    }

    /// Behind the white space at `position`; nil: there is none.
    private func space(at position: Int, _ text: Bytes) -> Int? {
        guard position < text.count else { return nil }
        let length = text[position] < 0x80 ? 1 : text[position] < 0xE0 ? 2 : text[position] < 0xF0 ? 3 : 4
        guard position + length <= text.count, isSpace(text.part(position..<(position + length))) else { return nil }
        return position + length
    }

    private func space(endingAt position: Int, _ text: Bytes) -> Int? {
        guard position > 0 else { return nil }
        var start = position - 1
        while start > 0, text[start] & 0xC0 == 0x80 { start -= 1 }
        return isSpace(text.part(start..<position)) ? start : nil
    }

    /// Unicode's White_Space.
    private func isSpace(_ character: Bytes) -> Bool {
        switch character.count {
        case 1: (9...13).contains(character[0]) || character[0] == 0x20
        case 2: character[0] == 0xC2 && (character[1] == 0x85 || character[1] == 0xA0)
        case 3:
            switch UInt32(character[0] & 15) << 12 | UInt32(character[1] & 63) << 6 | UInt32(character[2] & 63) {
            case 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: true
            default: false
            }
        default: false
        }
    }
}
