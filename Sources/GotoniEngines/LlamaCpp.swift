private import FoundationEssentials

// Source: a capture of xllamacpp 2026.10.11549; `kv_cache_usage_ratio` was removed from llama.cpp in 2025.
extension EngineNames {
    static let llamacpp = EngineNames(
        kind: .llamacpp, prefix: "llamacpp:",
        running: ["llamacpp:requests_processing"],
        queued: ["llamacpp:requests_deferred"],
        cacheUsage: ["llamacpp:kv_cache_usage_ratio"])
}

/// What llama.cpp's server says of itself to `GET /props`, and not in its metrics.
public struct LlamaCppProperties: Equatable, Sendable {
    /// Requests at one time. Each slot remembers the prompt it served last, so it is also how many prompts the server
    /// remembers, however long they were.
    public var slots: Int

    /// Nil: it is no such answer.
    public init?(_ json: UnsafeRawBufferPointer) {
        struct Answer: Decodable { var total_slots: Int }
        guard json.count <= EngineReport.mostBytes,
            let answer = try? JSONDecoder().decode(Answer.self, from: Data(json)),
            (1...1_000_000).contains(answer.total_slots)
        else { return nil }
        slots = answer.total_slots
    }
}
