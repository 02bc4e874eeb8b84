import ArgumentParser

/// What answers requests on the machines of a cluster, and how it is started.
enum EngineKind: String, Codable, Sendable, CaseIterable, ExpressibleByArgument {
    case sglang
    case vllm
    /// gotoni-engine: needs no GPU.
    case simulated
    /// Runs already, and is not ours to start.
    case external

    /// Pinned: what "latest" means changes, and with it the driver that it wants.
    var image: String? {
        switch self {
        // The last for CUDA 12, so for drivers that are not of this year.
        case .sglang: "lmsysorg/sglang:v0.5.19-cu129"
        case .vllm: "vllm/vllm-openai:v0.32.0"
        case .simulated, .external: nil
        }
    }

    var model: String? {
        switch self {
        // Of those that nobody has to ask for.
        case .sglang, .vllm: "Qwen/Qwen3-8B"
        case .simulated, .external: nil
        }
    }

    /// Of NVIDIA's, for an image: CUDA 12 runs on 525 and newer, CUDA 13 on 580 and newer (CUDA's release notes).
    static func leastDriver(_ image: String) -> Int { image.contains("cu12") ? 525 : 580 }

    /// Empties its KV cache. vLLM has its own in development mode only, which opens more than that, so it is not started so.
    var flushPath: String { self == .vllm ? "/reset_prefix_cache" : "/flush_cache" }
}

extension Cluster.Engine {
    /// What runs it where it is no container; a container's image knows that.
    var program: [String] {
        switch kind {
        case .sglang, .external: []
        case .vllm: ["python3", "-m", "vllm.entrypoints.openai.api_server"]
        case .simulated: ["gotoni-engine"]
        }
    }

    /// With metrics, counts of cached tokens and KV events.
    func command(listen: String) -> [String] {
        let events = { (more: String) in
            // With * the engine listens; with an address it would connect to it.
            #"{"publisher":"zmq","endpoint":"tcp://*:5557","replay_endpoint":"tcp://*:5558","topic":"kv"\#(more)}"#
        }
        switch kind {
        case .sglang:
            return [
                "python3", "-m", "sglang.launch_server", "--model-path", model ?? "", "--host", listen, "--port",
                "\(port)",
                "--tp-size", "\(tensorParallel)", "--enable-metrics", "--enable-cache-report", "--kv-events-config",
                events(""),
            ] + arguments
        case .vllm:
            return [
                "--model", model ?? "", "--host", listen, "--port", "\(port)", "--tensor-parallel-size",
                "\(tensorParallel)", "--enable-prompt-tokens-details", "--kv-events-config",
                events(#","enable_kv_cache_events":true"#),
            ] + arguments
        case .simulated:
            return ["--listen", "\(listen):\(port)"] + (model.map { ["--model-name", $0] } ?? []) + arguments
        case .external: return []
        }
    }
}
