import FoundationEssentials
import GotoniCore

/// The request log as a file: the columns of the original first, in its order, then ours.
///
/// What does not apply is blank (CSV) or null (JSON lines): a zero is a zero. Times are milliseconds.
struct RequestExport {
    let records: [RequestRecord]
    /// Servers that any decision knew, by name: (name, id).
    private let servers: [(name: String, id: UInt64)]

    init(records: [RequestRecord], fleet: Fleet) {
        self.records = records
        var ids: Set<UInt64> = []
        for record in records { for row in record.decision.candidates { ids.insert(row.server.rawValue) } }
        servers = ids.map { (fleet[ServerID($0)]?.name ?? "removed-\($0)", $0) }.sorted { $0.name < $1.name }
    }

    /// Text that is quoted if it must be.
    private enum Value {
        case text(String)
        case number(Double, decimals: Int)
        case integer(Int)
        case truth(Bool)
        case none

        init(_ milliseconds: Double?) { self = milliseconds.map { .number($0, decimals: 2) } ?? .none }
        init(nanoseconds: Int64?) { self.init(nanoseconds.map { Double($0) / 1e6 }) }
    }

    private func columns(_ record: RequestRecord) -> [(String, Value)] {
        let decision = record.decision
        let known = decision.chosen != nil
        var result: [(String, Value)] = [
            ("request_id", .text(record.requestID)), ("timestamp", .text(Timestamp.iso(record.time))),
            ("prompt_length", .integer(record.promptBytes)), ("tokens", .integer(record.tokens)),
            ("network_latency_ms", Value(record.network)), ("ttft_ms", Value(record.ttft)),
            ("total_latency_ms", Value(record.total)), ("queue_time_ms", Value(record.queue)),
            ("predicted_prefill_time_ms", Value(nanoseconds: known ? decision.predictedPrefill : nil)),
            ("queued_tokens_at_routing", known ? .integer(Int(clamping: decision.queuedTokens)) : .none),
            ("running_tokens_at_routing", known ? .integer(Int(clamping: decision.runningTokens)) : .none),
            ("selected_server", .text(record.serverHost)), ("selected_server_id", .text(record.server)),
        ]
        let rows = Dictionary(
            decision.candidates.map { ($0.server.rawValue, $0) }, uniquingKeysWith: { first, _ in first })
        for server in servers {
            let row = rows[server.id]
            let share = row.map { Double($0.matchedTokens) / Double(max(1, $0.matchedTokens + $0.uncachedTokens)) }
            result.append(("\(server.name)_prefix_hit", share.map { .number($0, decimals: 4) } ?? .none))
            result.append(("\(server.name)_matched_len", row.map { .integer($0.matchedTokens * 4) } ?? .none))
        }
        for server in servers {
            result.append(("\(server.name)_cost", Value(nanoseconds: rows[server.id]?.cost.total)))
        }
        result += [
            ("status_code", .integer(record.status)), ("success", .truth(record.isSuccess)),
            ("error", .text(record.error)),
            ("policy", known ? .text("\(decision.policy.name)") : .none), ("retries", .integer(record.retries)),
            ("matched_tokens", known ? .integer(decision.matchedTokens) : .none),
            ("cached_tokens", record.cachedTokens.map { .integer($0) } ?? .none),
            ("output_tokens", record.outputTokens.map { .integer($0) } ?? .none),
        ]
        for server in servers {
            let row = rows[server.id]
            result.append(("\(server.name)_verdict", row.map { .text($0.verdict.word) } ?? .none))
            result.append(("\(server.name)_rtt_ms", Value(nanoseconds: row?.cost.rtt)))
            result.append(("\(server.name)_prefill_ms", Value(nanoseconds: row?.cost.prefill)))
            result.append(("\(server.name)_queued_ms", Value(nanoseconds: row?.cost.queued)))
            result.append(("\(server.name)_running_ms", Value(nanoseconds: row?.cost.running)))
            result.append(("\(server.name)_predicted_ttft_ms", Value(nanoseconds: row?.prediction.firstToken)))
            result.append(("\(server.name)_predicted_cost_ms", Value(nanoseconds: row?.prediction.cost)))
        }
        result += [
            ("tokens_from", .text(record.tokensFrom.rawValue)),
            ("engine_prompt_tokens", record.engineTokens.map { .integer($0) } ?? .none),
        ]
        return result
    }

    /// With its header line, also when there is no record.
    func csv() -> String {
        var text = columns(RequestRecord()).map { Self.quoted($0.0) }.joined(separator: ",") + "\r\n"
        for record in records {
            text += columns(record).map { Self.field($0.1) }.joined(separator: ",") + "\r\n"
        }
        return text
    }

    func jsonLines() throws -> String {
        var text = ""
        for record in records {
            let members = columns(record).map { "\(JSONText.quoted($0.0)):\(Self.json($0.1))" }
            text += "{" + members.joined(separator: ",") + "}\n"
        }
        return text
    }

    private static func field(_ value: Value) -> String {
        switch value {
        case .text(let text): quoted(text)
        case .number(let number, let decimals): fixed(number, decimals)
        case .integer(let number): String(number)
        case .truth(let truth): truth ? "true" : "false"
        case .none: ""
        }
    }

    private static func json(_ value: Value) -> String {
        switch value {
        case .text(let text): JSONText.quoted(text)
        case .none: "null"
        default: field(value)
        }
    }

    /// RFC 4180; and a spreadsheet must not take a name for a formula.
    private static func quoted(_ text: String) -> String {
        let safe = text.first.map { "=+-@".contains($0) } ?? false ? "'" + text : text
        guard safe.contains(where: { $0 == "," || $0 == "\"" || $0.isNewline }) else { return safe }
        return "\"" + safe.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
    }

    static func fixed(_ number: Double, _ decimals: Int) -> String {
        guard number.isFinite else { return "" }
        var scale = 1.0
        for _ in 0..<decimals { scale *= 10 }
        let scaled = Int((abs(number) * scale).rounded())
        let digits = String(scaled)
        let padded = String(repeating: "0", count: max(0, decimals + 1 - digits.count)) + digits
        return (number < 0 && scaled > 0 ? "-" : "") + padded.dropLast(decimals) + "." + padded.suffix(decimals)
    }
}

/// /proxy/metrics/summary. Averages are of requests that succeeded.
struct SummaryDocument: Encodable {
    var count: Int
    var message: String?
    var successCount: Int
    var failCount: Int
    var avgTotalLatencyMs: OrNull<Double>
    var avgTtftMs: OrNull<Double>
    var avgNetworkLatencyMs: OrNull<Double>
    var avgQueueTimeMs: OrNull<Double>
    var ttftP50Ms: OrNull<Double>
    var ttftP95Ms: OrNull<Double>
    var ttftP99Ms: OrNull<Double>
    var avgPrefixCacheHitRatios: [String: Double]
    var metricsCollectionEnabled: Bool
}

extension ControlRoutes {
    func summary() -> SummaryDocument {
        let records = dispatcher.requestLog.records
        let good = records.filter(\.isSuccess)
        func mean(_ values: [Double]) -> OrNull<Double> {
            OrNull(values.isEmpty ? nil : rounded(values.reduce(0, +) / Double(values.count)))
        }
        let ttft = good.compactMap { $0.ttft.map { Float($0) } }
        func percentile(_ share: Double) -> OrNull<Double> { OrNull(RecentValues.percentile(ttft, share).map(rounded)) }
        var shares: [String: (sum: Double, count: Int)] = [:]
        for record in records {
            for row in record.decision.candidates {
                guard let name = dispatcher.fleet[row.server]?.name else { continue }
                let share = Double(row.matchedTokens) / Double(max(1, row.matchedTokens + row.uncachedTokens))
                shares[name, default: (0, 0)].sum += share
                shares[name, default: (0, 0)].count += 1
            }
        }
        return SummaryDocument(
            count: records.count, message: records.isEmpty ? "no requests recorded" : nil, successCount: good.count,
            failCount: records.count - good.count, avgTotalLatencyMs: mean(good.compactMap(\.total)),
            avgTtftMs: mean(good.compactMap(\.ttft)), avgNetworkLatencyMs: mean(good.compactMap(\.network)),
            avgQueueTimeMs: mean(good.map(\.queue)), ttftP50Ms: percentile(0.5), ttftP95Ms: percentile(0.95),
            ttftP99Ms: percentile(0.99),
            avgPrefixCacheHitRatios: shares.mapValues { rounded($0.sum / Double($0.count)) },
            metricsCollectionEnabled: dispatcher.requestLog.isOn)
    }
}
