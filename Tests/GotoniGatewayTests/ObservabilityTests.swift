import Foundation
import GotoniCore
import GotoniEngines
import NIOCore
import TestSupport
import Testing

@testable import GotoniGateway

@Suite struct RequestExportTests {
    private func fleet(_ names: [String]) throws -> Fleet {
        let fleet = Fleet()
        for (index, name) in names.enumerated() {
            let url = try #require(ServerURL("10.0.0.\(index + 1):80"))
            _ = try fleet.add(name, url) {
                Server(id: $0, name: name, url: url, tls: nil, limit: 10)
            }
        }
        return fleet
    }

    /// A record with a real table: decided by a router with as many servers.
    private func record(servers: Int, _ change: (inout RequestRecord) -> Void = { _ in }) throws -> RequestRecord {
        let router = try SharedRouter(Configuration())
        try router.withRouter { (router) throws(RouterError) in
            for id in 1...UInt64(servers) { try router.add(ServerConfiguration(id: ServerID(id)), now: Nanoseconds(1)) }
        }
        var record = RequestRecord()
        var rows: [Candidate] = []
        let decision = try router.withPrompt(Array(UInt32(0)..<64).span, namespace: 0) {
            (router, prompt) throws(RouterError) -> Decision in
            _ = try router.explain(prompt, Request(), excluding: Span(), now: Nanoseconds(2)) { rows.append($0) }
            return try router.route(prompt, Request(), excluding: Span(), now: Nanoseconds(2))
        }
        record.decision.decided(decision, rows, now: Nanoseconds(2))
        change(&record)
        return record
    }

    private static let before = [
        "request_id", "timestamp", "prompt_length", "tokens", "network_latency_ms", "ttft_ms", "total_latency_ms",
        "queue_time_ms",
        "predicted_prefill_time_ms", "queued_tokens_at_routing", "running_tokens_at_routing", "selected_server",
        "selected_server_id",
    ]
    private static let after = ["status_code", "success", "error"]

    @Test func theColumnsOfTheOriginalComeFirst() throws {
        let servers = try fleet(["b", "a"])
        let header = RequestExport(records: [try record(servers: 2)], fleet: servers).csv()
            .split(separator: "\r\n")[0].split(separator: ",").map(String.init)
        let original =
            Self.before + ["a_prefix_hit", "a_matched_len", "b_prefix_hit", "b_matched_len", "a_cost", "b_cost"]
            + Self.after
        #expect(Array(header.prefix(original.count)) == original)
        #expect(Set(header).count == header.count)
        // Ours are new names behind them.
        #expect(header.count > original.count)
    }

    @Test func withoutRecordsThereIsTheHeader() throws {
        let lines = RequestExport(records: [], fleet: try fleet(["a"])).csv().split(separator: "\r\n")
        #expect(lines.count == 1)
        #expect(lines[0].hasPrefix((Self.before + Self.after).joined(separator: ",")))
        #expect(try RequestExport(records: [], fleet: try fleet([])).jsonLines() == "")
    }

    @Test func valuesAndBlanks() throws {
        var empty = RequestRecord()
        empty.requestID = "r1"
        empty.status = 503
        empty.error = "queue_full"
        let full = try record(servers: 1) {
            $0.requestID = "r2"
            $0.time = 1_795_260_000.25
            $0.promptBytes = 256
            $0.tokens = 64
            $0.network = 1.005
            $0.ttft = 2.5
            $0.total = 1234.567
            $0.queue = 0.125
            $0.serverHost = "10.0.0.1"
            $0.server = "a"
            $0.status = 200
            $0.isSuccess = true
            $0.retries = 1
            $0.cachedTokens = 0
        }
        let rows = table(RequestExport(records: [empty, full], fleet: try fleet(["a"])).csv())
        #expect(rows.count == 2)
        #expect(rows[0]["request_id"] == "r1" && rows[0]["error"] == "queue_full" && rows[0]["success"] == "false")
        for blank in [
            "network_latency_ms", "ttft_ms", "total_latency_ms", "predicted_prefill_time_ms", "a_prefix_hit", "a_cost",
            "policy", "cached_tokens",
        ] {
            #expect(rows[0][blank] == "", "\(blank)")
        }
        let row = rows[1]
        #expect(row["timestamp"]?.hasSuffix(".250Z") == true)
        #expect(row["prompt_length"] == "256" && row["tokens"] == "64")
        #expect(row["ttft_ms"] == "2.50" && row["total_latency_ms"] == "1234.57")
        #expect(row["selected_server"] == "10.0.0.1" && row["selected_server_id"] == "a")
        #expect(row["a_prefix_hit"] == "0.0000" && row["a_matched_len"] == "0")
        #expect(row["status_code"] == "200" && row["success"] == "true" && row["error"] == "")
        // Zero is a zero, unknown is blank.
        #expect(row["cached_tokens"] == "0" && row["output_tokens"] == "")
        #expect(row["policy"] == "gorgo" && row["retries"] == "1")
    }

    @Test func quotingAndFormulas() throws {
        let names = ["plain", "qu\"ote", "=cmd|' /C calc'!A1", "+1", "-1", "@x"]
        let records = try names.map { name in
            try record(servers: 1) {
                $0.requestID = name
                $0.error = "a,b\r\n\"c\""
                $0.server = name
            }
        }
        let text = RequestExport(records: records, fleet: try fleet(["@srv"])).csv()
        let rows = table(text)
        #expect(rows.map { $0["request_id"] } == ["plain", "qu\"ote", "'=cmd|' /C calc'!A1", "'+1", "'-1", "'@x"])
        #expect(rows.allSatisfy { $0["error"] == "a,b\r\n\"c\"" })
        #expect(rows[0].keys.contains("'@srv_cost") || rows[0].keys.contains("@srv_cost"))
        #expect(text.split(separator: "\r\n")[0].split(separator: ",").allSatisfy { !"=+-@".contains($0.first!) })
    }

    @Test func jsonLinesParse() throws {
        let text = try RequestExport(
            records: [
                RequestRecord(),
                try record(servers: 2) {
                    $0.requestID = "a\"\\\n\u{1}é"
                    $0.total = 1.5
                },
            ], fleet: try fleet(["a", "b\"c"])
        ).jsonLines()
        let lines = text.split(separator: "\n")
        #expect(lines.count == 2 && text.hasSuffix("\n"))
        let objects = try lines.map {
            try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
        #expect(objects[0]["total_latency_ms"] is NSNull && objects[0]["success"] as? Bool == false)
        #expect(objects[1]["request_id"] as? String == "a\"\\\n\u{1}é")
        #expect(objects[1]["total_latency_ms"] as? Double == 1.5)
        #expect(objects[1]["b\"c_matched_len"] as? Int == 0)
    }

    @Test(
        arguments: [
            (0, 2, "0.00"), (1.005, 2, "1.00"), (-0.001, 2, "0.00"), (-1.5, 2, "-1.50"), (0.05, 2, "0.05"),
            (0.005, 2, "0.01"),
            (12345.678, 2, "12345.68"), (0.99999, 4, "1.0000"), (.nan, 2, ""), (.infinity, 2, ""),
        ] as [(Double, Int, String)])
    func fixedDecimals(_ number: Double, _ decimals: Int, _ text: String) {
        #expect(RequestExport.fixed(number, decimals) == text)
    }

    @Test func serversThatAreGoneKeepTheirColumns() throws {
        let header = RequestExport(records: [try record(servers: 1)], fleet: try fleet([])).csv().split(
            separator: "\r\n")[0]
        #expect(header.contains("removed-1_cost"))
    }

    /// A CSV reader of its own, RFC 4180.
    private func table(_ text: String) -> [[String: String]] {
        var rows: [[String]] = []
        var (row, field, isQuoted) = ([String](), "", false)
        var rest = Array(text.unicodeScalars)[...]
        while let scalar = rest.popFirst() {
            switch scalar {
            case "\"" where isQuoted && rest.first == "\"":
                field.unicodeScalars.append("\"")
                rest.removeFirst()
            case "\"": isQuoted.toggle()
            case "," where !isQuoted:
                row.append(field)
                field = ""
            case "\r" where !isQuoted && rest.first == "\n":
                rest.removeFirst()
                rows.append(row + [field])
                (row, field) = ([], "")
            default: field.unicodeScalars.append(scalar)
            }
        }
        #expect(row.isEmpty && field.isEmpty && !isQuoted)
        guard let header = rows.first else { return [] }
        return rows.dropFirst().map { row in
            #expect(row.count == header.count)
            return Dictionary(zip(header, row), uniquingKeysWith: { $1 })
        }
    }
}

@Suite struct SmallPartsTests {
    @Test(arguments: [
        (0, "1970-01-01T00:00:00.000Z", "19700101_000000"),
        (1_795_260_000.25, "2026-11-21T11:20:00.250Z", "20261121_112000"),
        (951_827_696.999, "2000-02-29T12:34:56.999Z", "20000229_123456"),
        (4_102_444_799, "2099-12-31T23:59:59.000Z", "20991231_235959"),
    ])
    func timestamps(_ seconds: Double, _ iso: String, _ compact: String) {
        #expect(Timestamp.iso(seconds) == iso || Timestamp.iso(seconds + 0.0005) == iso)
        #expect(Timestamp.compact(seconds) == compact)
    }

    @Test(arguments: Seeds.sequence(200)) func timestampsAsFoundationHasThem(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let seconds = Double(random.pick(0...4_000_000_000))
        let formatter = ISO8601DateFormatter()
        let wanted = formatter.string(from: Date(timeIntervalSince1970: seconds))
        #expect(Timestamp.iso(seconds) == wanted.dropLast() + ".000Z", "seed \(seed)")
    }

    @Test(arguments: Seeds.sequence(200)) func ring(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let capacity = random.pick(-1...6)
        var ring = Ring<Int>(capacity: capacity)
        var all: [Int] = []
        for value in 0..<random.pick(0...30) {
            ring.add(value)
            all.append(value)
            #expect(ring.elements == all.suffix(max(1, capacity)), "seed \(seed)")
        }
        #expect(ring.elements.count <= max(1, capacity))
    }

    @Test(arguments: Seeds.sequence(100)) func recentValues(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var recent = RecentValues()
        #expect(recent.percentile(0.5) == nil)
        var all: [Double] = []
        for _ in 0..<random.pick(1...600) {
            let value = Double(random.pick(0...1000))
            recent.add(value)
            all.append(value)
        }
        let sorted = all.suffix(256).sorted()
        for share in [0, 0.01, 0.5, 0.95, 0.99, 1] {
            // Nearest rank: the smallest value that at least that share of them does not exceed.
            let wanted = sorted.first { value in Double(sorted.count { $0 <= value }) >= share * Double(sorted.count) }
            #expect(recent.percentile(share) == wanted, "seed \(seed), \(share)")
        }
    }

    @Test func roundTrips() {
        var trips = RoundTrips()
        #expect(trips.current == nil && trips.average == nil)
        for value in [10.0, 20, 5] { trips.add(value) }
        #expect(trips.current == 5 && trips.least == 5 && trips.most == 20)
        #expect(abs((trips.average ?? 0) - 10.6) < 1e-9)
    }

    @Test(arguments: Seeds.sequence(100)) func histogram(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let histogram = Histogram()
        var values: [Double] = []
        for _ in 0..<random.pick(0...100) {
            let value =
                random.chance(20)
                ? Histogram.bounds[random.pick(0...Histogram.bounds.count - 1)]
                : Double(random.pick(0...500_000)) / 1000
            values.append(value)
            histogram.add(seconds: value)
        }
        let (cumulative, sum) = histogram.snapshot
        #expect(cumulative.count == Histogram.bounds.count + 1)
        for (bound, count) in zip(Histogram.bounds + [.infinity], cumulative) {
            #expect(count == values.count { $0 <= bound }, "seed \(seed), \(bound)")
        }
        #expect(abs(sum - values.reduce(0, +)) < 1e-3, "seed \(seed)")
    }

    @Test func aNegativeTimeIsNone() {
        let histogram = Histogram()
        histogram.add(seconds: -1)
        #expect(histogram.snapshot.cumulative[0] == 1 && histogram.snapshot.sum == 0)
    }

    @Test func theRequestLog() {
        let log = RequestLog(capacity: 3, isOn: false)
        func add(_ id: String) {
            var record = RequestRecord()
            record.requestID = id
            log.add(record)
        }
        add("off")
        #expect(log.records.isEmpty && !log.isOn)
        log.isOn = true
        for id in ["a", "b", "c", "d"] { add(id) }
        #expect(log.records.map(\.requestID) == ["b", "c", "d"])
        #expect(log.clear() == 3 && log.clear() == 0)
        for id in ["a", "b", "c", "d"] { add(id) }
        #expect(log.records.count == 3)
    }

    @Test func theDecisionLogIsNewestFirst() {
        let log = DecisionLog()
        for index in 0..<150 {
            log.add(.init(requestID: "\(index)", time: 0, queueMs: 0, ttftMs: nil, decision: DecisionRecord()))
        }
        #expect(log.last(2).map(\.requestID) == ["149", "148"])
        #expect(log.last(1000).count == 100)
    }

    @Test(arguments: Seeds.sequence(200)) func quotedText(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var text = ""
        for _ in 0..<random.pick(0...20) {
            let code = random.chance(60) ? random.pick(0...127) : random.pick(0...0x2FFF)
            if let scalar = Unicode.Scalar(UInt32(code)) { text.unicodeScalars.append(scalar) }
        }
        let parsed = try JSONSerialization.jsonObject(with: Data("[\(JSONText.quoted(text))]".utf8)) as? [String]
        #expect(parsed?.first.map { Array($0.unicodeScalars) } == Array(text.unicodeScalars), "seed \(seed)")
    }

    @Test(arguments: [
        Problem.unauthorized, .queueFull, .queueTimeout, .saturated, .noServer, .shuttingDown, .upstreamFailed,
        .upstreamTimeout,
        .internalError, .badRequest("x", "a \"b\""),
    ])
    func problemsAreOpenAIsShape(_ problem: Problem) throws {
        let object = try JSONSerialization.jsonObject(with: Data(problem.json.utf8)) as? [String: [String: Any]]
        let error = try #require(object?["error"])
        #expect(error["message"] as? String == problem.message && error["code"] as? String == "\(problem.code)")
        #expect(error["type"] as? String == "\(problem.type)" && error["param"] is NSNull)
        #expect(StatusText.of(problem.status).description != "Unknown")
        let answer = String(buffer: LocalAnswer(problem).bytes(requestID: "r", keepAlive: true, toHEAD: false))
        #expect(answer.hasPrefix("HTTP/1.1 \(problem.status) ") && answer.hasSuffix("\r\n\r\n" + problem.json))
        #expect(answer.contains("retry-after") == (problem.retryAfter != nil))
        let head = String(buffer: LocalAnswer(problem).bytes(requestID: "r", keepAlive: false, toHEAD: true))
        #expect(
            head.hasSuffix("connection: close\r\n\r\n")
                && head.contains("content-length: \(problem.json.utf8.count)\r\n"))
    }
}

/// The page of /metrics, as a scraper reads it.
func samples(_ text: String) -> [(name: String, labels: [String: String], value: Double?)] {
    Array(text.utf8).withUnsafeBytes { bytes in
        var reader = PrometheusText(bytes)
        var result: [(name: String, labels: [String: String], value: Double?)] = []
        while let sample = reader.next() {
            var labels: [String: String] = [:]
            for (name, value) in sample.labels {
                labels[String(decoding: name, as: UTF8.self)] = String(decoding: value, as: UTF8.self)
            }
            result.append((String(decoding: sample.name, as: UTF8.self), labels, sample.value))
        }
        return result
    }
}
