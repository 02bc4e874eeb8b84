/// The chat templates that are rendered here: what they make of conversations of plain texts. Anything more (tools and
/// their calls, images, documents) is for an engine or for `gotoni-tokenizer`, which have Jinja.
///
/// Each is as its publisher's `chat_template` has it, as of the model that is named.
public enum ChatTemplate: Sendable, CaseIterable {
    /// `<|im_start|>role\ncontent<|im_end|>\n` and nothing else.
    case chatML
    /// The same with Qwen2's system message, if there is none.
    case qwen2
    /// The same with Qwen2.5's.
    case qwen25
    /// Qwen3: no system message, thoughts of earlier turns are left out.
    case qwen3
    case llama3
    /// Llama 3.1 and 3.3: a system message with dates, always.
    case llama31
    /// Mistral's with tekken: the system message stands before the last user's.
    case mistral
    case deepSeekV3
    case deepSeekR1

    /// As people know it.
    public var name: StaticString {
        switch self {
        case .chatML: "chatml"
        case .qwen2: "qwen2"
        case .qwen25: "qwen2.5"
        case .qwen3: "qwen3"
        case .llama3: "llama3"
        case .llama31: "llama3.1"
        case .mistral: "mistral"
        case .deepSeekV3: "deepseek-v3"
        case .deepSeekR1: "deepseek-r1"
        }
    }

    /// What a request asks of its template besides.
    public enum Thinking: Sendable {
        case unsaid, on, off
        /// Something that only Jinja could follow.
        case other
    }

    /// The template that `source`, in Jinja, is; nil: none that is known. By what only this one says.
    static func recognize(_ source: Bytes) -> ChatTemplate? {
        if source.contains("<|im_start|>") {
            if source.contains("enable_thinking"), source.contains("last_query_index") { return .qwen3 }
            guard !source.contains("think") else { return nil }
            if source.contains("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.") {
                return .qwen25
            }
            // Short, so there is nothing in it that is not known.
            guard source.count < 600, source.contains("add_generation_prompt") else { return nil }
            if source.contains("You are a helpful assistant") {
                return source.contains(#"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"#) ? .qwen2 : nil
            }
            return source.contains("system") ? nil : .chatML
        }
        if source.contains("<|start_header_id|>") {
            guard source.contains("| trim") || source.contains("|trim") else { return nil }
            if source.contains("Cutting Knowledge Date: December 2023") {
                // Those that ask for today's date are another one every day.
                return source.contains("strftime_now") || !source.contains("26 Jul 2024") ? nil : .llama31
            }
            return source.count < 600 ? .llama3 : nil
        }
        if source.contains("<｜User｜>") {
            // Before these two a system message was all there could be, or stood elsewhere.
            guard source.contains("is_first_sp") else { return nil }
            if source.contains("</think>") { return source.contains(#"<｜Assistant｜><think>\n"#) ? .deepSeekR1 : nil }
            return .deepSeekV3
        }
        if source.contains("[AVAILABLE_TOOLS]["),
            source.contains(#""[INST]" + system_message + "\n\n" + message["content"]"#)
        {
            return .mistral
        }
        return nil
    }

    /// Appends what the engine sees of `conversation`; false, and nothing appended: it has more than this renders, or the
    /// template refuses it.
    func render(
        _ conversation: Conversation, _ thinking: Thinking, into out: inout List<UInt8>
    ) throws(TokenizerError) -> Bool {
        guard !conversation.hasMore, !conversation.messages.isEmpty, thinking != .other else { return false }
        for message in conversation.messages {
            guard message.content != nil, !message.hasMore, isKnown(message, conversation) else { return false }
        }
        var writer = TemplateWriter(conversation)
        try write(&writer, thinking, &out)
        guard !writer.isRefused else {
            out.clear()
            return false
        }
        return true
    }

    private func isKnown(_ message: Conversation.Message, _ conversation: Conversation) -> Bool {
        let role = conversation.role(message)
        return role == "user" || role == "assistant" || role == "system"
    }

    private func write(
        _ writer: inout TemplateWriter, _ thinking: Thinking, _ out: inout List<UInt8>
    ) throws(TokenizerError) {
        switch self {
        case .chatML: try writer.chatML(nil, &out)
        case .qwen2: try writer.chatML("You are a helpful assistant.", &out)
        case .qwen25:
            try writer.chatML("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.", &out)
        case .qwen3: try writer.qwen3(thinking, &out)
        case .llama3: try writer.llama3(&out)
        case .llama31: try writer.llama31(&out)
        case .mistral: try writer.mistral(&out)
        case .deepSeekV3: try writer.deepSeek(thinks: false, &out)
        case .deepSeekR1: try writer.deepSeek(thinks: true, &out)
        }
    }
}

/// What each template does, message by message.
private struct TemplateWriter {
    private let conversation: Conversation
    private var messages: [Conversation.Message] { conversation.messages }
    /// The template raises an exception for such a conversation.
    private(set) var isRefused = false

    init(_ conversation: Conversation) { self.conversation = conversation }

    private func role(_ message: Conversation.Message) -> Bytes { conversation.role(message) }
    private func content(_ message: Conversation.Message) -> Bytes { conversation.text.part(message.content ?? 0..<0) }
    private func isFrom(_ message: Conversation.Message, _ role: StaticString) -> Bool {
        self.role(message) == role
    }
    private var beginsWithSystem: Bool { messages.first.map { isFrom($0, "system") } ?? false }

    mutating func chatML(_ system: StaticString?, _ out: inout List<UInt8>) throws(TokenizerError) {
        let role: StaticString = "system"
        if let system, !beginsWithSystem { try turn(role.bytes, system.bytes, &out) }
        for message in messages { try turn(self.role(message), content(message), &out) }
        try out.append("<|im_start|>assistant\n")
    }

    private func turn(_ role: Bytes, _ content: Bytes, _ out: inout List<UInt8>) throws(TokenizerError) {
        try out.append("<|im_start|>")
        try out.append(role)
        try out.append("\n")
        try out.append(content)
        try out.append("<|im_end|>\n")
    }

    mutating func qwen3(_ thinking: ChatTemplate.Thinking, _ out: inout List<UInt8>) throws(TokenizerError) {
        let lastQuery = messages.lastIndex { message in
            let text = content(message)
            return isFrom(message, "user")
                && !(text.begins(with: "<tool_response>") && text.ends(with: "</tool_response>"))
        }
        for (index, message) in messages.enumerated() {
            var text = content(message)
            if isFrom(message, "assistant") {
                // What it began to answer shows its thoughts.
                guard let lastQuery, index < lastQuery else {
                    isRefused = true
                    return
                }
                if !message.hasReasoning, let end = text.last(of: "</think>") {
                    text = text.part((end + 8)..<text.count).withoutLineFeedsBefore
                }
            }
            try turn(role(message), text, &out)
        }
        try out.append("<|im_start|>assistant\n")
        if thinking == .off { try out.append("<think>\n\n</think>\n\n") }
    }

    mutating func llama3(_ out: inout List<UInt8>) throws(TokenizerError) {
        try out.append("<|begin_of_text|>")
        for message in messages { try llamaTurn(message, &out) }
        try out.append("<|start_header_id|>assistant<|end_header_id|>\n\n")
    }

    mutating func llama31(_ out: inout List<UInt8>) throws(TokenizerError) {
        try out.append("<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n")
        try out.append("Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n")
        if let first = messages.first, beginsWithSystem { try out.append(content(first).stripped) }
        try out.append("<|eot_id|>")
        for message in messages.dropFirst(beginsWithSystem ? 1 : 0) { try llamaTurn(message, &out) }
        try out.append("<|start_header_id|>assistant<|end_header_id|>\n\n")
    }

    private func llamaTurn(_ message: Conversation.Message, _ out: inout List<UInt8>) throws(TokenizerError) {
        try out.append("<|start_header_id|>")
        try out.append(role(message))
        try out.append("<|end_header_id|>\n\n")
        try out.append(content(message).stripped)
        try out.append("<|eot_id|>")
    }

    mutating func mistral(_ out: inout List<UInt8>) throws(TokenizerError) {
        let turns = messages.dropFirst(beginsWithSystem ? 1 : 0)
        try out.append("<s>")
        for (index, message) in turns.enumerated() {
            // Users and assistants take turns.
            guard isFrom(message, index % 2 == 0 ? "user" : "assistant") else {
                isRefused = true
                return
            }
            if index % 2 == 1 {
                try out.append(content(message))
                try out.append("</s>")
                continue
            }
            try out.append("[INST]")
            if index == turns.count - 1, beginsWithSystem, let system = messages.first {
                try out.append(content(system))
                try out.append("\n\n")
            }
            try out.append(content(message))
            try out.append("[/INST]")
        }
    }

    mutating func deepSeek(thinks: Bool, _ out: inout List<UInt8>) throws(TokenizerError) {
        try out.append("<｜begin▁of▁sentence｜>")
        var isFirst = true
        for message in messages where isFrom(message, "system") {
            if !isFirst { try out.append("\n\n") }
            try out.append(content(message))
            isFirst = false
        }
        for message in messages {
            if isFrom(message, "user") {
                try out.append("<｜User｜>")
                try out.append(content(message))
            } else if isFrom(message, "assistant") {
                var text = content(message)
                if thinks, let end = text.last(of: "</think>") { text = text.part((end + 8)..<text.count) }
                try out.append("<｜Assistant｜>")
                try out.append(text)
                try out.append("<｜end▁of▁sentence｜>")
            }
        }
        try out.append(thinks ? "<｜Assistant｜><think>\n" : "<｜Assistant｜>")
    }
}

extension List where Element == UInt8 {
    mutating func append(_ text: StaticString) throws(TokenizerError) { try append(text.bytes) }
}
