import FoundationEssentials
import GotoniEngines
import NIOCore

// Chat completions, completions and embeddings, as SGLang words them.

extension Answer {
    private var head: String { #""id":"\#(id)","object":"\#(object)","created":\#(created),"model":\#(model)"# }

    private var object: String {
        guard question.endpoint == .chat else { return "text_completion" }
        return question.facts.streams ? "chat.completion.chunk" : "chat.completion"
    }

    /// The event of a token, before its text and after it.
    func aroundOpenAIToken(_ index: Int) -> (ByteBuffer, ByteBuffer) {
        let isChat = question.endpoint == .chat
        let before =
            #"data: {\#(head),"choices":[{"index":\#(index),"# + (isChat ? #""delta":{"content":""# : #""text":""#)
        let after = (isChat ? #""}"# : #"""#) + #","logprobs":null,"finish_reason":null,"matched_stop":null}]}"#
        return (ByteBuffer(string: before), ByteBuffer(string: after + "\n\n"))
    }

    private func delta(_ index: Int, _ delta: String, finish: String = "null") -> String {
        #"{\#(head),"choices":[{"index":\#(index),"delta":\#(delta),"logprobs":null,"finish_reason":\#(finish),"#
            + #""matched_stop":null}]}"#
    }

    private func callID(_ index: Int) -> String { "call_\(id.dropFirst("chatcmpl-".count))_\(index)" }

    mutating func sendRole(_ index: Int) {
        guard let tool = question.tool else {
            return stream.add(delta(index, #"{"role":"assistant","content":""}"#))
        }
        let call =
            #"{"index":0,"id":"\#(callID(index))","type":"function","function":"#
            + #"{"name":\#(quoted(tool.name)),"arguments":""}}"#
        stream.add(delta(index, #"{"role":"assistant","content":null,"tool_calls":[\#(call)]}"#))
    }

    mutating func sendToolPiece(_ index: Int, _ number: Int) {
        guard let tool = question.tool, tool.pieces.indices.contains(number - 1) else { return }
        let piece = quoted(tool.pieces[number - 1])
        stream.add(delta(index, #"{"tool_calls":[{"index":0,"function":{"arguments":\#(piece)}}]}"#))
    }

    mutating func endOpenAIChoice(_ index: Int) {
        let finish = "\"\(finishReason(index))\""
        if question.endpoint == .chat {
            stream.add(delta(index, "{}", finish: finish))
        } else {
            stream.add(
                #"{\#(head),"choices":[{"index":\#(index),"text":"","logprobs":null,"finish_reason":\#(finish),"#
                    + #""matched_stop":null}]}"#)
        }
    }

    mutating func sendUsage() { stream.add(#"{\#(head),"choices":[],"usage":\#(usage)}"#) }

    var wholeChat: String {
        let list = choices.indices.map { index in
            #"{"index":\#(index),"message":\#(message(index)),"logprobs":null,"#
                + #""finish_reason":"\#(finishReason(index))","matched_stop":null}"#
        }
        return #"{\#(head),"choices":[\#(list.joined(separator: ","))],"usage":\#(usage),"#
            + #""metadata":{"weight_version":"default"}}"#
    }

    private func message(_ index: Int) -> String {
        let tokens = choices[index].tokens
        guard let tool = question.tool else {
            return #"{"role":"assistant","content":"\#(choices[index].filler.text(tokens))","reasoning_content":null,"#
                + #""tool_calls":null}"#
        }
        let arguments = quoted(tool.pieces.prefix(tokens).joined())
        return #"{"role":"assistant","content":null,"reasoning_content":null,"tool_calls":[{"id":"\#(callID(index))","#
            + #""index":0,"type":"function","function":{"name":\#(quoted(tool.name)),"arguments":\#(arguments)}}]}"#
    }

    var wholeCompletion: String {
        let list = choices.indices.map { index in
            #"{"index":\#(index),"text":"\#(choices[index].filler.text(choices[index].tokens))","logprobs":null,"#
                + #""finish_reason":"\#(finishReason(index))","matched_stop":null}"#
        }
        return #"{\#(head),"choices":[\#(list.joined(separator: ","))],"usage":\#(usage),"#
            + #""metadata":{"weight_version":"default"}}"#
    }

    /// Eight numbers from -1 to 1.
    private func embedding(_ index: Int) -> [Float] {
        (1...8).map { number in
            let word = choices[index].filler.piece(number)
            let letters = word.withUTF8Buffer { $0.reduce(0) { $0 * 31 + Int($1) } }
            return Float(letters % 2_001 - 1_000) / 1_000
        }
    }

    var wholeEmbeddings: String {
        let list = choices.indices.map { index in
            let numbers = embedding(index)
            let bytes = numbers.flatMap { number in withUnsafeBytes(of: number.bitPattern.littleEndian, Array.init) }
            let value = question.wantsBase64 ? "\"\(Data(bytes).base64EncodedString())\"" : "\(numbers)"
            return #"{"object":"embedding","index":\#(index),"embedding":\#(value)}"#
        }
        return #"{"object":"list","data":[\#(list.joined(separator: ","))],"model":\#(model),"usage":\#(usage)}"#
    }
}
