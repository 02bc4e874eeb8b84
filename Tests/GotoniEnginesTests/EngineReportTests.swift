import GotoniCore
import GotoniEngines
import TestSupport
import Testing

private func report(prometheus text: String) throws(ReportError) -> EngineReport {
    try report(prometheus: Array(text.utf8))
}

private func report(prometheus bytes: [UInt8]) throws(ReportError) -> EngineReport {
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { copy.deallocate() }
    copy.copyBytes(from: bytes)
    return try EngineReport(prometheus: UnsafeRawBufferPointer(copy))
}

private func report(loads bytes: [UInt8]) throws(ReportError) -> EngineReport {
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { copy.deallocate() }
    copy.copyBytes(from: bytes)
    return try EngineReport(loads: UnsafeRawBufferPointer(copy))
}

@Suite struct PrometheusTextTests {
    func samples(_ text: String) -> [(String, [String], Double?)] {
        Array(text.utf8).withUnsafeBytes { bytes in
            var (reader, samples) = (PrometheusText(bytes), [(String, [String], Double?)]())
            while let sample = reader.next() {
                let labels = sample.labels.map {
                    String(decoding: $0.name, as: UTF8.self) + "=" + String(decoding: $0.value, as: UTF8.self)
                }
                samples.append((String(decoding: sample.name, as: UTF8.self), labels, sample.value))
            }
            return samples
        }
    }

    @Test func lines() {
        let cases: [(String, String, [String], Double?)] = [
            ("a 1", "a", [], 1), ("a{} 1", "a", [], 1), ("\t a  {x=\"1\"}  2.5e3 \r", "a", ["x=1"], 2500),
            (#"a{x="b c",y="}",} -1 1700000000000"#, "a", ["x=b c", "y=}"], -1),
            (#"a{ x = "1" , y="\"\\\n" }3"#, "a", ["x=1", #"y=\"\\\n"#], 3),
            (##"a_bucket{le="+Inf"} 5 # {trace_id="x"} 0.5"##, "a_bucket", ["le=+Inf"], 5),
            ("a +Inf", "a", [], .infinity), ("a -Inf", "a", [], -.infinity), ("a x", "a", [], nil),
            ("a{x=1} 2", "a", [], 2),
        ]
        for (line, name, labels, value) in cases {
            let found = samples("# HELP a b\n\n\(line)\n# EOF")
            #expect(
                found.count == 1 && found.first?.0 == name && found.first?.1 == labels && found.first?.2 == value,
                "\(line)")
        }
        #expect(samples("a NaN").first?.2?.isNaN == true)
        for nothing in ["", "\n\n", "#", "a", "a ", "{} ", "{x=\"1\"} 1", "a{x=\"1\" 1", "a{x=\"1} 1", "a{x=\"\\"] {
            #expect(samples(nothing).isEmpty, "\(nothing)")
        }
        #expect(samples("a 1\nb{\nc 3").map(\.0) == ["a", "c"])
    }
}

@Suite struct EngineReportTests {
    @Test func vllm() throws {
        let report = try report(prometheus: fixture("vllm-0.32.0.metrics.txt"))
        var expected = EngineReport()
        expected.kind = .vllm
        (expected.running, expected.queued, expected.cacheUsage) = (0, 0, 0)
        (expected.usedTokens, expected.kvCapacityTokens) = (0, 262_144)
        expected.cacheHitRate = 17408.0 / 26588.0
        expected.incarnation = 1_795_231_767_130
        #expect(report == expected)
    }

    @Test func olderVLLM() throws {
        let report = try report(
            prometheus: """
                vllm:num_requests_running{engine="0"} 5
                vllm:num_requests_running{engine="1"} 6
                vllm:num_requests_waiting{engine="0"} 2.0
                vllm:gpu_cache_usage_perc{engine="0"} 0.5
                vllm:gpu_cache_usage_perc{engine="1"} 0.25
                vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="1000"} 1.0
                vllm:cache_config_info{block_size="16",engine="1",num_gpu_blocks="1000"} 1.0
                """)
        #expect(report.running == 11 && report.queued == 2 && report.cacheUsage == 0.375)
        #expect(report.kvCapacityTokens == 32_000 && report.usedTokens == 12_000)
        #expect(
            report.cacheHitRate == nil && report.queuedTokens == nil && report.maxRunning == nil
                && report.incarnation == nil)
    }

    @Test func llamacpp() throws {
        let report = try report(prometheus: fixture("xllamacpp-2026.10.11549.metrics.txt"))
        var expected = EngineReport()
        (expected.kind, expected.running, expected.queued) = (.llamacpp, 0, 0)
        #expect(report == expected)
        #expect(report.metrics.runningTokens == nil && report.metrics.kvCapacityTokens == nil)
    }

    @Test func llamacppTellsItsSlotsElsewhere() {
        func slots(_ text: String) -> Int? {
            Array(text.utf8).withUnsafeBytes { LlamaCppProperties($0)?.slots }
        }
        #expect(slots(#"{"default_generation_settings":{"params":{}},"total_slots":4,"model_path":"m.gguf"}"#) == 4)
        for wrong in ["", "4", "{}", #"{"total_slots":0}"#, #"{"total_slots":"4"}"#, #"{"total_slots":1e9}"#] {
            #expect(slots(wrong) == nil, "\(wrong)")
        }
    }

    /// Written after the facts, not captured: ranks, priorities, and a model name with everything in it.
    @Test func sglang() throws {
        let report = try report(prometheus: fixture("written-sglang-0.5.23.metrics.txt"))
        var expected = EngineReport()
        expected.kind = .sglang
        (expected.running, expected.queued, expected.usedTokens) = (7, 7, 1500)
        (expected.kvCapacityTokens, expected.cacheUsage, expected.cacheHitRate) = (200_000, 0.0075, 0.375)
        #expect(report == expected)
        let metrics = report.metrics
        #expect(metrics.runningRequests == 7 && metrics.queuedRequests == 7 && metrics.queuedTokens == nil)
        #expect(metrics.runningTokens == 1500 && metrics.kvCapacityTokens == 200_000 && metrics.incarnation == nil)
    }

    @Test func sglangLoads() throws {
        let report = try report(loads: fixture("written-sglang-0.5.23.loads.json"))
        var expected = EngineReport()
        expected.kind = .sglang
        (expected.running, expected.queued, expected.queuedTokens, expected.usedTokens) = (4, 2, 800, 1200)
        (expected.kvCapacityTokens, expected.maxRunning, expected.cacheUsage, expected.cacheHitRate) = (
            200_000, 128, 0.02, 0.3
        )
        #expect(report == expected)

        let old = try EngineReportTests.loads(
            #"[{"dp_rank":0,"num_reqs":5,"num_waiting_reqs":2,"num_tokens":900},{"num_reqs":1,"num_waiting_reqs":1}]"#)
        #expect(old.running == 3 && old.queued == 3 && old.usedTokens == nil && old.kvCapacityTokens == nil)
        // Half a sum would look like little load.
        let half = try EngineReportTests.loads(#"{"loads":[{"num_running_reqs":5},{"num_waiting_reqs":1}]}"#)
        #expect(half.running == nil && half.queued == nil)
        #expect(try EngineReportTests.loads(#"{"loads":[]}"#).running == nil)
        for wrong in [
            "", "{}", "[1]", "null", "{\"loads\":{}}", "{\"loads\":[{\"num_running_reqs\":\"x\"}]}", "<html>",
        ] {
            #expect(throws: ReportError.json, "\(wrong)") { try EngineReportTests.loads(wrong) }
        }
    }

    static func loads(_ text: String) throws(ReportError) -> EngineReport { try report(loads: Array(text.utf8)) }

    /// Written after the facts, not captured.
    @Test func tensorrt() throws {
        let report = try report(prometheus: fixture("written-tensorrt.metrics.txt"))
        var expected = EngineReport()
        (expected.kind, expected.running, expected.queued) = (.tensorrt, 12, 5)
        (expected.cacheUsage, expected.cacheHitRate, expected.maxRunning) = (0.625, 0.75, 256)
        #expect(report == expected)
    }

    @Test func newNamesBeforeOld() throws {
        let both = "sglang:num_waiting_reqs 9\nsglang:num_queue_reqs 4\nsglang:num_waiting_reqs{dp_rank=\"1\"} 9\n"
        #expect(try report(prometheus: both).queued == 4)
        #expect(try report(prometheus: "sglang:num_waiting_reqs 9\n").queued == 9)
        // A share of nothing is unknown, and so is what is not a number.
        let report = try report(
            prometheus:
                "vllm:prefix_cache_queries_total 0\nvllm:prefix_cache_hits_total 0\nvllm:num_requests_running NaN\nvllm:num_requests_waiting -1\n"
        )
        #expect(report.cacheHitRate == nil && report.running == nil && report.queued == nil && report.kind == .vllm)
        #expect(report.metrics.queuedRequests == nil)
    }

    @Test func refusals() {
        #expect(throws: ReportError.unknownEngine) { try report(prometheus: "") }
        #expect(throws: ReportError.unknownEngine) {
            try report(prometheus: "python_info 1\n# sglang:num_running_reqs 1\n")
        }
        #expect(throws: ReportError.unknownEngine) { try report(prometheus: "<html>Not Found</html>") }
        let many = (0..<2000).map { "sglang:num_running_reqs{dp_rank=\"\($0)\"} 1\n" }.joined()
        #expect(throws: ReportError.tooLarge) { try report(prometheus: many) }
        #expect(throws: ReportError.tooLarge) {
            try report(prometheus: [UInt8](repeating: 10, count: EngineReport.mostBytes + 1))
        }
        #expect(throws: ReportError.tooLarge) {
            try report(loads: [UInt8](repeating: 32, count: EngineReport.mostBytes + 1))
        }
        for error in ReportError.allCases { #expect(error.text.utf8CodeUnitCount > 10) }
    }

    /// What the router refuses is not told it.
    @Test func metricsAreInRange() throws {
        let huge = try report(
            prometheus:
                "sglang:num_running_reqs 1e15\nsglang:num_queue_reqs 1e300\nsglang:max_total_num_tokens 0\nprocess_start_time_seconds 5\n"
        )
        #expect(huge.running == 1_000_000_000_000_000 && huge.queued == nil)
        #expect(
            huge.metrics.runningRequests == nil && huge.metrics.kvCapacityTokens == nil
                && huge.metrics.incarnation == 5000)
    }

    @Test func flips() throws {
        let bytes = try fixture("written-sglang-0.5.23.metrics.txt")
        for seed in Seeds.sequence(1_000) {
            var random = SplitMix64(seed: seed)
            var changed = Array(bytes.prefix(random.pick(1...bytes.count)))
            for _ in 0..<10 {
                changed[random.pick(0...(changed.count - 1))] = Array("{}\"\\ \n,=0".utf8)[random.pick(0...8)]
            }
            let found = try? report(prometheus: changed)
            #expect(found?.cacheUsage ?? 0 <= 1)
        }
    }
}
