import Foundation
import GotoniCore
import Testing

@testable import GotoniTokenizer

/// What each template makes of a conversation, as its publisher's Jinja does (`benchmark/tokens` compares with engines).
@Suite struct ChatTemplateTests {
    /// A conversation as `BodyReader` writes it.
    static func conversation(_ messages: [(String, String)]) -> [UInt8] {
        messages.flatMap {
            [0xFF, UInt8(ascii: "M")] + Array($0.0.utf8) + [0xFF, UInt8(ascii: "C")] + Array($0.1.utf8)
        }
    }

    private func render(
        _ template: ChatTemplate, _ messages: [(String, String)], _ thinking: ChatTemplate.Thinking = .unsaid
    ) throws -> String? {
        try render(template, text: Self.conversation(messages), thinking)
    }

    private func render(
        _ template: ChatTemplate, text: [UInt8], _ thinking: ChatTemplate.Thinking = .unsaid
    ) throws -> String? {
        try text.rendered(template, thinking).map { String(decoding: $0, as: UTF8.self) }
    }

    private let short = [("user", "Hi")]
    private let long = [("system", "S"), ("user", "A"), ("assistant", "<think>x</think>\n\nB"), ("user", " C \u{A0}")]

    @Test func chatML() throws {
        #expect(try render(.chatML, short) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
        #expect(
            try render(.qwen2, short)?.hasPrefix("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n") == true
        )
        #expect(try render(.qwen25, short)?.hasPrefix("<|im_start|>system\nYou are Qwen, created by") == true)
        #expect(try render(.qwen25, long)?.hasPrefix("<|im_start|>system\nS<|im_end|>\n") == true)
    }

    @Test func qwen3LeavesThoughtsOut() throws {
        #expect(
            try render(.qwen3, long)
                == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\nB<|im_end|>\n"
                + "<|im_start|>user\n C \u{A0}<|im_end|>\n<|im_start|>assistant\n")
        #expect(try render(.qwen3, short, .off)?.hasSuffix("assistant\n<think>\n\n</think>\n\n") == true)
        // What it has begun to answer would show its thoughts.
        #expect(try render(.qwen3, [("user", "A"), ("assistant", "B")]) == nil)
    }

    @Test func llama() throws {
        #expect(
            try render(.llama3, [("user", " \u{3000}Hi\n")])
                == "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
                + "<|start_header_id|>assistant<|end_header_id|>\n\n")
        let dates = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
        #expect(try render(.llama31, short)?.contains("system<|end_header_id|>\n\n\(dates)<|eot_id|>") == true)
        #expect(try render(.llama31, long)?.contains("\(dates)S<|eot_id|><|start_header_id|>user") == true)
    }

    @Test func mistral() throws {
        #expect(
            try render(.mistral, [("system", "S"), ("user", "A"), ("assistant", "B"), ("user", "C")])
                == "<s>[INST]A[/INST]B</s>[INST]S\n\nC[/INST]")
        #expect(try render(.mistral, [("user", "A"), ("user", "B")]) == nil)
    }

    @Test func deepSeek() throws {
        let messages = [("user", "A"), ("system", "S"), ("assistant", "x</think>B"), ("system", "T"), ("user", "C")]
        #expect(
            try render(.deepSeekV3, messages)
                == "<｜begin▁of▁sentence｜>S\n\nT<｜User｜>A<｜Assistant｜>x</think>B<｜end▁of▁sentence｜><｜User｜>C<｜Assistant｜>"
        )
        #expect(try render(.deepSeekR1, messages)?.contains("<｜Assistant｜>B<｜end") == true)
        #expect(try render(.deepSeekR1, messages)?.hasSuffix("<｜Assistant｜><think>\n") == true)
    }

    @Test(arguments: ChatTemplate.allCases) func whatIsNoTextIsForOthers(template: ChatTemplate) throws {
        #expect(try render(template, [("tool", "x")]) == nil)
        #expect(try render(template, []) == nil)
        #expect(try render(template, short, .other) == nil)
        // A developer is the system.
        let (developer, system) = ([("developer", "S"), ("user", "A")], [("system", "S"), ("user", "A")])
        #expect(try render(template, developer) == (try render(template, system)))
        for more in ["F[]", "XAAAA", "J{}"] {
            let text = [0xFF] + Array(more.utf8) + Self.conversation(short)
            #expect(try render(template, text: text) == nil)
        }
    }

    /// The files that `benchmark/tokens` has for them.
    @Test(
        arguments: [
            ("chatml", ChatTemplate.chatML), ("qwen2.5", .qwen25), ("qwen3", .qwen3), ("llama3", .llama3),
            ("llama3.1", .llama31), ("mistral-tekken", .mistral), ("deepseek-v3", .deepSeekV3),
        ] as [(String, ChatTemplate)]) func isRecognized(name: String, template: ChatTemplate) throws
    {
        #expect(try recognize(name) == template)
    }

    /// Another date every day.
    @Test func theDateIsForOthers() throws { #expect(try recognize("llama3.2") == nil) }

    @Test func unknownTemplatesAreUnknown() {
        for source in ["", "{{ messages }}", "<|im_start|>{{ system }}", "[INST] {{ x }} [/INST]", "<｜User｜>"] {
            #expect(Array(source.utf8).withUnsafeBufferPointer { ChatTemplate.recognize($0) } == nil)
        }
    }

    private func recognize(_ name: String) throws -> ChatTemplate? {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let source = Array(try Data(contentsOf: root.appending(path: "benchmark/tokens/templates/\(name).jinja")))
        return source.withUnsafeBufferPointer { ChatTemplate.recognize($0) }
    }
}

@Suite struct PromptTests {
    @Test func exactnessIsSaid() throws {
        let source = Array("{% for m in messages %}<|im_start|>{% endfor %}{{ add_generation_prompt }}".utf8)
        let model = try TinyModel(seed: 1).json()
        let tokenizer = try Tokenizer(model.span, .huggingFace, template: source.span)
        #expect(tokenizer.template == .chatML)
        func exactness(_ prompt: [UInt8], isConversation: Bool = true) throws -> Exactness? {
            try tokenizer.withPrompt(prompt.span, isConversation: isConversation, thinking: .unsaid) {
                (tokens, exactness) throws(TokenizerError) in
                #expect(tokens.count > 0)
                return exactness
            }
        }
        #expect(try exactness(ChatTemplateTests.conversation([("user", "A")])) == .exact)
        #expect(try exactness(ChatTemplateTests.conversation([("tool", "A")])) == .approximate)
        #expect(
            try exactness(ChatTemplateTests.conversation([("user", "A")]) + [0xFF, UInt8(ascii: "X"), 1, 2]) == nil)
        #expect(try exactness(Array("text".utf8), isConversation: false) == .exact)
        #expect(try exactness([0xFF, UInt8(ascii: "X"), 1], isConversation: false) == nil)
    }
}
