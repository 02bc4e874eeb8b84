import FoundationEssentials
import GotoniCore
import GotoniEngines
import NIOConcurrencyHelpers
import NIOCore

/// Asks a server for the tokens of a request's body. On the event loop of its caller.
///
/// vLLM and `gotoni-tokenizer` take the client's own body and answer `{"count": n, "tokens": [...]}`. llama.cpp renders a
/// conversation first (`/apply-template`) and tokenizes the text then; to a body it does not know it answers with no
/// tokens, and without a count.
final class TokenizeCall {
    enum Result: Sendable {
        case tokens([UInt32])
        /// An answer without tokens: it does not know this kind of request.
        case refused
        case failed(String)
    }

    private let server: Server
    private let by: LoopContext
    private let apiKey: String?
    private let deadline: Nanoseconds
    private let done: (Result) -> Void

    @discardableResult init(
        _ body: ByteBuffer, _ endpoint: Endpoint, to server: Server, by loop: LoopContext, timeout: Nanoseconds,
        apiKey: String?, done: @escaping (Result) -> Void
    ) {
        self.server = server
        by = loop
        self.apiKey = apiKey
        deadline = Clock.now().plus(timeout)
        self.done = done
        let isLlamaCpp = server.state.withLockedValue { $0.report?.kind == .llamacpp }
        if isLlamaCpp, endpoint == .chat {
            post("/apply-template", body) { self.tokenize(rendered: $0) }
        } else if isLlamaCpp {
            // Its `/tokenize` knows neither prompts nor lists.
            done(.refused)
        } else {
            post("/tokenize?endpoint=\(endpoint)", body) { self.read($0) }
        }
    }

    private func post(_ path: String, _ body: ByteBuffer, _ use: @escaping (ByteBuffer) -> Void) {
        let now = Clock.now()
        guard now < deadline else { return done(.failed("timeout")) }
        let fetch = Fetch(
            path, posting: body, from: by.pool(for: server), on: by.loop, timeout: deadline.since(now), apiKey: apiKey)
        fetch.answer.assumeIsolated().whenComplete { result in
            switch result {
            case .success(let answer) where answer.status == 200: use(answer.body)
            // 503: it has too much to do.
            case .success(let answer): self.done(answer.status >= 500 ? .failed("status \(answer.status)") : .refused)
            case .failure(let error): self.done(.failed("\(error)"))
            }
        }
    }

    private func read(_ answer: ByteBuffer) {
        let reader = BodyReader()
        let ids = answer.withUnsafeReadableBytes { reader.readTokens(ofAnswer: $0) }
        done(ids ? .tokens(Array(reader.tokens)) : .refused)
    }

    private struct Rendered: Decodable { var prompt: String }
    private struct Text: Encodable {
        var content: String
        var add_special = true
    }

    private func tokenize(rendered answer: ByteBuffer) {
        let data = Data(answer.readableBytesView)
        guard let rendered = try? JSONDecoder().decode(Rendered.self, from: data),
            let question = try? JSONEncoder().encode(Text(content: rendered.prompt))
        else { return done(.refused) }
        post("/tokenize", ByteBuffer(bytes: question)) { self.read($0) }
    }
}
