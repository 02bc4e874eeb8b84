import GotoniSimulation

/// What the engine says about itself, under SGLang's names (0.5.23).
struct SGLangMetrics {
    /// A Prometheus histogram of seconds.
    struct Histogram {
        let name: String
        let help: String
        let bounds: [Double]
        private(set) var counts: [Int]
        private(set) var sum = 0.0

        init(_ name: String, _ help: String, bounds: [Double]) {
            self.name = name
            self.help = help
            self.bounds = bounds
            counts = Array(repeating: 0, count: bounds.count + 1)
        }

        mutating func observe(_ seconds: Double) {
            counts[bounds.firstIndex { seconds <= $0 } ?? bounds.count] += 1
            sum += seconds
        }
    }

    var promptTokens = 0
    var generatedTokens = 0
    var cachedTokens = 0
    var requests = 0
    var abortedRequests = 0
    /// Of the latest prompt.
    var cacheHitRate = 0.0
    var timeToFirstToken = Histogram(
        "sglang:time_to_first_token_seconds", "Histogram of time to first token in seconds.",
        bounds: [0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100, 200, 400])
    var endToEnd = Histogram(
        "sglang:e2e_request_latency_seconds", "Histogram of end-to-end request latency in seconds.",
        bounds: [0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100, 200, 400, 600, 1_200, 1_800, 2_400])
    private var throughput = Throughput()

    /// Tokens a second over the last whole second or more that something was generated in.
    private struct Throughput {
        var start: UInt64 = 0
        var tokens = 0
        var rate = 0.0

        mutating func add(_ count: Int, _ now: UInt64) {
            settle(now)
            tokens += count
        }

        mutating func settle(_ now: UInt64) {
            guard now >= start + 1_000_000_000 else { return }
            rate = start == 0 ? 0 : Double(tokens) * 1e9 / Double(now - start)
            (start, tokens) = (now, 0)
        }
    }

    mutating func generated(_ tokens: Int, now: UInt64) {
        generatedTokens += tokens
        throughput.add(tokens, now)
    }

    mutating func prefilled(_ tokens: Int, cached: Int) {
        promptTokens += tokens
        cachedTokens += cached
        cacheHitRate = tokens > 0 ? Double(cached) / Double(tokens) : 0
    }

    mutating func generationRate(_ now: UInt64) -> Double {
        throughput.settle(now)
        return throughput.rate
    }

    /// Prometheus' text format. `started` is seconds since 1970.
    mutating func text(_ driver: EngineDriver, model: String, started: Double, now: UInt64) -> String {
        let (load, engine) = (driver.load, driver.engine.model)
        let labels = #"model_name=\#(quoted(model)),engine_type="unified",tp_rank="0",pp_rank="0""#
        var text = ""
        func metric(_ name: String, _ type: String, _ help: String, _ value: String, _ more: String = "") {
            text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n\(name){\(labels)\(more)} \(value)\n"
        }
        func gauge(_ name: String, _ help: String, _ value: Double) {
            metric("sglang:" + name, "gauge", help, "\(value)")
        }
        func counter(_ name: String, _ help: String, _ value: Int, _ more: String = "") {
            metric("sglang:" + name, "counter", help, "\(value).0", more)
        }
        gauge("num_running_reqs", "The number of running requests.", Double(load.running))
        gauge("num_queue_reqs", "The number of requests in the waiting queue.", Double(load.waiting))
        gauge("num_used_tokens", "The number of used tokens.", Double(load.usedTokens))
        gauge("token_usage", "The token usage.", Double(load.usedTokens) / Double(load.kvTokens))
        gauge("max_total_num_tokens", "Maximum total number of tokens in the KV cache pool.", Double(load.kvTokens))
        gauge("page_size", "The number of tokens in a page.", Double(engine.pageTokens))
        gauge("cache_hit_rate", "The prefix cache hit rate.", cacheHitRate)
        gauge("gen_throughput", "The generation throughput (token/s).", generationRate(now))
        gauge("num_retracted_reqs", "The number of retracted requests.", Double(driver.engine.work.preemptions))
        counter("prompt_tokens_total", "Number of prefill tokens processed.", promptTokens)
        counter("generation_tokens_total", "Number of generation tokens processed.", generatedTokens)
        counter("cached_tokens_total", "Number of cached prompt tokens.", cachedTokens, #",cache_source="device""#)
        counter(
            "evicted_tokens_total", "Number of tokens evicted from the prefix cache.", driver.engine.work.evictedTokens)
        counter("num_requests_total", "Number of requests processed.", requests)
        counter("num_aborted_requests_total", "Number of requests aborted.", abortedRequests)
        for histogram in [timeToFirstToken, endToEnd] { text += Self.text(histogram, labels) }
        text += "# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.\n"
        text += "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds \(started)\n"
        return text
    }

    private static func text(_ histogram: Histogram, _ labels: String) -> String {
        let name = histogram.name
        var text = "# HELP \(name) \(histogram.help)\n# TYPE \(name) histogram\n"
        var total = 0
        for (index, count) in histogram.counts.enumerated() {
            total += count
            let bound = index < histogram.bounds.count ? "\(histogram.bounds[index])" : "+Inf"
            text += "\(name)_bucket{\(labels),le=\"\(bound)\"} \(total).0\n"
        }
        return text + "\(name)_sum{\(labels)} \(histogram.sum)\n\(name)_count{\(labels)} \(total).0\n"
    }
}
