import FoundationEssentials
import Glibc
import GotoniCore
import GotoniEngines
import NIOCore

/// The table behind a decision, with each term of the cost in milliseconds.
struct ExplainDocument: Encodable {
    struct Row: Encodable {
        var server: String
        var verdict: String
        var matchedTokens: Int
        var uncachedTokens: Int
        var costMs: Double
        var rttMs: Double
        var prefillMs: Double
        var queuedMs: Double
        var runningMs: Double
        var rttKnown: Bool
        var metricsKnown: Bool
        var predicted: Predicted
    }
    /// What the policy predictive expects there, in milliseconds; the first four add up to the first token.
    struct Predicted: Encodable {
        var networkMs: Double
        var uploadMs: Double
        var waitMs: Double
        var prefillMs: Double
        var decodeMs: Double
        var othersMs: Double
        var doubtMs: Double
        var costMs: Double
    }
    struct Decision: Encodable {
        var requestId: String?
        var time: String?
        var policy: String
        var reason: String
        /// Decided with weights that the tuner has on trial.
        var trial: Bool
        var promptTokens: Int
        var matchedTokens: Int
        var chosen: OrNull<String>
        var queueMs: Double
        var ttftMs: OrNull<Double>
        /// From the decision on at the chosen server, whatever the policy; and as it was, for answers that stream.
        var predictedFirstTokenMs: OrNull<Double>
        var firstTokenMs: OrNull<Double>
        var candidates: [Row]
    }
    var decisions: [Decision]
}

extension ControlRoutes {
    func explainLast(_ request: ControlRequest) throws -> LocalAnswer {
        let text = request.query["last"] ?? "20"
        guard let last = Int(text), (1...100).contains(last) else {
            throw Problem.badRequest("last", "last is from 1 to 100")
        }
        return try json(
            ExplainDocument(
                decisions: dispatcher.decisions.last(last).map { entry in
                    document(
                        entry.decision, id: entry.requestID, time: entry.time, queueMs: entry.queueMs,
                        ttftMs: entry.ttftMs)
                }))
    }

    /// What would be decided for the posted body now; nothing is reserved. `?endpoint=` says which shape it has, by path
    /// (/v1/chat/completions).
    func explain(_ request: ControlRequest) throws -> LocalAnswer {
        let path = request.query["endpoint"] ?? "/v1/chat/completions"
        guard let endpoint = Endpoint(path: path) else {
            throw Problem.badRequest("endpoint", "\(path.prefix(100)) is no endpoint with a prompt")
        }
        let reader = BodyReader()
        let facts: BodyFacts
        do {
            facts = try request.body.withUnsafeReadableBytes { try reader.read($0, endpoint) }
        } catch let error as BodyError {
            throw Problem.badRequest("invalid_body", "\(error.text)")
        }
        // Of the sources of tokens only the one in this process is asked.
        let known = dispatcher.tokens.model.flatMap { PromptTokenizer.tokens(reader.prompt, facts, $0) }
        var record = DecisionRecord()
        var rows: [Candidate] = []
        let now = Clock.now()
        var refusal: RouterError?
        try PromptTokens.of(known, reader) { (tokens: Span<UInt32>) throws(RouterError) in
            try dispatcher.router.withPrompt(tokens, namespace: facts.namespace) {
                (router, prompt) throws(RouterError) in
                do throws(RouterError) {
                    let decision = try router.explain(
                        prompt, Request(sessionKey: facts.sessionKey), excluding: Span(), now: now
                    ) { if rows.count < DecisionRecord.mostServers { rows.append($0) } }
                    record.decided(decision, rows, now: now)
                } catch {
                    refusal = error
                    record.policy = router.policy
                }
            }
        }
        record.candidates = rows
        record.promptTokens = known?.ids.count ?? facts.promptTokens
        var decision = document(record, id: nil, time: nil, queueMs: 0, ttftMs: nil)
        if let refusal { decision.reason = "\(refusal.text)" }
        return try json(ExplainDocument(decisions: [decision]))
    }

    private func document(
        _ record: DecisionRecord, id: String?, time: Double?, queueMs: Double, ttftMs: Double?
    ) -> ExplainDocument.Decision {
        func name(_ id: ServerID) -> String { dispatcher.fleet[id]?.name ?? "removed-\(id.rawValue)" }
        func milliseconds(_ nanoseconds: Int64) -> Double { rounded(Double(nanoseconds) / 1e6) }
        return ExplainDocument.Decision(
            requestId: id, time: time.map(Timestamp.iso), policy: "\(record.policy.name)", reason: record.reason.word,
            trial: record.isTrial,
            promptTokens: record.promptTokens, matchedTokens: record.matchedTokens,
            chosen: OrNull(record.chosen.map(name)), queueMs: rounded(queueMs), ttftMs: OrNull(ttftMs.map(rounded)),
            predictedFirstTokenMs: OrNull(record.chosen.map { _ in milliseconds(record.predictedFirstToken) }),
            firstTokenMs: OrNull(record.firstToken.map(rounded)),
            candidates: record.candidates.map { row in
                ExplainDocument.Row(
                    server: name(row.server), verdict: row.verdict.word, matchedTokens: row.matchedTokens,
                    uncachedTokens: row.uncachedTokens, costMs: milliseconds(row.cost.total),
                    rttMs: milliseconds(row.cost.rtt), prefillMs: milliseconds(row.cost.prefill),
                    queuedMs: milliseconds(row.cost.queued), runningMs: milliseconds(row.cost.running),
                    rttKnown: row.rtt != nil, metricsKnown: row.metricsKnown,
                    predicted: .init(
                        networkMs: milliseconds(row.prediction.network), uploadMs: milliseconds(row.prediction.upload),
                        waitMs: milliseconds(row.prediction.wait), prefillMs: milliseconds(row.prediction.prefill),
                        decodeMs: milliseconds(row.prediction.decode), othersMs: milliseconds(row.prediction.others),
                        doubtMs: milliseconds(row.prediction.doubt), costMs: milliseconds(row.prediction.cost)))
            })
    }
}

extension Verdict {
    var word: String {
        switch self {
        case .eligible: "eligible"
        case .notUp: "not-up"
        case .atLimit: "at-limit"
        case .excluded: "excluded"
        }
    }
}

extension Reason {
    var word: String {
        switch self {
        case .policy: "policy"
        case .noMatch: "no match, least load"
        case .noSession: "no session, least load"
        }
    }
}

/// Times of day, UTC.
enum Timestamp {
    /// 2026-11-21T11:20:00.123Z
    static func iso(_ seconds: Double) -> String {
        let (date, time, fraction) = parts(seconds)
        return "\(date)T\(time).\(pad(fraction, 3))Z"
    }

    /// 20261121_112000
    static func compact(_ seconds: Double) -> String {
        let (date, time, _) = parts(seconds)
        return date.filter { $0 != "-" } + "_" + time.filter { $0 != ":" }
    }

    private static func parts(_ seconds: Double) -> (String, String, Int) {
        var whole = time_t(seconds)
        var fields = tm()
        gmtime_r(&whole, &fields)
        return (
            "\(Int(fields.tm_year) + 1900)-\(pad(Int(fields.tm_mon) + 1, 2))-\(pad(Int(fields.tm_mday), 2))",
            "\(pad(Int(fields.tm_hour), 2)):\(pad(Int(fields.tm_min), 2)):\(pad(Int(fields.tm_sec), 2))",
            Int((seconds - seconds.rounded(.down)) * 1000)
        )
    }

    private static func pad(_ number: Int, _ digits: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
}
