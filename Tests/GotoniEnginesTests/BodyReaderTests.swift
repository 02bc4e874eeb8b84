import Foundation
import GotoniCore
import GotoniEngines
import TestSupport
import Testing

/// What becomes of each shape of a prompt, byte by byte. `‹M›` is a marker.
@Suite struct PromptShapeTests {
    static let shapes: [(Endpoint, String, String)] = [
        // Chat.
        (.chat, #"{"messages":[{"role":"user","content":"hi"}]}"#, "‹M›user‹C›hi"),
        (.chat, #" { "messages" : [ { "content" : "hi" , "role" : "user" } ] } "#, "‹M›user‹C›hi"),
        (.chat, #"{"m\u0065ssages":[{"rol\u0065":"us\u0065r","content":"h\u0069"}]}"#, "‹M›user‹C›hi"),
        (.chat, #"{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}"#, "‹M›user‹C›hi"),
        (
            .chat,
            #"{"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"x":[1]}},{"type":"text","text":"b"},"c"]}]}"#,
            "‹M›user‹C›a\nb\nc"
        ),
        (
            .chat,
            #"{"messages":[{"role":"developer","content":"d"},{"role":"system","name":"n","content":"s"},{"role":"user","content":"u"}]}"#,
            "‹M›developer‹C›d‹M›system‹N›n‹C›s‹M›user‹C›u"
        ),
        (
            .chat,
            #"{"messages":[{"role":"assistant","content":null,"tool_calls":[ {"id":"1","function":{"name":"f","arguments":"{\"a\": 1}"}} ]},{"role":"tool","tool_call_id":"1","content":"ok"}]}"#,
            #"‹M›assistant‹T›[ {"id":"1","function":{"name":"f","arguments":"{\"a\": 1}"}} ]‹M›tool‹I›1‹C›ok"#
        ),
        (
            .chat,
            #"{"messages":[{"role":"assistant","content":"a","reasoning_content":"r","tool_calls":[],"name":null}]}"#,
            "‹M›assistant‹R›r‹C›a"
        ),
        (
            .chat,
            #"{"messages":[{"role":"user","content":"u"}],"tools":[{"type": "function"}],"functions":[1],"instructions":"i"}"#,
            #"‹F›[{"type": "function"}]‹F›[1]‹M›system‹C›i‹M›user‹C›u"#
        ),
        (
            .chat,
            #"{"messages":[{"role":"assistant","content":[{"type":"refusal","refusal":"no"},{"type":"thinking","thinking":"t"}]}]}"#,
            "‹M›assistant‹C›no\nt"
        ),
        (.chat, #"{"messages":[{"role":"user","content":7},null,"x"],"tools":[]}"#, "‹M›user‹C›7‹M›null‹M›x"),
        (.chat, #"{"messages":[{"role":"user"}]}"#, "‹M›user"),
        (.chat, #"{"messages":"x"}"#, "‹M›user‹C›x"),
        (.chat, #"{"messages":[]}"#, ""),
        (.chat, #"{"messages":null,"prompt":"no"}"#, ""),
        (.chat, #"{}"#, ""),
        // Of a key that is there twice the last counts.
        (.chat, #"{"messages":[1],"messages":[{"role":"a","content":"1","role":"b","content":"2"}]}"#, "‹M›b‹C›2"),
        // Completions.
        (.completions, #"{"prompt":"hello"}"#, "hello"),
        (.completions, #"{"prompt":""}"#, ""),
        (.completions, #"{"prompt":{"a":1}}"#, #"‹J›{"a":1}"#),
        (.completions, #"{"messages":[]}"#, ""),
        // Responses.
        (.responses, #"{"input":"hi"}"#, "‹M›user‹C›hi"),
        (
            .responses, #"{"input":"hi","instructions":"be kind","tools":[{"a":1}]}"#,
            #"‹F›[{"a":1}]‹M›system‹C›be kind‹M›user‹C›hi"#
        ),
        (
            .responses,
            #"{"input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"q"}]},{"role":"assistant","content":[{"type":"output_text","text":"a","annotations":[]}]}]}"#,
            "‹M›user‹C›q‹M›assistant‹C›a"
        ),
        (
            .responses,
            #"{"input":[{"type":"reasoning","id":"r1","summary":[{"type":"summary_text","text":"s"}],"encrypted_content":"xx"},{"type":"function_call","id":"f1","call_id":"c1","name":"f","arguments":"{\"a\":1}"},{"type":"function_call_output","call_id":"c1","output":"42\n"}]}"#,
            "‹M›reasoning‹R›s‹M›function_call‹N›f‹I›c1‹A›{\"a\":1}‹M›function_call_output‹I›c1‹O›42\n"
        ),
        (
            .responses, #"{"input":[{"type":"item_reference","id":"i1"}]}"#,
            #"‹M›item_reference‹J›{"type":"item_reference","id":"i1"}"#
        ),
        // Embeddings and SGLang's own.
        (.embeddings, #"{"input":"hi"}"#, "hi"),
        (.embeddings, #"{"messages":[{"role":"user","content":"x"}]}"#, "‹M›user‹C›x"),
        (.generate, #"{"text":"hi"}"#, "hi"),
        (.generate, #"{"text":"hi","input_ids":null,"image_data":null}"#, "hi"),
    ]

    @Test(arguments: shapes) func bytes(_ endpoint: Endpoint, _ body: String, _ expected: String) throws {
        let read = try BodyReader().read(body, endpoint)
        #expect(read.bytes == padded(stream(expected)), "\(body)")
        #expect(!read.facts.isExact)
    }

    @Test func batchesAndTokenIDs() throws {
        let reader = BodyReader()
        for (endpoint, key) in [(Endpoint.completions, "prompt"), (.embeddings, "input"), (.generate, "input_ids")] {
            var read = try reader.read("{\"\(key)\":[0, 1,4294967295 ]}", endpoint)
            #expect(read.tokens == [0, 1, 4_294_967_295] && read.facts.isExact && read.facts.sequences == 1)
            read = try reader.read("{\"\(key)\":[[1,2],[3]]}", endpoint)
            #expect(read.tokens == [1, 2, 3] && read.facts.isExact && read.facts.sequences == 2)
            read = try reader.read("{\"\(key)\":[]}", endpoint)
            #expect(read.tokens == [] && !read.facts.isExact && read.facts.sequences == 0)
            for wrong in [
                "[1,-1]", "[4294967296]", "[1.0]", "[1e3]", "[1,\"a\"]", "[1,null]", "[[1],[2,[3]]]",
                "[99999999999999999999]",
            ] {
                #expect(throws: BodyError.tokenID, "\(wrong)") { try reader.read("{\"\(key)\":\(wrong)}", endpoint) }
                #expect(reader.tokens.isEmpty)
            }
        }
        let texts = try reader.read(#"{"prompt":["hello","","abcd"]}"#, .completions)
        #expect(texts.bytes == padded(Array("hello".utf8)) + Array("abcd".utf8) && texts.facts.sequences == 3)
        #expect(try reader.read(#"{"prompt":["a",[1]]}"#, .completions).facts.isExact == false)
    }

    /// An image counts the same whatever its size, differs from another, and leaves what is before it alone.
    @Test func media() throws {
        let reader = BodyReader()
        func chat(_ url: String) throws -> [UInt8] {
            try reader.read(
                #"{"messages":[{"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"\#(url)"}}]}]}"#,
                .chat
            ).bytes
        }
        let (small, large) = (try chat("data:a"), try chat("data:" + String(repeating: "A", count: 300_000)))
        #expect(small.count == large.count && small.count / 4 == (stream("‹M›user‹C›see\n").count + 1024 + 3) / 4)
        #expect(small.starts(with: stream("‹M›user‹C›see\n‹X›")) && small != large)
        #expect(try chat("data:a") == small)

        let one = try reader.read(#"{"text":"t","image_data":"x"}"#, .generate).facts.promptTokens
        let two = try reader.read(#"{"text":"t","image_data":["x",null,"y"]}"#, .generate).facts.promptTokens
        #expect((one, two) == (257, 513))
        // A small body cannot ask for much memory.
        let many = "{\"messages\":[{\"content\":[" + String(repeating: "{},", count: 100_000) + "{}]}]}"
        #expect(try reader.read(many, .chat).facts.promptTokens < 1 << 21)
    }

    /// What is kept after a huge body must not spoil the next, nor the other way round.
    @Test func hugeBodiesBetweenSmallOnes() throws {
        let reader = BodyReader()
        for size in [10, 5_000_000, 10, 100_000, 70_000, 2_000_000, 3] {
            let text = String(repeating: "x", count: size)
            #expect(try reader.read("{\"prompt\":\"\(text)\"}", .completions).bytes == padded(Array(text.utf8)))
        }
    }
}

@Suite struct BodyFactsTests {
    func facts(_ body: String, _ endpoint: Endpoint = .chat) throws -> BodyFacts {
        try BodyReader().read(body, endpoint).facts
    }

    func key(_ text: String) -> UInt64 { Array(text.utf8).withUnsafeBytes { Key.of($0.bytes) } }

    func namespace(_ model: String, _ adapter: String = "", _ salt: String = "") -> UInt64 {
        let parts = [model, adapter, salt].map { Array($0.utf8) }
        return parts[0].withUnsafeBytes { model in
            parts[1].withUnsafeBytes { adapter in
                parts[2].withUnsafeBytes { Key.namespace(model: model.bytes, adapter: adapter.bytes, salt: $0.bytes) }
            }
        }
    }

    @Test func session() throws {
        #expect(try facts("{}").sessionKey == 0)
        #expect(try facts(#"{"user":"u"}"#).sessionKey == key("u"))
        #expect(try facts(#"{"user":"u","conversation":"c"}"#).sessionKey == key("c"))
        #expect(try facts(#"{"user":"u","conversation":{"id":"c\u0021"}}"#).sessionKey == key("c!"))
        #expect(try facts(#"{"conversation":"c","prompt_cache_key":"p"}"#).sessionKey == key("p"))
        #expect(try facts(#"{"prompt_cache_key":"p","session_params":{"id":"s"}}"#).sessionKey == key("s"))
        #expect(try facts(#"{"session_params":{"id":"s"},"session_id":"t"}"#).sessionKey == key("t"))
        #expect(try facts(#"{"session_id":"","user":"u"}"#).sessionKey == key("u"))
        #expect(try facts(#"{"session_id":null,"session_params":null,"user":12}"#).sessionKey == key("12"))
    }

    @Test func namespaces() throws {
        #expect(try facts("{}").namespace == namespace(""))
        #expect(try facts(#"{"model":"m"}"#).namespace == namespace("m"))
        #expect(try facts(#"{"model":"m","lora_path":"a"}"#).namespace == namespace("m", "a"))
        #expect(try facts(#"{"model":"m","lora_name":"a","lora_path":null}"#).namespace == namespace("m", "a"))
        #expect(try facts(#"{"model":"m","lora":[{"id": 1}]}"#).namespace == namespace("m", #"[{"id": 1}]"#))
        #expect(try facts(#"{"model":"m","cache_salt":"a"}"#).namespace == namespace("m", "", "a"))
        let salts = [#""cache_salt":"ab""#, #""extra_key":"ab""#, #""cache_salt":"a","extra_key":"b""#]
        #expect(Set(try salts.map { try facts("{\($0)}").namespace }).count == 3)
    }

    @Test func theRest() throws {
        var read = try facts(#"{"stream":true,"stream_options":{"include_usage":true},"priority":-3,"max_tokens":7}"#)
        #expect(read.streams && read.wantsUsage && read.priority == -3 && read.maxOutputTokens == 7)
        read = try facts(#"{"stream":false,"stream_options":null,"priority":1.5,"max_tokens":null}"#)
        #expect(!read.streams && !read.wantsUsage && read.priority == 0 && read.maxOutputTokens == nil)
        #expect(try facts(#"{"max_tokens":7,"max_completion_tokens":8}"#).maxOutputTokens == 8)
        #expect(try facts(#"{"max_output_tokens":9}"#, .responses).maxOutputTokens == 9)
        #expect(try facts(#"{"sampling_params":{"max_new_tokens":0}}"#, .generate).maxOutputTokens == 0)
        #expect(try facts(#"{"sampling_params":[{"max_new_tokens":5}]}"#, .generate).maxOutputTokens == 5)
        #expect(try facts(#"{"max_tokens":-1,"priority":99999999999999999999}"#).priority == 0)
        #expect(try facts(#"{"messages":[{"content":"x"}]}"#).sequences == 1)
        #expect(try facts("{}").sequences == 0)
    }

    @Test func model() throws {
        let reader = BodyReader()
        _ = try reader.read(#"{"model":"mistral\/\u00e9"}"#, .chat)
        #expect(reader.model() == "mistral/é")
        _ = try reader.read("{\"model\":\"\(String(repeating: "m", count: 1000))\"}", .chat)
        #expect(reader.model()?.utf8.count == 256)
        _ = try reader.read("{}", .chat)
        #expect(reader.model() == nil)
    }
}
