import GotoniCore
import TestSupport
import Testing

@testable import GotoniTokenizer

@Suite struct AddedTokensTests {
    private func parts(_ tokens: [AddedTokens.Token], _ text: String) throws -> [String] {
        try Array(text.utf8).parts(tokens)
    }

    private func token(_ text: String, _ id: UInt32, left: Bool = false, right: Bool = false) -> AddedTokens.Token {
        .init(content: Array(text.utf8), id: id, strips: (left, right))
    }

    @Test func theLongestOfTheFirstIsFound() throws {
        let tokens = [token("ab", 1), token("abcd", 2), token("b", 3), token("cx", 4)]
        #expect(try parts(tokens, "abcabcdbx") == ["#1", "c", "#2", "#3", "x"])
        #expect(try parts(tokens, "") == [])
        #expect(try parts([], "ab") == ["ab"])
    }

    @Test func whiteSpaceIsTaken() throws {
        let tokens = [
            token("<l>", 1, left: true), token("<r>", 2, right: true), token("<b>", 3, left: true, right: true),
        ]
        #expect(try parts(tokens, "a \u{3000}<l> b <r> \nc\u{A0}<b> <b>") == ["a", "#1", " b ", "#2", "c", "#3", "#3"])
    }

    /// Against trying every token at every place.
    @Test(arguments: Seeds.sequence(60)) func isLeftmostLongest(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        func word(_ most: Int) -> String {
            String((0..<random.pick(1...most)).map { _ in Array("<ab>")[random.pick(0...3)] })
        }
        let contents = Set((0..<random.pick(1...12)).map { _ in word(4) }).sorted()
        let tokens = contents.enumerated().map { token($1, UInt32($0)) }
        for _ in 0..<50 {
            let text = word(30)
            var expected: [String] = []
            var (rest, plain) = (Substring(text), "")
            while !rest.isEmpty {
                if let longest = contents.filter({ rest.hasPrefix($0) }).max(by: { $0.count < $1.count }) {
                    if !plain.isEmpty { expected.append(plain) }
                    plain = ""
                    expected.append("#\(contents.firstIndex(of: longest) ?? -1)")
                    rest = rest.dropFirst(longest.count)
                } else {
                    plain.append(rest.removeFirst())
                }
            }
            if !plain.isEmpty { expected.append(plain) }
            #expect(try parts(tokens, text) == expected, "seed \(seed): \(contents) in \(text)")
        }
    }
}
