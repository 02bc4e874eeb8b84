// OpenAI's responses: one message, its events numbered.

extension Answer {
    private var itemID: String { "msg_\(id.dropFirst("resp-".count))" }

    private mutating func event(_ type: String, _ members: String) {
        stream.add(#"{"type":"\#(type)","sequence_number":\#(sequence),\#(members)}"#, name: type)
        sequence += 1
    }

    private func item(_ text: String?) -> String {
        let content = text.map { #"[{"type":"output_text","text":"\#($0)","annotations":[],"logprobs":[]}]"# } ?? "[]"
        return #"{"id":"\#(itemID)","type":"message","role":"assistant","status":"#
            + #""\#(text == nil ? "in_progress" : "completed")","content":\#(content)}"#
    }

    /// Where in the answer a part of the text belongs.
    private var place: String { #""item_id":"\#(itemID)","output_index":0,"content_index":0"# }

    mutating func beginResponse() {
        event("response.created", #""response":\#(response(isComplete: false))"#)
        event("response.in_progress", #""response":\#(response(isComplete: false))"#)
        event("response.output_item.added", #""output_index":0,"item":\#(item(nil))"#)
        event("response.content_part.added", #"\#(place),"part":{"type":"output_text","text":"","annotations":[]}"#)
    }

    mutating func sendResponseToken(_ index: Int, _ number: Int) {
        event(
            "response.output_text.delta", #"\#(place),"delta":"\#(choices[index].filler.piece(number))","logprobs":[]"#)
    }

    mutating func endResponse() {
        let text = choices[0].filler.text(choices[0].tokens)
        event("response.output_text.done", #"\#(place),"text":"\#(text)","logprobs":[]"#)
        event(
            "response.content_part.done", #"\#(place),"part":{"type":"output_text","text":"\#(text)","annotations":[]}"#
        )
        event("response.output_item.done", #""output_index":0,"item":\#(item(text))"#)
        event(
            isCutShort(0) ? "response.incomplete" : "response.completed", #""response":\#(response(isComplete: true))"#)
    }

    func response(isComplete: Bool) -> String {
        let isCut = isComplete && isCutShort(0)
        let status = isComplete ? (isCut ? "incomplete" : "completed") : "in_progress"
        let output = isComplete ? item(choices[0].filler.text(choices[0].tokens)) : ""
        let usage =
            isComplete
            ? #"{"input_tokens":\#(promptTokens),"input_tokens_details":{"cached_tokens":\#(cachedTokens)},"#
                + #""output_tokens":\#(outputTokens),"output_tokens_details":{"reasoning_tokens":0},"#
                + #""total_tokens":\#(promptTokens + outputTokens)}"#
            : "null"
        return #"{"id":"\#(id)","object":"response","created_at":\#(created),"status":"\#(status)","model":\#(model),"#
            + #""output":[\#(output)],"error":null,"#
            + #""incomplete_details":\#(isCut ? #"{"reason":"max_output_tokens"}"# : "null"),"#
            + #""instructions":null,"metadata":{},"parallel_tool_calls":true,"temperature":1.0,"top_p":1.0,"#
            + #""tool_choice":"auto","tools":[],"usage":\#(usage)}"#
    }
}
