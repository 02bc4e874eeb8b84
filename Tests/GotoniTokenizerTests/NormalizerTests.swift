import Foundation
import GotoniCore
import TestSupport
import Testing

@testable import GotoniTokenizer

@Suite struct NormalizerTests {
    private func normalize(_ text: String, _ form: Normalizer.Form) throws -> String {
        String(decoding: try Array(text.utf8).normalized(Normalizer(form)), as: UTF8.self)
    }

    private func isDone(_ text: String, _ form: Normalizer.Form) throws -> Bool {
        try Array(text.utf8).isNormalized(Normalizer(form))
    }

    /// From UAX #15, and what `unicodedata` of Python gives. (Foundation's forms are not the standard's: it does not compose
    /// U+AC8C and U+11A8. `Tests/tokenizer` compares all characters with `tokenizers`.)
    @Test(arguments: [
        ("e\u{301}", Normalizer.Form.nfc, "\u{E9}"), ("\u{E9}", .nfd, "e\u{301}"), ("\u{FB01}", .nfkc, "fi"),
        ("\u{FB01}", .nfc, "\u{FB01}"), ("\u{212B}", .nfc, "\u{C5}"), ("q\u{307}\u{323}", .nfc, "q\u{323}\u{307}"),
        ("\u{1100}\u{1161}\u{11A8}", .nfc, "\u{AC01}"), ("\u{AC8C}\u{11A8}", .nfc, "\u{AC8D}"),
        ("\u{AC01}", .nfd, "\u{1100}\u{1161}\u{11A8}"), ("\u{30AB}\u{3099}", .nfc, "\u{30AC}"),
        ("\u{385}\u{3099}", .nfkc, " \u{3099}\u{308}\u{301}"), ("\u{928}\u{93C}", .nfc, "\u{929}"),
    ]) func formsAreUnicodes(text: String, form: Normalizer.Form, expected: String) throws {
        #expect(Array(try normalize("x" + text + "y", form).utf8) == Array(("x" + expected + "y").utf8))
    }

    /// Neighbours of letters, marks, jamo and ideographs: a form of a form is that form, composed or not before.
    @Test(arguments: Seeds.sequence(20)) func formsAgree(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let marks: [UInt32] = [
            0x301, 0x316, 0x323, 0x308, 0x327, 0x93C, 0x94D, 0x3099, 0x11A8, 0x1161, 0x5B0, 0x64B, 0xE48,
        ]
        let ranges: [ClosedRange<UInt32>] = [
            0x20...0x24F, 0x370...0x3FF, 0x400...0x45F, 0x5D0...0x5EA, 0x620...0x64A, 0x915...0x939, 0x1100...0x11C2,
            0x1E00...0x1EFF, 0x2000...0x2126, 0x3041...0x30FF, 0x4E00...0x4E80, 0xAC00...0xAD00, 0xF900...0xFA0D,
            0xFF01...0xFF9D, 0x1F600...0x1F64F,
        ]
        for form in Normalizer.Form.allCases {
            let normalizer = try Normalizer(form)
            let decomposer = try Normalizer(form == .nfc || form == .nfd ? .nfd : .nfkd)
            for _ in 0..<60 {
                var scalars = String.UnicodeScalarView()
                for _ in 0..<random.pick(1...20) {
                    let range = ranges[random.pick(0...ranges.count - 1)]
                    let value =
                        random.chance(30)
                        ? marks[random.pick(0...marks.count - 1)]
                        : UInt32(random.pick(Int(range.lowerBound)...Int(range.upperBound)))
                    guard let scalar = Unicode.Scalar(value), scalar.properties.age.map({ $0.major <= 9 }) ?? false
                    else {
                        continue
                    }
                    scalars.append(scalar)
                }
                let text = Array(String(scalars).utf8)
                let once = try text.normalized(normalizer)
                let what: Comment = "seed \(seed): \(Array(scalars))"
                let (twice, apart) = (try once.normalized(normalizer), try text.normalized(decomposer))
                let composed = try apart.normalized(normalizer)
                #expect(twice == once, what)
                #expect(composed == once, what)
                // Saying that nothing has to be done must be true.
                if try text.isNormalized(normalizer) { #expect(text == once, what) }
            }
        }
    }

    @Test func commonTextsNeedNoWork() throws {
        for text in [
            "plain ASCII \n", "café – “quoted” …", "日本語のテキスト、中文。", "Привет", "한국어", "😀👍🏽", "हिन्दी", "ไทย", "দেশ", "தமிழ்",
        ] {
            #expect(try isDone(text, .nfc), "\(text)")
        }
        #expect(try !isDone("e\u{301}", .nfc))
    }

    /// Marks that came after Unicode 9 stay where they are: the tables of `tokenizers` do not know them.
    @Test func laterMarksStay() throws {
        let text = "a\u{301}\u{1DF6}\u{316}"
        #expect(try Array(normalize(text, .nfd).unicodeScalars) == Array(text.unicodeScalars))
    }
}
