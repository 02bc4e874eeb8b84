import GotoniCore
import NIOCore

/// A trace as a Chrome JSON object, which ui.perfetto.dev opens: one event a line.
///
///     process NODE              a track for each request at one time: `request`, in it `read` (until its body had come)
///                               and `local` or `forward` per attempt;
///                               the queue as asynchronous spans
///     process of each engine    a track for each of its slots: `process`, in it `prefill` (until the first byte) and `decode`
///
/// An arrow leads from a `forward` to what the other node made of it, if that runs a trace too: both have the same number.
/// Times are microseconds since the session's base.
struct ChromeTrace {
    private var out = ByteBuffer()
    private let base: Nanoseconds
    /// Slices, asynchronous spans and arrow ends written.
    private(set) var slices = 0
    private(set) var flowStarts = 0
    private(set) var flowEnds = 0

    /// `node`: the name of this gateway, and of its track.
    static func text(_ session: TraceLog.Session, node: String) -> ByteBuffer {
        var trace = ChromeTrace(base: session.base)
        trace.write(session, node)
        return trace.out
    }

    private init(base: Nanoseconds) { self.base = base }

    private static let gateway = 1

    private mutating func write(_ session: TraceLog.Session, _ node: String) {
        let requests = session.ring.elements.sorted { $0.start < $1.start }
        let engines = Set(requests.flatMap { $0.attempts.filter { $0.role != .peer }.map(\.server) }).sorted()
        let pids = Dictionary(uniqueKeysWithValues: engines.enumerated().map { ($1, Self.gateway + 1 + $0) })
        out.writeStaticString("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n")
        name(Self.gateway, node, kind: "gateway")
        for engine in engines {
            name(pids[engine] ?? 0, engine == "local" ? "engine of \(node)" : engine, kind: "engine")
        }
        var lanes: [Int: Lanes] = [:]
        for (number, request) in requests.enumerated() {
            write(request, number, lane: lanes[Self.gateway, default: Lanes()].take(request.start, request.end))
        }
        // An engine's slots are taken in the order of attempts, not of requests.
        let served = requests.flatMap { request in
            request.attempts.filter { $0.role != .peer }.enumerated().map { (request, $0.offset == 0, $0.element) }
        }.sorted { $0.2.begin < $1.2.begin }
        for (request, isFirst, attempt) in served {
            let pid = pids[attempt.server] ?? 0
            let lane = lanes[pid, default: Lanes()].take(attempt.begin, attempt.end)
            write(attempt, of: request, isFirst: isFirst, pid, lane)
        }
        for (pid, lanes) in lanes.sorted(by: { $0.key < $1.key }) {
            for lane in 0..<lanes.count {
                let what = pid == Self.gateway ? "requests" : "slot"
                meta(pid, Self.tid(lane), "thread_name", "\"name\":\"\(what) \(lane + 1)\"")
                meta(pid, Self.tid(lane), "thread_sort_index", "\"sort_index\":\(lane)")
            }
        }
        let id = JSONText.quoted(session.id)
        let kept = requests.count
        // The last event has no comma behind it: this one is always there.
        out.writeString(
            "{\"ph\":\"M\",\"name\":\"process_sort_index\",\"pid\":\(Self.gateway),\"args\":{\"sort_index\":0}}\n],\n")
        out.writeString(
            "\"otherData\":{\"node_id\":\(JSONText.quoted(node)),\"session_id\":\(id),"
                + "\"base_unix_us\":\(UInt64(session.wall * 1e6)),\"requests\":\(kept),"
                + "\"dropped_requests\":\(session.ended - UInt64(kept)),\"slices\":\(slices),"
                + "\"flow_starts\":\(flowStarts),\"flow_ends\":\(flowEnds)}}\n")
    }

    // MARK: A request

    private mutating func write(_ request: RequestTrace, _ number: Int, lane: Int) {
        let decision = request.decision
        var args =
            "\"req\":\(JSONText.quoted(request.requestID)),\"path\":\(JSONText.quoted(request.path)),"
            + "\"hops\":\(request.hops),\"status\":\(request.status)"
        if let flow = request.flow { args += ",\"flow\":\(flow)" }
        if decision.chosen != nil {
            args +=
                ",\"policy\":\"\(decision.policy.name)\",\"prompt_tokens\":\(decision.promptTokens),"
                + "\"matched_tokens\":\(decision.matchedTokens)"
        }
        if let cached = request.cachedTokens { args += ",\"cached_tokens\":\(cached)" }
        if let output = request.outputTokens { args += ",\"output_tokens\":\(output)" }
        if !request.error.isEmpty { args += ",\"error\":\(JSONText.quoted(request.error))" }
        slice("request", Self.gateway, lane, request.start, request.end, args)
        if request.received > request.start { slice("read", Self.gateway, lane, request.start, request.received, "") }
        for attempt in request.attempts {
            let target = "\"to\":\(JSONText.quoted(attempt.server))\(Self.outcome(attempt))"
            guard attempt.role == .peer else {
                slice("local", Self.gateway, lane, attempt.begin, attempt.end, target)
                continue
            }
            slice(
                "forward", Self.gateway, lane, attempt.begin, attempt.end,
                target + (attempt.flow.map { ",\"flow\":\($0)" } ?? ""))
            if let flow = attempt.flow, attempt.sent != nil {
                arrow("s", flow, Self.gateway, lane, attempt.begin, attempt.end)
            }
        }
        for (index, wait) in request.waits.enumerated() {
            let id = "\"id2\":{\"local\":\"\(number).\(index)\"}"
            let common = "\"name\":\"queue\",\"cat\":\"queue\",\"pid\":\(Self.gateway),\"tid\":\(Self.tid(lane)),\(id)"
            out.writeString(
                "{\"ph\":\"b\",\(common),\"ts\":\(time(wait.begin)),\"args\":{\"req\":\(JSONText.quoted(request.requestID))}},\n"
            )
            out.writeString("{\"ph\":\"e\",\(common),\"ts\":\(time(wait.end))},\n")
            slices += 1
        }
        // What was refused here has no slice at an engine: the arrow ends at the request.
        if let flow = request.flow, !request.attempts.contains(where: { $0.role != .peer }) {
            arrow("f", flow, Self.gateway, lane, request.start, request.end)
        }
    }

    private static func outcome(_ attempt: RequestTrace.Attempt) -> String {
        (attempt.status.map { ",\"status\":\($0)" } ?? "")
            + (attempt.failure.isEmpty ? "" : ",\"error\":\(JSONText.quoted(attempt.failure))")
    }

    /// `isFirst`: of the request's attempts here, where the arrow ends.
    private mutating func write(
        _ attempt: RequestTrace.Attempt, of request: RequestTrace, isFirst: Bool, _ pid: Int, _ lane: Int
    ) {
        slice(
            "process", pid, lane, attempt.begin, attempt.end,
            "\"req\":\(JSONText.quoted(request.requestID))\(Self.outcome(attempt))")
        if isFirst, let flow = request.flow { arrow("f", flow, pid, lane, attempt.begin, attempt.end) }
        guard let sent = attempt.sent else { return }
        // Behind the arrow's end, which would bind to it otherwise.
        let begin = max(sent.rawValue, attempt.begin.rawValue + 2_000)
        let end = attempt.firstByte ?? attempt.end
        if end.rawValue > begin { slice("prefill", pid, lane, Nanoseconds(begin), end, "") }
        if let first = attempt.firstByte { slice("decode", pid, lane, first, attempt.end, "") }
    }

    // MARK: Events

    /// A lane's number is not its process's, which viewers would take for the main thread.
    private static func tid(_ lane: Int) -> Int { 1_000 + lane }

    /// In microseconds, with three digits behind the point.
    private func time(_ moment: Nanoseconds) -> String { Self.microseconds(moment.since(base)) }

    private static func microseconds(_ span: Nanoseconds) -> String {
        let rest = String(span.rawValue % 1_000)
        return "\(span.rawValue / 1_000)." + String(repeating: "0", count: 3 - rest.count) + rest
    }

    private mutating func slice(
        _ name: StaticString, _ pid: Int, _ lane: Int, _ begin: Nanoseconds, _ end: Nanoseconds, _ args: String
    ) {
        slices += 1
        out.writeString(
            "{\"ph\":\"X\",\"name\":\"\(name)\",\"cat\":\"req\",\"pid\":\(pid),\"tid\":\(Self.tid(lane)),"
                + "\"ts\":\(time(begin)),\"dur\":\(Self.microseconds(end.since(begin))),\"args\":{\(args)}},\n")
    }

    /// A microsecond inside its slice, if that is so long.
    private mutating func arrow(
        _ phase: StaticString, _ flow: UInt64, _ pid: Int, _ lane: Int, _ begin: Nanoseconds, _ end: Nanoseconds
    ) {
        let isEnd = "\(phase)" == "f"
        if isEnd { flowEnds += 1 } else { flowStarts += 1 }
        let inside = Nanoseconds(min(begin.rawValue + 1_000, end.rawValue))
        out.writeString(
            "{\"ph\":\"\(phase)\",\(isEnd ? "\"bp\":\"e\"," : "")\"id\":\(flow),\"cat\":\"flow\",\"name\":\"forward\","
                + "\"pid\":\(pid),\"tid\":\(Self.tid(lane)),\"ts\":\(time(inside))},\n")
    }

    private mutating func name(_ pid: Int, _ name: String, kind: StaticString) {
        meta(pid, 0, "process_name", "\"name\":\(JSONText.quoted(name)),\"kind\":\"\(kind)\"")
        if pid != Self.gateway { meta(pid, 0, "process_sort_index", "\"sort_index\":\(pid)") }
    }

    private mutating func meta(_ pid: Int, _ tid: Int, _ name: StaticString, _ args: String) {
        out.writeString("{\"ph\":\"M\",\"name\":\"\(name)\",\"pid\":\(pid),\"tid\":\(tid),\"args\":{\(args)}},\n")
    }
}

/// The lowest free track for each span, so that the slices of one track never overlap.
private struct Lanes {
    private var ends: [Nanoseconds] = []
    var count: Int { ends.count }

    /// Spans come in the order of their beginnings.
    mutating func take(_ begin: Nanoseconds, _ end: Nanoseconds) -> Int {
        if let free = ends.firstIndex(where: { $0 <= begin }) {
            ends[free] = end
            return free
        }
        ends.append(end)
        return ends.count - 1
    }
}
