/// One step of a pre-tokenizer: where a text is cut, and what of it is kept.
struct Split {
    /// Of `tokenizers`: what becomes of a match.
    enum Behavior {
        /// A piece of its own.
        case isolated
        /// Not there any more.
        case removed
        case withPrevious
        case withNext
        /// Matches without anything between them are one piece.
        case contiguous
    }

    let pattern: Pattern
    var behavior = Behavior.isolated
    /// Matches are what lies between matches.
    var inverted = false
}

/// The steps of a pre-tokenizer, one after the other: each cuts the pieces of the one before, and sees only its piece.
struct Splits {
    static let most = 16
    let steps: [Split]

    /// Gives the pieces of `text` in their order.
    @inline(__always) func pieces(
        _ text: Bytes, isWide: Bool, _ matcher: Matcher, _ use: (Bytes) throws(TokenizerError) -> Void
    ) throws(TokenizerError) {
        try steps.withUnsafeBufferPointer { (steps) throws(TokenizerError) in
            try Self.pieces(text, steps, isWide, matcher, use)
        }
    }

    private static func pieces(
        _ text: Bytes, _ steps: UnsafeBufferPointer<Split>, _ isWide: Bool, _ matcher: Matcher,
        _ use: (Bytes) throws(TokenizerError) -> Void
    ) throws(TokenizerError) {
        guard let step = steps.first else { return try use(text) }
        let rest = UnsafeBufferPointer(rebasing: steps.dropFirst())
        if step.behavior == .isolated {
            // Inverted or not, every part is a piece.
            let finder = step.pattern.finder(isWide: isWide, matcher)
            var start = 0
            while start < text.count, let match = try finder.next(in: text, from: start) {
                if match.lowerBound > start {
                    try pieces(text.part(start..<match.lowerBound), rest, isWide, matcher, use)
                }
                if rest.isEmpty {
                    try use(text.part(match))
                } else {
                    try pieces(text.part(match), rest, isWide, matcher, use)
                }
                start = match.upperBound
            }
            if start < text.count {
                try pieces(start == 0 ? text : text.part(start..<text.count), rest, isWide, matcher, use)
            }
            return
        }
        var joined = Joining(step.behavior)
        try parts(text, step, isWide, matcher) { (part, isMatch) throws(TokenizerError) in
            if let piece = joined.add(part, isMatch) { try pieces(text.part(piece), rest, isWide, matcher, use) }
        }
        if let piece = joined.end() { try pieces(text.part(piece), rest, isWide, matcher, use) }
    }

    /// Matches and what lies between them, in their order.
    private static func parts(
        _ text: Bytes, _ step: Split, _ isWide: Bool, _ matcher: Matcher,
        _ use: (Range<Int>, Bool) throws(TokenizerError) -> Void
    ) throws(TokenizerError) {
        let finder = step.pattern.finder(isWide: isWide, matcher)
        var start = 0
        while start < text.count, let match = try finder.next(in: text, from: start) {
            if match.lowerBound > start { try use(start..<match.lowerBound, step.inverted) }
            try use(match, !step.inverted)
            start = match.upperBound
        }
        if start < text.count { try use(start..<text.count, step.inverted) }
    }
}

/// Joins parts as a behaviour has it: a piece is whole when the next part shows that.
struct Joining {
    private let behavior: Split.Behavior
    private var open: Range<Int>?
    private var lastWasMatch = false

    init(_ behavior: Split.Behavior) { self.behavior = behavior }

    /// A piece that is now whole.
    mutating func add(_ part: Range<Int>, _ isMatch: Bool) -> Range<Int>? {
        defer { lastWasMatch = isMatch }
        let joins: Bool
        switch behavior {
        case .isolated: joins = false
        case .removed:
            defer { open = isMatch ? nil : part }
            return open
        case .withPrevious: joins = isMatch && !lastWasMatch
        case .withNext: joins = !isMatch && lastWasMatch
        case .contiguous: joins = isMatch == lastWasMatch
        }
        guard let piece = open else {
            open = part
            return nil
        }
        if joins {
            open = piece.lowerBound..<part.upperBound
            return nil
        }
        open = part
        return piece
    }

    mutating func end() -> Range<Int>? {
        defer { open = nil }
        return open
    }
}
