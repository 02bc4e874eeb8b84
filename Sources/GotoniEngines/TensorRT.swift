// Source: NVIDIA/TensorRT-LLM tensorrt_llm/metrics/collector.py @050f80d, served at /prometheus/metrics. Release 1.1
// has five metrics only.
extension EngineNames {
    static let tensorrt = EngineNames(
        kind: .tensorrt, prefix: "trtllm_",
        running: ["trtllm_num_requests_running"],
        queued: ["trtllm_num_requests_waiting"],
        cacheUsage: ["trtllm_kv_cache_utilization"],
        maxRunning: ["trtllm_max_num_active_requests"],
        cacheHitRate: ["trtllm_kv_cache_hit_rate"])
}
