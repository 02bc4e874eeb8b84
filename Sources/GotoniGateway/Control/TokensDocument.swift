import GotoniTokenizer

/// Where the tokens of prompts come from, and how they agree with the engines'.
struct TokensDocument: Encodable {
    struct Model: Encodable {
        var path: String
        var vocabularySize: Int
        /// Which of the known chat templates; null: conversations are approximate, unless another source knows them.
        var template: OrNull<String>
        var cacheEntries: Int
        var cacheBytes: Int
        var cacheHits: UInt64
        var cacheMisses: UInt64
    }
    struct Service: Encodable {
        var answering: Bool
        var answers: UInt64
        var failures: UInt64
    }
    struct Parity: Encodable {
        /// Prompts said to be exact of which the engine said how many tokens it counted, and how many were equal.
        var prompts: UInt64
        var equal: UInt64
        var ourTokens: UInt64
        var engineTokens: UInt64
        /// Of prompts of which something was expected in the engine's cache.
        var predictions: UInt64
        var withinBlock: UInt64
        var predictedTokens: UInt64
        var foundTokens: UInt64
        /// True: the last prompts differ too often; there is a line in the log.
        var drifting: Bool
    }
    var source: String
    /// How many prompts had their tokens from whom.
    var prompts: [String: UInt64]
    var model: OrNull<Model>
    /// Null: neither a service nor the engines are asked.
    var service: OrNull<Service>
    var parity: Parity

    init(_ tokens: PromptTokenizer) {
        let statistics = tokens.statistics
        source = tokens.description
        prompts = Dictionary(
            statistics.prompts.map { ($0.0.rawValue, $0.1) }, uniquingKeysWith: { first, _ in first })
        model = OrNull(nil)
        var asksOthers = false
        for one in tokens.sources {
            guard case .model(let tokenizer, let path) = one else {
                asksOthers = true
                continue
            }
            let cache = tokenizer.cacheStatistics
            model = OrNull(
                Model(
                    path: path, vocabularySize: tokenizer.vocabularySize,
                    template: OrNull(tokenizer.template.map { "\($0.name)" }), cacheEntries: cache.entries,
                    cacheBytes: cache.bytes,
                    cacheHits: cache.hits, cacheMisses: cache.misses))
        }
        let (health, meter) = (statistics.health, statistics.parity)
        service = OrNull(
            asksOthers
                ? Service(answering: health.isAnswering, answers: health.answers, failures: health.failures) : nil)
        parity = Parity(
            prompts: meter.prompts, equal: meter.equal, ourTokens: meter.ourTokens, engineTokens: meter.engineTokens,
            predictions: meter.predictions, withinBlock: meter.withinBlock, predictedTokens: meter.predictedTokens,
            foundTokens: meter.foundTokens, drifting: meter.countsDrift || meter.findsDrift)
    }
}
