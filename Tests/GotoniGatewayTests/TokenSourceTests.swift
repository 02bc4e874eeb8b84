import GotoniCore
import GotoniTokenizer
import NIOConcurrencyHelpers
import Synchronization
import TestSupport
import Testing

@testable import GotoniGateway

@Suite struct ParityMeterTests {
    @Test func aFewDifferencesAreNoDrift() {
        var meter = ParityMeter()
        for index in 0..<200 {
            let engine = index % 40 == 0 ? 101 : 100
            let warning = meter.note(ours: 100, engine: engine, predicted: 0, found: 0, blockTokens: 16)
            #expect(warning == nil)
        }
        #expect(meter.prompts == 200 && meter.equal == 195 && meter.predictions == 0)
    }

    @Test func driftIsToldOnceAndItsEndToo() {
        var meter = ParityMeter()
        var warnings: [ParityMeter.Warning] = []
        for ours in Array(repeating: 100, count: 20) + Array(repeating: 90, count: 30)
            + Array(repeating: 100, count: 100)
        {
            if let warning = meter.note(ours: ours, engine: 100, predicted: 0, found: nil, blockTokens: 16) {
                warnings.append(warning)
            }
        }
        #expect(warnings == [.counts(unequal: 4, of: 24), .over])
        #expect(!meter.countsDrift)
    }

    @Test func whatTheEngineDoesNotFindIsTold() {
        var meter = ParityMeter()
        var warnings: [ParityMeter.Warning] = []
        for _ in 0..<ParityMeter.window {
            if let warning = meter.note(ours: 100, engine: nil, predicted: 96, found: 16, blockTokens: 16) {
                warnings.append(warning)
            }
        }
        #expect(warnings == [.finds(percent: 16)])
        #expect(meter.prompts == 0 && meter.withinBlock == 0)
        _ = meter.note(ours: 100, engine: nil, predicted: 96, found: 99, blockTokens: 16)
        #expect(meter.withinBlock == 1)
    }
}

@Suite struct SourceHealthTests {
    @Test func aDeadServiceIsAskedOnceASecond() {
        var health = SourceHealth()
        var now = Nanoseconds(0)
        func mayAsk() -> Bool { health.mayAsk(now: now) }
        func failed() -> Bool { health.failed(now: now) }
        for failure in 1...SourceHealth.failuresBeforePause {
            #expect(mayAsk())
            #expect(failed() == (failure == SourceHealth.failuresBeforePause))
        }
        #expect(!health.isAnswering)
        #expect(!mayAsk())
        now = now.plus(SourceHealth.pause)
        // One tries for all.
        #expect(mayAsk())
        #expect(!mayAsk())
        #expect(!failed())
        now = now.plus(SourceHealth.pause)
        #expect(mayAsk())
        health.answered()
        #expect(health.isAnswering && health.underWay == 0)
        #expect(mayAsk() && mayAsk())
    }

    @Test func questionsAreBounded() {
        var health = SourceHealth()
        func mayAsk() -> Bool { health.mayAsk(now: Nanoseconds(0)) }
        for _ in 0..<SourceHealth.mostUnderWay { #expect(mayAsk()) }
        #expect(!mayAsk())
        health.answered()
        #expect(mayAsk())
    }
}

/// The smallest byte-level model: bytes are tokens. Its template is ChatML.
private func byteTokenizer() throws -> Tokenizer {
    var vocabulary: [String] = []
    var others = 0x100
    for byte in 0...255 {
        let isItself = (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE
        let text = byte == 0x22 || byte == 0x5C ? "\\\(UnicodeScalar(UInt8(byte)))" : ""
        vocabulary.append(text.isEmpty ? String(UnicodeScalar(UInt32(isItself ? byte : others)) ?? "?") : text)
        if !isItself { others += 1 }
    }
    let entries = vocabulary.enumerated().map { "\"\($1)\": \($0)" }.joined(separator: ",")
    let json = """
        {"model": {"type": "BPE", "vocab": {\(entries)}, "merges": []},
         "added_tokens": [{"content": "<|im_start|>", "special": true}, {"content": "<|im_end|>", "special": true}],
         "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}}
        """
    let template = "{% for m in messages %}<|im_start|>{% endfor %}{{ add_generation_prompt }}"
    // Of temporaries Swift 6.3.1 makes broken code.
    let (file, jinja) = (Array(json.utf8), Array(template.utf8))
    return try Tokenizer(file.span, .huggingFace, template: jinja.span)
}

extension Sockets {
    @Suite struct TokenSourceTests {
        private func origins(_ running: RunningGateway) -> [String: UInt64] {
            Dictionary(
                uniqueKeysWithValues: running.gateway.dispatcher.tokens.statistics.prompts.filter { $0.1 > 0 }.map {
                    ($0.0.rawValue, $0.1)
                })
        }

        @Test func theModelCounts() async throws {
            let tokenizer = try byteTokenizer()
            try await withGateway({ $0.tokenSources = [.model(tokenizer, path: "m")] }) { running in
                // <|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n: 3 tokens and 5 + 5 + 1 + 10 bytes.
                running.engines[0].react { request in
                    request.answer(body: Array(#"{"usage": {"prompt_tokens": 24, "completion_tokens": 1}}"#.utf8))
                }
                let client = try await running.client()
                client.post("/v1/chat/completions", chat("hello"))
                #expect(try await client.answer().status == 200)
                client.post("/v1/completions", #"{"prompt": "hello"}"#)
                #expect(try await client.answer().status == 200)
                client.post("/v1/completions", #"{"prompt": [1, 2, 3]}"#)
                #expect(try await client.answer().status == 200)
                client.post("/v1/chat/completions", #"{"messages": [{"role": "tool", "content": "x"}]}"#)
                #expect(try await client.answer().status == 200)
                try await running.isClean()
                #expect(origins(running) == ["model": 2, "client": 1, "approximate": 1])
                let records = running.gateway.dispatcher.requestLog.records
                #expect(records.map(\.tokens) == [24, 5, 3, records[3].tokens])
                #expect(records.map(\.tokensFrom) == [.model, .model, .client, .approximate])
                let parity = running.gateway.dispatcher.tokens.statistics.parity
                #expect(parity.prompts == 3 && parity.equal == 1)
            }
        }

        /// Off the event loop, and the same.
        @Test func longPromptsAreCountedElsewhere() async throws {
            let tokenizer = try byteTokenizer()
            let text = String(repeating: "x", count: PromptTokenizer.mostOnLoop * 2)
            try await withGateway({ $0.tokenSources = [.model(tokenizer, path: "m")] }) { running in
                let client = try await running.client()
                client.post("/v1/completions", "{\"prompt\": \"\(text)\"}")
                #expect(try await client.answer().status == 200)
                try await running.isClean()
                #expect(running.gateway.dispatcher.requestLog.records.first?.tokens == text.utf8.count)
            }
        }

        @Test func enginesAreAsked() async throws {
            try await withGateway({
                $0.tokenSources = [.engine]
                $0.tokenizerTimeout = Nanoseconds(milliseconds: 10_000)
            }) { running in
                running.engines[0].react { request in
                    guard request.target.hasPrefix("/tokenize") else { return request.answer() }
                    #expect(request.target == "/tokenize?endpoint=chat")
                    #expect(request.text == chat("hello"))
                    request.answer(body: Array(#"{"count": 4, "tokens": [5, 6, 7, 8]}"#.utf8))
                }
                let client = try await running.client()
                client.post("/v1/chat/completions", chat("hello"))
                #expect(try await client.answer().status == 200)
                try await running.isClean()
                #expect(origins(running) == ["engine": 1])
                #expect(running.gateway.dispatcher.requestLog.records.first?.tokens == 4)
            }
        }

        /// Each of these answers says no tokens: the request is served with the estimate.
        @Test(arguments: [
            (200, #"{"tokens": []}"#), (200, "{}"), (200, #"{"tokens": [1, -1]}"#), (200, "nonsense"), (400, "{}"),
            (503, "{}"), (200, #"{"tokens": "1"}"#),
        ]) func whatSaysNothingIsEstimated(status: Int, body: String) async throws {
            try await withGateway({
                $0.tokenSources = [.engine]
                $0.tokenizerTimeout = Nanoseconds(milliseconds: 10_000)
            }) { running in
                running.engines[0].react { request in
                    request.target.hasPrefix("/tokenize")
                        ? request.answer(status, body: Array(body.utf8)) : request.answer()
                }
                let client = try await running.client()
                client.post("/v1/chat/completions", chat("hello"))
                #expect(try await client.answer().status == 200)
                #expect(origins(running) == ["estimate": 1])
            }
        }

        @Test func aSlowOneIsNotWaitedFor() async throws {
            try await withGateway({
                $0.tokenSources = [.engine]
                $0.tokenizerTimeout = Nanoseconds(milliseconds: 20)
            }) { running in
                running.engines[0].react { request in
                    // Never an answer to the question.
                    if !request.target.hasPrefix("/tokenize") { request.answer() }
                }
                let client = try await running.client()
                for _ in 0..<(SourceHealth.failuresBeforePause + 5) {
                    client.post("/v1/chat/completions", chat("hello"))
                    #expect(try await client.answer().status == 200)
                }
                let health = running.gateway.dispatcher.tokens.statistics.health
                #expect(health.underWay == 0 && health.failures >= UInt64(SourceHealth.failuresBeforePause))
                #expect(origins(running)["estimate"] == UInt64(SourceHealth.failuresBeforePause + 5))
            }
        }

        @Test func aServiceThatIsNotThereCostsNothing() async throws {
            try await withGateway({ $0.tokenSources = [.service(socket: "/nowhere/tokenizer.sock")] }) { running in
                let client = try await running.client()
                for _ in 0..<10 {
                    client.post("/v1/chat/completions", chat("hello"))
                    #expect(try await client.answer().status == 200)
                }
                #expect(origins(running) == ["estimate": 10])
                #expect(!running.gateway.dispatcher.tokens.statistics.health.isAnswering)
            }
        }

        /// While its tokens are being found: nothing is left over, and no answer goes to nobody.
        @Test func theClientMayLeave() async throws {
            try await withGateway({
                $0.tokenSources = [.engine]
                $0.tokenizerTimeout = Nanoseconds(milliseconds: 10_000)
            }) { running in
                running.engines[0].hold()
                let client = try await running.client()
                client.post("/v1/chat/completions", chat("hello"))
                let question = try await running.engines[0].next()
                #expect(question.target.hasPrefix("/tokenize"))
                client.close()
                try await eventually("cancelled") { running.counters.cancelled.load(ordering: .relaxed) == 1 }
                question.answer(body: Array(#"{"tokens": [1]}"#.utf8))
            }
        }
    }
}
