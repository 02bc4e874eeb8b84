public import GotoniCore

/// What an engine's work costs. Times are milliseconds, sizes are tokens.
///
/// An engine works in iterations. In each, every decoding request gets one token, and up to `chunkTokens` of waiting
/// prompts are prefilled, first come first served. An iteration takes
///
///     step + Σ over prefilled tokens ( prefillPerToken + prefillPerTokenKilocontext · context before it / 1000 )
///          + ( decode + decodePerRequest · B + decodePerKilocontext · context / 1000    if B > 0 requests decode )
///
/// This is continuous batching with chunked prefill as vLLM, SGLang and llama.cpp do it. The two context terms are
/// attention, and are zero where nobody published them.
public struct EngineModel: Codable, Equatable, Sendable {
    public var name: String
    public var prefillPerToken: Double
    public var prefillPerTokenKilocontext: Double
    public var decode: Double
    public var decodePerRequest: Double
    public var decodePerKilocontext: Double
    /// Of every iteration.
    public var step: Double
    /// Of every request, before it waits: reading and tokenizing it.
    public var request: Double
    /// Most prompt tokens of an iteration, over all requests.
    public var chunkTokens: Int
    /// Most requests admitted at one time.
    public var maxRunning: Int
    /// KV cache, for running requests and for prefixes kept.
    public var kvTokens: Int
    /// A prefix is found in whole pages of this size.
    public var pageTokens: Int

    public enum CodingKeys: String, CodingKey, CaseIterable {
        case name
        case prefillPerToken = "prefill_ms_per_token"
        case prefillPerTokenKilocontext = "prefill_ms_per_token_kilocontext"
        case decode = "decode_ms"
        case decodePerRequest = "decode_ms_per_request"
        case decodePerKilocontext = "decode_ms_per_kilocontext"
        case step = "step_ms"
        case request = "request_ms"
        case chunkTokens = "chunk_tokens"
        case maxRunning = "max_running"
        case kvTokens = "kv_tokens"
        case pageTokens = "page_tokens"
    }

    /// Errors: what is wrong, in a sentence.
    public func check() throws(SimulationError) {
        let times = [
            prefillPerToken, prefillPerTokenKilocontext, decode, decodePerRequest, decodePerKilocontext, step, request,
        ]
        guard times.allSatisfy({ (0...10_000).contains($0) }) else {
            throw SimulationError("engine \(name): a time is negative, above 10 seconds or no number")
        }
        guard prefillPerToken > 0, step + decode + decodePerRequest > 0 else {
            throw SimulationError("engine \(name): prefill and decode must take time")
        }
        let sizes = [chunkTokens, maxRunning, kvTokens, pageTokens]
        guard sizes.allSatisfy({ (1...1 << 32).contains($0) }) else {
            throw SimulationError("engine \(name): a size is below 1 or too large")
        }
        guard pageTokens <= kvTokens else {
            throw SimulationError(
                "engine \(name): a page of \(pageTokens) tokens is larger than the cache of \(kvTokens)")
        }
    }

    // MARK: Presets

    /// The model that smg's mock worker also uses: 8,000 tokens/s of prefill, 6 ms + 0.35 ms per request, 524,288 KV
    /// tokens, pages of 16, 256 running, chunks of 2,048 (smg, crates/mock_worker). No hardware in particular, so that
    /// figures can be compared.
    public static let neutral = EngineModel(
        name: "neutral", prefillPerToken: 0.125, decode: 6, decodePerRequest: 0.35, chunkTokens: 2_048, maxRunning: 256,
        kvTokens: 524_288, pageTokens: 16)

    /// Mistral-7B on 8×A100 (GORGO, arXiv 2602.11688v1): 0.094 ms per prompt token by regression over 87 prompts, time
    /// between tokens 10.7 ms, at most 10 running. Assumed, for the paper has no figure: 0.21 ms per running request (its
    /// standard deviation of the time between tokens), chunks, pages and KV cache as in `neutral`.
    public static let a100 = EngineModel(
        name: "8xa100-mistral-7b", prefillPerToken: 0.094, decode: 10.7, decodePerRequest: 0.21, chunkTokens: 2_048,
        maxRunning: 10, kvTokens: 524_288, pageTokens: 16)

    /// Qwen3.5-35B-A3B-FP8 on 2×L40S (GORGO v3's public logs): 0.075 ms per uncached token and 9.1 + 1.85 ms per request
    /// in flight between tokens, both by regression over seven runs; 983,549 KV tokens; 64 at one time. SGLang's
    /// page of 1 and chunks of 8,192 are its defaults.
    public static let l40s = EngineModel(
        name: "2xl40s-qwen3.5-35b", prefillPerToken: 0.075, decode: 9.1, decodePerRequest: 1.85, chunkTokens: 8_192,
        maxRunning: 64, kvTokens: 983_549, pageTokens: 1)

    /// The same model on one H100: 0.0694 ms per uncached token, the median of three regions, and 8.4 ms between tokens at
    /// light load, the smallest median reported (GORGO v3, WildChat). Assumed: 0.49 ms per request, the L40S slope over
    /// the 3.81 times by which one H100 prefills faster when idle; the KV cache, from `neutral`.
    public static let h100 = EngineModel(
        name: "h100-qwen3.5-35b", prefillPerToken: 0.0694, decode: 8.4, decodePerRequest: 0.49, chunkTokens: 8_192,
        maxRunning: 64, kvTokens: 524_288, pageTokens: 1)

    /// By the name of the command line.
    public static let presets: [(name: String, model: EngineModel)] = [
        ("neutral", neutral), ("a100", a100), ("l40s", l40s), ("h100", h100),
    ]

    public init(
        name: String, prefillPerToken: Double, prefillPerTokenKilocontext: Double = 0, decode: Double,
        decodePerRequest: Double, decodePerKilocontext: Double = 0, step: Double = 0, request: Double = 0,
        chunkTokens: Int, maxRunning: Int, kvTokens: Int, pageTokens: Int
    ) {
        self.name = name
        self.prefillPerToken = prefillPerToken
        self.prefillPerTokenKilocontext = prefillPerTokenKilocontext
        self.decode = decode
        self.decodePerRequest = decodePerRequest
        self.decodePerKilocontext = decodePerKilocontext
        self.step = step
        self.request = request
        self.chunkTokens = chunkTokens
        self.maxRunning = maxRunning
        self.kvTokens = kvTokens
        self.pageTokens = pageTokens
    }

    // MARK: Durations, in nanoseconds

    /// Prefill of `tokens` behind `context` tokens that are already there.
    func prefill(_ tokens: Int, after context: Int) -> Double {
        let n = Double(tokens)
        // Token i of them has context + i tokens before it.
        let before = n * Double(context) + n * (n - 1) / 2
        return 1e6 * (n * prefillPerToken + before * prefillPerTokenKilocontext / 1_000)
    }

    /// One iteration in which `requests` decode that hold `context` tokens together.
    func decoding(_ requests: Int, context: Int) -> Double {
        guard requests > 0 else { return 0 }
        return 1e6 * (decode + decodePerRequest * Double(requests) + decodePerKilocontext * Double(context) / 1_000)
    }

    /// `steps` iterations in a row that only decode: each adds a token of context per request.
    func decoding(_ requests: Int, context: Int, steps: Int) -> Double {
        let k = Double(steps)
        let growth = decodePerKilocontext / 1_000 * Double(requests) * k * (k - 1) / 2
        return k * (1e6 * step + decoding(requests, context: context)) + 1e6 * growth
    }

    /// From being accepted to the first token of a lone request, of whose prompt `cached` tokens are there.
    public func lonePrefill(promptTokens: Int, cached: Int) -> Nanoseconds {
        var (done, total) = (cached, 0.0)
        while done < promptTokens {
            let chunk = min(chunkTokens, promptTokens - done)
            total += (1e6 * step + prefill(chunk, after: done)).rounded()
            done += chunk
        }
        return Nanoseconds(milliseconds: (total + (1e6 * request).rounded()) / 1e6)
    }
}
