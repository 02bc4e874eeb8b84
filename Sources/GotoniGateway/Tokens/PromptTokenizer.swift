import GotoniCore
import GotoniEngines
import GotoniTokenizer
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Synchronization

/// Finds the tokens of prompts, from the first source that knows them exactly; a model in this process is always first. Any thread; nothing here is done under the
/// router's lock.
final class PromptTokenizer: Sendable {
    /// A prompt of more bytes is tokenized on a thread of its own: on the event loop it would hold up answers that pass
    /// there for milliseconds.
    static let mostOnLoop = 32 << 10
    /// Threads for these.
    static let threadCount = 2

    let sources: [TokenSource]
    private let timeout: Nanoseconds
    private let threads: NIOThreadPool?
    private let health: NIOLockedValueBox<SourceHealth>
    private let meter: NIOLockedValueBox<ParityMeter>
    private let blockTokens: Int
    private let apiKey: String?
    private let logger: Logger
    /// Prompts, by `TokenOrigin.allCases`.
    private let counts: NIOLockedValueBox<[UInt64]>
    /// Stands for the service: what connections are made to. It is in no fleet.
    private let service: Server?

    init(_ configuration: GatewayConfiguration, logger: Logger) {
        // What is in this process first: it answers at once, while the reader still has the prompt.
        sources = configuration.tokenSources.filter(\.isHere) + configuration.tokenSources.filter { !$0.isHere }
        timeout = configuration.tokenizerTimeout
        blockTokens = configuration.router.blockTokens
        apiKey = configuration.upstreamAPIKey
        self.logger = logger
        health = NIOLockedValueBox(SourceHealth())
        meter = NIOLockedValueBox(ParityMeter())
        counts = NIOLockedValueBox(TokenOrigin.allCases.map { _ in 0 })
        threads = sources.contains(where: \.isHere) ? NIOThreadPool(numberOfThreads: Self.threadCount) : nil
        threads?.start()
        service =
            sources.lazy.compactMap { source in
                guard case .service(let socket) = source else { return nil }
                return Server(
                    id: ServerID(UInt64.max), name: "tokenizer", url: ServerURL(socketPath: socket), tls: nil,
                    limit: SourceHealth.mostUnderWay)
            }.first
    }

    func stop() async { try? await threads?.shutdownGracefully() }

    /// A request whose tokens are looked for.
    struct Question {
        var loop: LoopContext
        /// It has read the body.
        var reader: BodyReader { loop.reader }
        var facts: BodyFacts
        var endpoint: Endpoint
        var body: ByteBuffer
    }

    /// Calls `done` on the loop, at once or later; nil: only the estimate is known. What comes later has lost what the
    /// loop's reader had read.
    func find(_ question: Question, _ done: @escaping (PromptTokens?) -> Void) {
        guard !question.facts.isExact, question.facts.sequences > 0 else { return done(nil) }
        ask(sources[...], question, best: nil, done)
    }

    private func ask(
        _ sources: ArraySlice<TokenSource>, _ question: Question, best: PromptTokens?,
        _ done: @escaping (PromptTokens?) -> Void
    ) {
        guard let source = sources.first else { return done(best) }
        func goOn(_ found: PromptTokens?) {
            if let found, found.origin.isExact { return done(found) }
            ask(sources.dropFirst(), question, best: found ?? best, done)
        }
        switch source {
        case .model(let tokenizer, _): tokenize(question, tokenizer, goOn)
        case .service:
            guard let service else { return goOn(nil) }
            call(question, service, .service, goOn)
        case .engine:
            guard let engine = question.loop.dispatcher.anyEngine() else { return goOn(nil) }
            call(question, engine, .engine, goOn)
        }
    }

    // MARK: In this process

    private func tokenize(_ question: Question, _ tokenizer: Tokenizer, _ done: @escaping (PromptTokens?) -> Void) {
        let prompt = question.reader.prompt
        guard prompt.count > 0 else { return done(nil) }
        guard prompt.count > Self.mostOnLoop, let threads else {
            return done(Self.tokens(prompt, question.facts, tokenizer))
        }
        let (copy, facts, loop) = (Array(prompt), question.facts, question.loop.loop)
        let result = NIOLoopBound(done, eventLoop: loop)
        threads.submit { state in
            let found =
                state == .active ? copy.withUnsafeBufferPointer { Self.tokens($0, facts, tokenizer) } : nil
            loop.execute { result.value(found) }
        }
    }

    /// Nil: there is something in it that is no text, or too long a word.
    static func tokens(
        _ prompt: UnsafeBufferPointer<UInt8>, _ facts: BodyFacts, _ tokenizer: Tokenizer
    ) -> PromptTokens? {
        let thinking: ChatTemplate.Thinking =
            switch facts.templateWishes {
            case .nothing: .unsaid
            case .thinking: .on
            case .noThinking: .off
            case .more: .other
            }
        let found = try? tokenizer.withPrompt(prompt.span, isConversation: facts.isConversation, thinking: thinking) {
            (tokens, exactness) throws(TokenizerError) in
            PromptTokens(
                ids: tokens.withUnsafeBufferPointer { Array($0) }, origin: exactness == .exact ? .model : .approximate)
        }
        return found ?? nil
    }

    // MARK: Elsewhere

    private func call(
        _ question: Question, _ server: Server, _ origin: TokenOrigin, _ done: @escaping (PromptTokens?) -> Void
    ) {
        guard health.withLockedValue({ $0.mayAsk(now: Clock.now()) }) else { return done(nil) }
        TokenizeCall(
            question.body, question.endpoint, to: server, by: question.loop, timeout: timeout,
            apiKey: origin == .engine ? apiKey : nil
        ) { result in
            switch result {
            case .tokens(let ids):
                self.health.withLockedValue { $0.answered() }
                done(PromptTokens(ids: ids, origin: origin))
            case .refused:
                // It answers, and cannot say.
                self.health.withLockedValue { $0.answered() }
                done(nil)
            case .failed(let why):
                if self.health.withLockedValue({ $0.failed(now: Clock.now()) }) {
                    self.logger.warning(
                        "tokens are estimated: the tokenizer does not answer",
                        metadata: ["tokenizer": "\(origin)", "why": "\(why)"])
                }
                done(nil)
            }
        }
    }

    // MARK: The account

    func count(_ origin: TokenOrigin) {
        guard let index = TokenOrigin.allCases.firstIndex(of: origin) else { return }
        counts.withLockedValue { $0[index] += 1 }
    }

    /// What the engine said of a prompt that we had counted.
    func note(ours: Int, _ origin: TokenOrigin, engine: Int?, predicted: Int, found: Int?) {
        guard origin.isExact else { return }
        let warning = meter.withLockedValue {
            $0.note(ours: ours, engine: engine, predicted: predicted, found: found, blockTokens: blockTokens)
        }
        switch warning {
        case .counts(let unequal, let of):
            logger.warning(
                "prompt tokens differ from the engine's: another tokenizer or chat template?",
                metadata: ["unequal": "\(unequal)", "of": "\(of)"])
        case .finds(let percent):
            logger.warning(
                "the engine finds less in its cache than predicted", metadata: ["percent": "\(percent)"])
        case .over: logger.notice("prompt tokens and cached tokens agree with the engine's again")
        case nil: return
        }
    }

    struct Statistics {
        var prompts: [(TokenOrigin, UInt64)]
        var parity: ParityMeter
        var health: SourceHealth
    }

    var statistics: Statistics {
        Statistics(
            prompts: Array(zip(TokenOrigin.allCases, counts.withLockedValue { $0 })),
            parity: meter.withLockedValue { $0 }, health: health.withLockedValue { $0 })
    }

    /// As configured, in one word or path each.
    var description: String {
        sources.isEmpty ? "estimate" : sources.map { "\($0)" }.joined(separator: ",")
    }

    /// The tokenizer in this process; nil: none.
    var model: Tokenizer? {
        for case .model(let tokenizer, _) in sources { return tokenizer }
        return nil
    }
}
