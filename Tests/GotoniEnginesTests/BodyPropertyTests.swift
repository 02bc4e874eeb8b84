import Foundation
import GotoniCore
import GotoniEngines
import TestSupport
import Testing

/// Random text with every kind of character that JSON treats apart, of up to `most` of them.
private func text(_ random: inout SplitMix64, upTo most: Int) -> String {
    let special: [Unicode.Scalar] = [
        "\"", "\\", "/", "\n", "\r", "\t", "\u{0}", "\u{1F}", "\u{7F}", "é", "漢", "😀", "\u{FFFD}", "\u{2028}",
    ]
    var text = ""
    for _ in 0..<random.pick(0...most) {
        if random.chance(15) {
            text.unicodeScalars.append(special[random.pick(0...(special.count - 1))])
        } else {
            text.unicodeScalars.append(Unicode.Scalar(UInt8(random.pick(0x20...0x7E))))
        }
    }
    return text
}

/// A random JSON value.
private func value(_ random: inout SplitMix64, depth: Int) -> String {
    let space = random.chance(20) ? " \n" : ""
    switch random.pick(0...(depth > 0 ? 7 : 5)) {
    case 0: return "null"
    case 1: return random.chance(50) ? "true" : "false"
    case 2: return String(random.pick(-1000...1000))
    case 3: return ["0", "-0", "1.5", "-2e3", "1E+2", "0.25e-1"][random.pick(0...5)]
    case 4, 5: return quoted(text(&random, upTo: 40)) { random.chance($0) }
    case 6:
        let elements = (0..<random.pick(0...4)).map { _ in value(&random, depth: depth - 1) }
        return "[" + elements.joined(separator: space + "," + space) + space + "]"
    default:
        let fields = (0..<random.pick(0...4)).map { _ in
            quoted(text(&random, upTo: 8)) { random.chance($0) } + space + ":" + value(&random, depth: depth - 1)
        }
        return "{" + space + fields.joined(separator: ",") + "}"
    }
}

@Suite struct BodyPropertyTests {
    /// Text that went through our escapes is what Foundation reads.
    @Test func textEqualsFoundation() throws {
        let reader = BodyReader()
        for seed in Seeds.sequence(3_000) {
            var random = SplitMix64(seed: seed)
            let original = text(&random, upTo: random.chance(20) ? 3_000 : 60)
            let body = "{\"x\":\(value(&random, depth: 3)),\"prompt\":" + quoted(original) { random.chance($0) } + "}"
            let object = try #require(try JSONSerialization.jsonObject(with: Data(body.utf8)) as? [String: Any])
            let expected = try #require(object["prompt"] as? String)
            #expect(Array(expected.utf8) == Array(original.utf8), "seed \(seed)")
            let read = try reader.read(body, .completions)
            #expect(read.bytes == padded(Array(expected.utf8)), "seed \(seed): \(body)")
            if read.bytes != padded(Array(expected.utf8)) { break }
        }
    }

    /// Every code point on its own, as itself and as an escape.
    @Test func everyCodePoint() throws {
        let reader = BodyReader()
        var (plain, escaped) = ("", "")
        for code in UInt32(0)...0x10FFFF {
            guard let scalar = Unicode.Scalar(code), code < 0x3000 || code % 61 == 0 || code > 0x10FF00 else {
                continue
            }
            plain.unicodeScalars.append(scalar)
            escaped += quoted(String(scalar)) { $0 == 10 }.dropFirst().dropLast()
        }
        #expect(try reader.read("{\"prompt\":\"\(escaped)\"}", .completions).bytes == padded(Array(plain.utf8)))
    }

    @Test func surrogates() throws {
        let cases: [(String, String)] = [
            (#"\ud83d\ude00"#, "😀"), (#"\uD83D\uDE00"#, "😀"), (#"\ud83d"#, "\u{FFFD}"), (#"\ude00"#, "\u{FFFD}"),
            (#"a\ud83dx"#, "a\u{FFFD}x"), (#"\ud83d\n"#, "\u{FFFD}\n"), (#"\ud83d\ud83d\ude00"#, "\u{FFFD}😀"),
            (#"\ude00\ud83d"#, "\u{FFFD}\u{FFFD}"), (#"\ud83d\u0041"#, "\u{FFFD}A"), (#"\udbff\udfff"#, "\u{10FFFF}"),
        ]
        for (json, expected) in cases {
            #expect(
                try BodyReader().read("{\"prompt\":\"\(json)\"}", .completions).bytes == padded(Array(expected.utf8)),
                "\(json)")
        }
        for wrong in [#"\ud83"#, #"\u"#, #"\u00g0"#, #"\x41"#, #"\'"#, #"\u 041"#, #"\ud83d\u12"#] {
            #expect(throws: BodyError.json, "\(wrong)") {
                try BodyReader().read("{\"prompt\":\"\(wrong)\"}", .completions)
            }
            // Where it is not read, it is not looked at.
            #expect(throws: Never.self, "\(wrong)") { try BodyReader().read("{\"x\":\"\(wrong)\"}", .completions) }
        }
    }

    /// A document is refused exactly if Foundation refuses it, but for commas behind the last element.
    @Test func grammarEqualsFoundation() throws {
        let reader = BodyReader()
        let pieces = [
            "{", "}", "[", "]", ",", ":", "\"", "0", "1", "-", ".", "e", "t", "n", "null", " ", "\n", "\"a\"",
            "\"a\":1", "+", "/",
        ]
        var refused = 0
        for seed in Seeds.sequence(30_000) {
            var random = SplitMix64(seed: seed)
            var body = "{\"a\":\(value(&random, depth: 3))}"
            // Escapes are another test's.
            guard !body.contains("\\") else { continue }
            for _ in 0..<random.pick(0...2) {
                var units = Array(body.unicodeScalars)
                let place = random.pick(0...units.count)
                switch random.pick(0...2) {
                case 0 where place < units.count: units.remove(at: place)
                case 1 where place < units.count:
                    units[place] = pieces[random.pick(0...(pieces.count - 1))].unicodeScalars.first ?? "x"
                default: units.insert(contentsOf: pieces[random.pick(0...(pieces.count - 1))].unicodeScalars, at: place)
                }
                body = String(String.UnicodeScalarView(units))
            }
            // Foundation takes a comma behind the last element.
            guard !body.contains("\\"), body.firstMatch(of: /,\s*[\]}]/) == nil else { continue }
            let accepted = (try? JSONSerialization.jsonObject(with: Data(body.utf8))) is [String: Any]
            let ours = (try? reader.read(body, .chat)) != nil
            #expect(ours == accepted, "seed \(seed): \(body)")
            if !ours { refused += 1 }
        }
        #expect(refused > Seeds.scaled(30_000) / 10 || Seeds.sequence(2).count == 1)
    }

    /// A conversation that goes on begins with the tokens it had, all but a padded last one.
    @Test func aLongerConversationBeginsTheSame() throws {
        let reader = BodyReader()
        for seed in Seeds.sequence(500) {
            var random = SplitMix64(seed: seed)
            let (endpoint, key) = random.chance(50) ? (Endpoint.chat, "messages") : (.responses, "input")
            let tools = random.chance(50) ? ",\"tools\":[\(value(&random, depth: 2))]" : ""
            var messages: [String] = []
            var before: [UInt8] = []
            for _ in 0..<random.pick(2...8) {
                messages.append(message(&random))
                // What stands in front of the messages in the body, and what behind, is no matter.
                let list = "\"\(key)\":[\(messages.joined(separator: random.chance(50) ? ", " : ","))]"
                let body = "{\"model\":\"m\"" + (random.chance(50) ? tools + "," + list : "," + list + tools) + "}"
                let now = try reader.read(body, endpoint).bytes
                let common = zip(before, now).prefix { $0 == $1 }.count
                #expect(common >= before.count - 3 && now.count >= before.count, "seed \(seed): \(body)")
                #expect(before.dropFirst(common).allSatisfy { $0 == 0 }, "seed \(seed)")
                before = now
            }
        }
    }

    private func message(_ random: inout SplitMix64) -> String {
        func quote(_ most: Int) -> String { quoted(text(&random, upTo: most)) { _ in false } }
        let content =
            switch random.pick(0...3) {
            case 0: quote(200)
            case 1:
                "[{\"type\":\"text\",\"text\":\(quote(50))},{\"type\":\"image_url\",\"image_url\":{\"url\":\(quote(9))}}]"
            case 2: "null,\"tool_calls\":[\(value(&random, depth: 2))]"
            default: "\"\",\"reasoning_content\":\(quote(30)),\"tool_call_id\":\(quote(4))"
            }
        let role = ["user", "assistant", "tool", "system"][random.pick(0...3)]
        return "{\"role\":\"\(role)\",\"content\":\(content)}"
    }
}

@Suite struct HostileBodyTests {
    static let whole =
        #"{"model":"m","messages":[{"role":"user","content":"h\u00e9\n","x":[1,-2.5e3,true,null,{}]}],"stream":true}"#

    /// A body that ends too early is refused wherever it ends.
    @Test func truncations() throws {
        let (reader, bytes) = (BodyReader(), Array(Self.whole.utf8))
        #expect(try reader.read(bytes, .chat).bytes == padded(stream("‹M›user‹C›hé\n")))
        for count in 0..<bytes.count {
            #expect(throws: BodyError.json) { try reader.read(Array(bytes[..<count]), .chat) }
            #expect(reader.tokens.isEmpty && reader.model() == nil)
        }
    }

    @Test func refusals() {
        let reader = BodyReader()
        func error(_ body: String) -> BodyError? {
            do throws(BodyError) { _ = try reader.read(body, .chat) } catch { return error }
            return nil
        }
        let wrong = [
            "", " ", "x", "[]", "1", "null", "\"a\"", "{", "}", "{}x", "{} {}", "{},", "{}]", "{\"a\"}", "{\"a\":}",
            "{\"a\":1,}", "{a:1}",
            "{\"a\":1 2}", "{\"a\" 1}", "{1:2}", "{\"a\":tru}", "{\"a\":truee}", "{\"a\":nul}", "{\"a\":01}",
            "{\"a\":1.}", "{\"a\":.5}",
            "{\"a\":+1}", "{\"a\":1e}", "{\"a\":-}", "{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":0x1}", "{\"a\":[1,]}",
            "{\"a\":[,1]}", "{\"a\":[1}",
            "{\"a\":{]}", "{\"a\":\"\n\"}", "{\"a\":\"\u{0}\"}", "{\"a\":'b'}", "{\"a\":\"b\"c}", "{\"a\":1\"b\"}",
            "{/**/}", "\u{FEFF}{}",
            "{\u{0}}", "{\"a\":\u{C}1}", "{\"a\u{1}\":1}", "{\"a\":\"b}", "{\"a\":\"\\\"}", "{\"a\":1\\}", "{\"a\"::1}",
            "{,}", "{\"a\":1,,\"b\":2}",
        ]
        for body in wrong { #expect(error(body) == .json, "\(body)") }
        func nested(_ depth: Int) -> String {
            "{\"a\":" + String(repeating: "[", count: depth - 1) + String(repeating: "]", count: depth - 1) + "}"
        }
        #expect(error(nested(1024)) == nil)
        #expect(error(nested(1025)) == .depth)
        #expect(error("{\"a\":" + String(repeating: "[", count: 1_000_000)) == .depth)
        #expect(error("{\"a\":" + String(repeating: "{\"a\":", count: 100_000)) == .depth)
        for error in BodyError.allCases { #expect(error.text.utf8CodeUnitCount > 10) }
    }

    @Test func badUTF8() {
        let reader = BodyReader()
        let wrong: [[UInt8]] = [
            [0xFF], [0x80], [0xC3], [0xC0, 0x80], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80],
            [0xF0, 0x9F, 0x98],
        ]
        for bytes in wrong {
            // In the prompt, and behind everything that is read.
            for body in [
                Array("{\"messages\":\"".utf8) + bytes + Array("\"}".utf8),
                Array("{\"z\":\"".utf8) + bytes + Array("\"}".utf8),
            ] {
                #expect(throws: BodyError.utf8, "\(bytes)") { try reader.read(body, .chat) }
            }
        }
    }

    /// Flipped bits, and random bytes put in place: facts or an error, never a crash.
    @Test func flips() {
        let reader = BodyReader()
        let bodies = [
            Self.whole, #"{"prompt":["a\n",[1,2],{"b":null}],"user":"u","lora":[1]}"#,
            #"{"input":[{"type":"x","content":[{"text":"t"},{"type":"image"}]}]}"#,
            #"{"input_ids":[[1,2],[3]],"sampling_params":{"max_new_tokens":3},"text":"t"}"#,
        ]
        for seed in Seeds.sequence(5_000) {
            var random = SplitMix64(seed: seed)
            for body in bodies {
                var bytes = Array(body.utf8)
                for _ in 0..<random.pick(1...4) {
                    let place = random.pick(0...(bytes.count - 1))
                    bytes[place] =
                        random.chance(50) ? bytes[place] ^ 1 << UInt8(random.pick(0...7)) : UInt8(random.pick(0...255))
                }
                for endpoint in Endpoint.allCases { _ = try? reader.read(bytes, endpoint) }
            }
        }
    }

    /// Nothing behind the body is read: the page behind it cannot be.
    @Test func readsNothingBehindTheBody() throws {
        let page = Int(getpagesize())
        let area = try #require(mmap(nil, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
        defer { munmap(area, 3 * page) }
        #expect(mprotect(area + 2 * page, page, PROT_NONE) == 0)
        let reader = BodyReader()
        for size in 1...300 {
            let body = Array("{\"prompt\":\"\(String(repeating: "x", count: size))\\n\"}".utf8)
            let place = UnsafeMutableRawBufferPointer(start: area + 2 * page - body.count, count: body.count)
            place.copyBytes(from: body)
            #expect(try reader.read(UnsafeRawBufferPointer(place), .completions).promptTokens == (size + 4) / 4)
        }
    }
}
