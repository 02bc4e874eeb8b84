import Foundation
import GotoniCore
import GotoniEngines
import TestSupport
import Testing

@Suite struct UsageReaderTests {
    func usage(_ text: String) -> Usage? {
        var reader = UsageReader()
        Array(text.utf8).withUnsafeBytes { reader.feed($0) }
        return reader.usage()
    }

    @Test func forms() {
        let cases: [(String, Usage?)] = [
            ("", nil), ("{}", nil), (#"{"usage":null}"#, nil), (#"{"usage":{}}"#, nil),
            (#"{"usage":7,"x":"usage"}"#, nil),
            (#"{"usage":{"prompt_tokens":5}}"#, Usage(promptTokens: 5)),
            (
                #"{"choices":[],"usage":{"prompt_tokens":9,"total_tokens":13,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":3}}}"#,
                Usage(promptTokens: 9, cachedTokens: 3, outputTokens: 4)
            ),
            (
                #"{"usage" : { "prompt_tokens" : 9 , "prompt_tokens_details" : null, "completion_tokens":4 } }"#,
                Usage(promptTokens: 9, outputTokens: 4)
            ),
            (
                #"event: response.completed\#ndata: {"response":{"usage":{"input_tokens":20,"input_tokens_details":{"x":[{"cached_tokens":1}],"cached_tokens":16},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":1}},"user":null}}\#n\#n"#,
                Usage(promptTokens: 20, cachedTokens: 16, outputTokens: 2)
            ),
            (
                #"{"text":"x","meta_info":{"id":"a","finish_reason":{"type":"stop","matched":"}"},"prompt_tokens":8,"completion_tokens":2,"cached_tokens":7,"e2e_latency":0.5}}"#,
                Usage(promptTokens: 8, cachedTokens: 7, outputTokens: 2)
            ),
            (
                #"{"content":"x","timings":{"cache_n":3,"prompt_n":6,"prompt_ms":9.226,"predicted_n":4}}"#,
                Usage(promptTokens: 9, cachedTokens: 3, outputTokens: 4)
            ),
            // What usage leaves out is taken from the timings.
            (
                #"{"usage":{"prompt_tokens":9,"completion_tokens":4},"timings":{"cache_n":3,"prompt_n":6}}"#,
                Usage(promptTokens: 9, cachedTokens: 3, outputTokens: 4)
            ),
            // The last complete one.
            (#"{"usage":{"prompt_tokens":1}} {"usage":{"prompt_tokens":2}} {"usage":null}"#, Usage(promptTokens: 2)),
            (#"{"usage":{"prompt_tokens":1}} {"usage":{"prompt_tokens":2"#, Usage(promptTokens: 1)),
            (#"{"usage":{"prompt_tokens":1}} {"usage":{"prompt_tokens":2,"x":{"y":"}}"#, Usage(promptTokens: 1)),
            // Not what the model writes.
            (#"{"content":"\"usage\": {\"prompt_tokens\": 1}"}"#, nil),
            (#"{"content":"\\\"usage\\\":{\\\"prompt_tokens\\\":1}"}"#, nil),
            (#"{"usage":{"prompt_tokens":1},"content":"\"usage\":{\"prompt_tokens\":2}"}"#, Usage(promptTokens: 1)),
            // Numbers that are no counts.
            (#"{"usage":{"prompt_tokens":-1,"completion_tokens":1.5}}"#, nil),
            (#"{"usage":{"prompt_tokens":99999999999999999999,"completion_tokens":"7","x":1}}"#, nil),
            (#"{"usage":{"prompt_tokens":1e3,"completion_tokens":7}}"#, Usage(outputTokens: 7)),
            (#"{"tools":[{"usage":{"type":"object"}}],"usage":{"prompt_tokens":3}}"#, Usage(promptTokens: 3)),
        ]
        for (text, expected) in cases {
            let text = text.replacingOccurrences(of: "\\#n", with: "\n")
            #expect(usage(text) == expected, "\(text)")
        }
    }

    static let streams: [(String, Usage)] = [
        ("vllm-0.32.0.chat-stream.txt", Usage(promptTokens: 9, cachedTokens: 0, outputTokens: 5)),
        ("xllamacpp-2026.10.11549.chat-stream.txt", Usage(promptTokens: 9, cachedTokens: 3, outputTokens: 4)),
    ]

    /// However an answer is cut, and whatever was read before, the same comes out.
    @Test(arguments: streams) func anySplit(_ name: String, _ expected: Usage) throws {
        let bytes = try fixture(name)
        var reader = UsageReader()
        for seed in Seeds.sequence(300) {
            var random = SplitMix64(seed: seed)
            reader.reset()
            #expect(reader.usage() == nil)
            // Some answers are longer than what is kept.
            let filler = Array(repeating: UInt8(ascii: "x"), count: random.chance(50) ? 0 : random.pick(0...40_000))
            var rest = (filler + bytes)[...]
            let most = [1, 10, 200, 10_000, 50_000][random.pick(0...4)]
            while !rest.isEmpty {
                let piece = rest.prefix(random.pick(0...most))
                piece.withUnsafeBytes { reader.feed($0) }
                rest = rest.dropFirst(piece.count)
            }
            #expect(reader.usage() == expected, "seed \(seed)")
        }
    }

    /// Behind a long text it is found at the end, and before one at the beginning; in between it is lost.
    @Test func longAnswers() {
        let (long, counts) = (String(repeating: "0.125,", count: 10_000), #""usage":{"prompt_tokens":3}"#)
        #expect(usage("{\(counts),\"data\":[\(long)0]}") == Usage(promptTokens: 3))
        #expect(usage("{\"data\":[\(long)0],\(counts)}") == Usage(promptTokens: 3))
        #expect(usage("{\"a\":[\(long)0],\(counts),\"b\":[\(long)0]}") == nil)
    }

    /// The last 8 KiB are kept, not a byte more or less, however they came.
    @Test func exactlyTheEnd() {
        let (filler, last) = (
            [UInt8](repeating: UInt8(ascii: "x"), count: 20_000), Array(#""usage":{"prompt_tokens":3}"#.utf8)
        )
        for seed in Seeds.sequence(300) {
            var random = SplitMix64(seed: seed)
            let isKept = random.chance(50)
            let behind = 8192 - last.count + (isKept ? 0 : 1)
            var rest = (filler + last + filler.prefix(behind))[...]
            var reader = UsageReader()
            let most = [100, 200, 3_000, 20_000][random.pick(0...3)]
            while !rest.isEmpty {
                let piece = rest.prefix(random.pick(1...most))
                piece.withUnsafeBytes { reader.feed($0) }
                rest = rest.dropFirst(piece.count)
            }
            #expect((reader.usage() != nil) == isKept, "seed \(seed)")
        }
    }

    /// Mutations of an answer: something or nothing, never a crash, and never negative.
    @Test func flips() throws {
        let bytes = try fixture("xllamacpp-2026.10.11549.chat-stream.txt")
        for seed in Seeds.sequence(2_000) {
            var random = SplitMix64(seed: seed)
            var changed = Array(bytes.prefix(random.pick(0...bytes.count)))
            for _ in 0..<(changed.isEmpty ? 0 : 8) {
                changed[random.pick(0...(changed.count - 1))] = Array("{}[]\",:\\1".utf8)[random.pick(0...8)]
            }
            var reader = UsageReader()
            changed.withUnsafeBytes { reader.feed($0) }
            #expect(reader.usage()?.promptTokens ?? 0 >= 0)
        }
    }
}
