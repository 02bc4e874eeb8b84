/// Where the figures of one engine's metrics are found. Of each list the first name that occurs is the one that counts:
/// newer versions' names stand before older ones'. An empty list: the engine does not say.
struct EngineNames: Sendable {
    let kind: EngineKind
    /// What all of its names begin with.
    let prefix: StaticString
    var running: [StaticString] = []
    var queued: [StaticString] = []
    var queuedTokens: [StaticString] = []
    var usedTokens: [StaticString] = []
    var kvCapacityTokens: [StaticString] = []
    var cacheUsage: [StaticString] = []
    var maxRunning: [StaticString] = []
    var cacheHitRate: [StaticString] = []
    /// Counters of tokens looked up in the prefix cache and found there, for engines without a rate.
    var cacheQueries: [StaticString] = []
    var cacheHits: [StaticString] = []
    /// A series whose labels describe the cache, and the labels that say how many tokens it holds: the whole, or else
    /// blocks and their size.
    var cacheInfo: [StaticString] = []
    var cacheInfoTokens: StaticString = ""
    var cacheInfoBlocks: StaticString = ""
    var cacheInfoBlockSize: StaticString = ""

    static let all: [EngineNames] = [.sglang, .vllm, .llamacpp, .tensorrt]

    /// Labels that number parts of one and the same computation: each part says the same, so the largest counts. Other
    /// labels (`dp_rank`, `engine`) tell apart what is added up.
    static let partLabels: [StaticString] = ["tp_rank", "pp_rank", "moe_ep_rank", "pid"]
}
