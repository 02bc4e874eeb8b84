import Foundation
import GotoniEngines
import Testing

/// What a body was read as.
struct ReadBody: Equatable {
    var facts: BodyFacts
    var tokens: [UInt32]

    /// The bytes the tokens are made of.
    var bytes: [UInt8] { tokens.flatMap { id in (0..<4).map { UInt8(truncatingIfNeeded: id >> ($0 * 8)) } } }
}

extension BodyReader {
    /// Not inlined: where the result is not used, Swift 6.3 releases the array of tokens before it is filled.
    @inline(never) func read(_ bytes: [UInt8], _ endpoint: Endpoint) throws(BodyError) -> ReadBody {
        // In memory of exactly this size, so that a sanitizer sees every access beyond it.
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        defer { copy.deallocate() }
        copy.copyBytes(from: bytes)
        let facts = try read(UnsafeRawBufferPointer(copy), endpoint)
        #expect(facts.promptTokens == tokens.count)
        return ReadBody(facts: facts, tokens: Array(tokens))
    }

    func read(_ text: String, _ endpoint: Endpoint) throws(BodyError) -> ReadBody {
        try read(Array(text.utf8), endpoint)
    }
}

/// A marker of CSimdjson/writer.hpp.
func mark(_ letter: Character) -> [UInt8] { [0xFF] + Array(String(letter).utf8) }

/// With zeros up to a whole token.
func padded(_ bytes: [UInt8]) -> [UInt8] { bytes + [UInt8](repeating: 0, count: (4 - bytes.count % 4) % 4) }

/// Markers are written as `‹M›`.
func stream(_ text: String) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = Substring(text)
    while let start = rest.firstIndex(of: "‹") {
        bytes += Array(rest[..<start].utf8)
        let letter = rest[rest.index(after: start)]
        bytes += mark(letter)
        rest = rest[rest.index(start, offsetBy: 3)...]
    }
    return bytes + Array(rest.utf8)
}

func fixture(_ name: String) throws -> [UInt8] {
    let folder = try #require(Bundle.module.resourceURL).appendingPathComponent("Fixtures")
    return Array(try Data(contentsOf: folder.appendingPathComponent(name)))
}

/// A JSON string that stands for `text`, escaped in a way drawn from `chance`: needed escapes in one of their spellings,
/// and some that are not needed.
func quoted(_ text: String, escaping chance: (Int) -> Bool) -> String {
    var json = "\""
    for unit in text.unicodeScalars {
        let short: [Unicode.Scalar: String] = [
            "\"": "\\\"", "\\": "\\\\", "/": "\\/", "\u{8}": "\\b", "\u{C}": "\\f", "\n": "\\n", "\r": "\\r",
            "\t": "\\t",
        ]
        let isNeeded = unit.value < 0x20 || unit == "\"" || unit == "\\"
        if let escape = short[unit], chance(70) {
            json += escape
        } else if isNeeded || chance(10) {
            for code in String(unit).utf16 {
                let digits = String(code, radix: 16, uppercase: chance(50))
                json += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            }
        } else {
            json.unicodeScalars.append(unit)
        }
    }
    return json + "\""
}
