private import FoundationEssentials
public import GotoniCore

/// An engine whose metrics we can read.
public enum EngineKind: String, Sendable, CaseIterable { case sglang, vllm, llamacpp, tensorrt }

/// Why a report cannot be read.
public enum ReportError: UInt8, Error, Sendable, CaseIterable {
    case unknownEngine = 1
    case json = 2
    case tooLarge = 3

    /// What is wrong with it, in one sentence.
    public var text: StaticString {
        switch self {
        case .unknownEngine:
            "the metrics are of no engine we know: no name begins with sglang:, vllm:, llamacpp: or trtllm_"
        case .json: "the load report is not the JSON of SGLang's /v1/loads or /get_load"
        case .tooLarge: "the report is larger than 8 MiB, or has more than 1024 series of one figure"
        }
    }
}

/// What an engine says about its load. Nil is unknown, never 0.
///
/// Data-parallel ranks are added up (shares are averaged), of tensor- and pipeline-parallel ones the largest counts.
public struct EngineReport: Equatable, Sendable {
    /// Nil: not said.
    public var kind: EngineKind?
    /// Requests the engine computes, and requests that wait for it.
    public var running: Int?
    public var queued: Int?
    /// Prompt tokens of the waiting that are not cached.
    public var queuedTokens: Int?
    /// Tokens of the KV cache that running requests hold, and all it can hold.
    public var usedTokens: Int?
    public var kvCapacityTokens: Int?
    /// Of the KV cache, 0...1.
    public var cacheUsage: Double?
    /// Most requests that run at one time.
    public var maxRunning: Int?
    /// Of prompt tokens, 0...1: of the last batches (SGLang, TensorRT-LLM) or since the start (vLLM).
    public var cacheHitRate: Double?
    /// A number that changes when the engine restarts: when its process began, in milliseconds since 1970.
    public var incarnation: UInt64?

    public init() {}

    /// A larger report is no report.
    public static let mostBytes = 8 << 20

    /// What `GET /metrics` answers. The engine is the one whose prefix comes first; other names are not looked at.
    public init(prometheus text: UnsafeRawBufferPointer) throws(ReportError) {
        guard text.count <= Self.mostBytes else { throw .tooLarge }
        guard let names = Self.engine(of: text) else { throw .unknownEngine }
        let figures = try FigureTable(text, names)
        kind = names.kind
        running = figures.count(.running)
        queued = figures.count(.queued)
        queuedTokens = figures.count(.queuedTokens)
        usedTokens = figures.count(.usedTokens)
        kvCapacityTokens = figures.count(.kvCapacityTokens) ?? figures.count(.cacheInfo)
        cacheUsage = figures.share(.cacheUsage)
        maxRunning = figures.count(.maxRunning)
        cacheHitRate = figures.share(.cacheHitRate)
        if cacheHitRate == nil, let queries = figures.sum(.cacheQueries), let hits = figures.sum(.cacheHits),
            queries > 0
        {
            cacheHitRate = Self.share(hits / queries)
        }
        if usedTokens == nil, let cacheUsage, let kvCapacityTokens {
            usedTokens = Self.count(cacheUsage * Double(kvCapacityTokens))
        }
        if let start = figures.sum(.processStart), start > 0 { incarnation = Self.count(start * 1000).map(UInt64.init) }
    }

    /// What SGLang answers to `GET /v1/loads` (0.5.9 and later) or `GET /get_load` (0.5.5).
    public init(loads json: UnsafeRawBufferPointer) throws(ReportError) {
        guard json.count <= Self.mostBytes else { throw .tooLarge }
        let data = Data(json)
        let decoder = JSONDecoder()
        guard
            let loads = (try? decoder.decode(SGLangLoads.self, from: data).loads)
                ?? (try? decoder.decode([SGLangLoad].self, from: data))
        else { throw .json }
        // Known only if every rank says it: half a sum would look like little load.
        func values(_ figure: (SGLangLoad) -> Double?) -> [Double]? {
            let known = loads.compactMap(figure).filter { $0.isFinite && $0 >= 0 }
            return known.isEmpty || known.count < loads.count ? nil : known
        }
        func count(_ figure: (SGLangLoad) -> Double?) -> Int? { values(figure).flatMap { Self.count($0.reduce(0, +)) } }
        func share(_ figure: (SGLangLoad) -> Double?) -> Double? {
            values(figure).map { Self.share($0.reduce(0, +) / Double($0.count)) }
        }
        kind = .sglang
        running = count { load in
            load.num_running_reqs
                ?? load.num_reqs.flatMap { all in load.num_waiting_reqs.map { max(0, all - $0) } }
        }
        queued = count(\.num_waiting_reqs)
        queuedTokens = count(\.num_waiting_uncached_tokens)
        usedTokens = count(\.num_used_tokens)
        kvCapacityTokens = count(\.max_total_num_tokens)
        cacheUsage = share(\.token_usage)
        maxRunning = count(\.max_running_requests)
        cacheHitRate = share(\.cache_hit_rate)
    }

    /// What the router is told. A capacity of 0 is none, and figures too large to be true are left out.
    public var metrics: EngineMetrics {
        // EngineMetrics refuses larger figures.
        func known(_ count: Int?) -> UInt64? { count.flatMap { (0...(1 << 40)).contains($0) ? UInt64($0) : nil } }
        var metrics = EngineMetrics()
        metrics.queuedRequests = known(queued)
        metrics.runningRequests = known(running)
        metrics.queuedTokens = known(queuedTokens)
        metrics.runningTokens = known(usedTokens)
        metrics.kvCapacityTokens = known(kvCapacityTokens).flatMap { $0 > 0 ? $0 : nil }
        metrics.runningLimit = known(maxRunning).flatMap { $0 > 0 ? $0 : nil }
        metrics.incarnation = incarnation
        return metrics
    }

    /// A whole number of requests, tokens or milliseconds; nil: it is none.
    static func count(_ value: Double) -> Int? {
        value.isFinite && value >= 0 && value < 9_007_199_254_740_992 ? Int(value.rounded()) : nil
    }

    static func share(_ value: Double) -> Double { min(max(value, 0), 1) }

    private static func engine(of text: UnsafeRawBufferPointer) -> EngineNames? {
        var samples = PrometheusText(text)
        while let sample = samples.next() {
            let names = EngineNames.all.first { names in names.prefix.withUTF8Buffer { sample.name.starts(with: $0) } }
            if let names { return names }
        }
        return nil
    }
}
