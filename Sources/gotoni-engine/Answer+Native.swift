// SGLang's own /generate: every event has all of the text so far.

extension Answer {
    private func native(_ index: Int, _ text: String, tokens: Int) -> String {
        let choice = choices[index]
        let finish: String
        if tokens < choice.tokens {
            finish = "null"
        } else {
            finish = isCutShort(index) ? #"{"type":"length","length":\#(tokens)}"# : #"{"type":"stop","matched":0}"#
        }
        let place = choices.count > 1 ? #","index":\#(index)"# : ""
        return
            #"{"text":"\#(text)","meta_info":{"id":"\#(id)","finish_reason":\#(finish),"#
            + #""prompt_tokens":\#(promptTokens),"completion_tokens":\#(tokens),"#
            + #""cached_tokens":\#(cachedTokens),"weight_version":"default","#
            + #""e2e_latency":\#(latency)}\#(place)}"#
    }

    mutating func sendNativeToken(_ index: Int, _ number: Int) {
        choices[index].text += "\(choices[index].filler.piece(number))"
        stream.add(native(index, choices[index].text, tokens: number))
    }

    var wholeNative: String {
        let list = choices.indices.map { index in
            native(index, choices[index].filler.text(choices[index].tokens), tokens: choices[index].tokens)
        }
        return list.count == 1 ? list[0] : "[\(list.joined(separator: ","))]"
    }
}
