// Sources: sglang/srt/observability/metrics_collector.py of the wheels 0.5.5 to 0.5.23 (before 0.5.12:
// srt/metrics/collector.py), and the answers of /v1/loads and /get_load.
extension EngineNames {
    /// `num_waiting_reqs`, `max_running_reqs` and `max_total_tokens` are in no version read; routers look for them, so
    /// they are accepted from whoever imitates SGLang for their sake.
    static let sglang = EngineNames(
        kind: .sglang, prefix: "sglang:",
        running: ["sglang:num_running_reqs"],
        queued: ["sglang:num_queue_reqs", "sglang:num_waiting_reqs"],
        queuedTokens: ["sglang:num_waiting_uncached_tokens"],
        usedTokens: ["sglang:num_used_tokens", "sglang:kv_used_tokens"],
        kvCapacityTokens: ["sglang:max_total_num_tokens", "sglang:max_total_tokens"],
        cacheUsage: ["sglang:token_usage"],
        maxRunning: ["sglang:max_running_requests", "sglang:max_running_reqs"],
        cacheHitRate: ["sglang:cache_hit_rate"])
}

/// One rank of `/v1/loads` (0.5.9 and later), or of `/get_load` (0.5.5, where `num_reqs` counts the waiting as well).
struct SGLangLoad: Decodable {
    var num_running_reqs: Double?
    var num_reqs: Double?
    var num_waiting_reqs: Double?
    var num_waiting_uncached_tokens: Double?
    var num_used_tokens: Double?
    var max_total_num_tokens: Double?
    var max_running_requests: Double?
    var token_usage: Double?
    var cache_hit_rate: Double?
}

/// The answer of `/v1/loads`.
struct SGLangLoads: Decodable {
    var loads: [SGLangLoad]
}
