// Source: a capture of xllamacpp 2026.10.11549; `kv_cache_usage_ratio` was removed from llama.cpp in 2025.
extension EngineNames {
    static let llamacpp = EngineNames(
        kind: .llamacpp, prefix: "llamacpp:",
        running: ["llamacpp:requests_processing"],
        queued: ["llamacpp:requests_deferred"],
        cacheUsage: ["llamacpp:kv_cache_usage_ratio"])
}
