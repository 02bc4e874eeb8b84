import GotoniCore

/// The text of an answer: words without meaning, one token of four bytes each, always the same for the same prompt, so
/// that a conversation can be repeated.
struct Filler {
    static let pieceBytes = 4
    private static let words: [StaticString] = [
        "the ", "sun ", "and ", "sea ", "are ", "not ", "far ", "for ", "who ", "can ", "see ", "how ", "one ", "day ",
        "was ", "new ", "all ", "men ", "had ", "two ", "big ", "old ", "red ", "sky ", "but ", "few ", "ran ", "out ",
        "her ", "eye ", "met ", "his ",
    ]
    var seed: UInt64

    /// Token `number`, from 1.
    func piece(_ number: Int) -> StaticString {
        var mix = SplitMix64(seed: seed &+ UInt64(number) &* 0x2545_F491_4F6C_DD1D)
        return Self.words[Int(mix.next() & 31)]
    }

    func text(_ tokens: Int) -> String {
        var text = ""
        text.reserveCapacity(tokens * Self.pieceBytes)
        for number in stride(from: 1, through: tokens, by: 1) { text += "\(piece(number))" }
        return text
    }
}
