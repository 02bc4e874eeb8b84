import GotoniCore
import NIOCore

// trace/start, trace/stop and trace/status, of a node under /lb/ and of a proxy under /proxy/.

extension ControlRoutes {
    static func traceRoutes(under prefix: String) -> [String: [String: Handler]] {
        [
            "\(prefix)/trace/start": ["POST": { routes, _ in try routes.startTrace() }],
            "\(prefix)/trace/stop": ["POST": { routes, _ in try routes.stopTrace() }],
            "\(prefix)/trace/status": ["GET": { routes, _ in try routes.json(routes.traceStatus()) }],
        ]
    }

    /// Its name in traces.
    var nodeID: String { dispatcher.mesh?.configuration.nodeID ?? "proxy" }

    private func startTrace() throws -> LocalAnswer {
        let wall = WallClock.seconds()
        let id = "\(nodeID)-\(Timestamp.compact(wall))"
        guard let session = dispatcher.traces.start(id: id, now: Clock.now(), wall: wall) else {
            throw Problem.badRequest("trace_active", "a trace runs already: stop it first", status: 409)
        }
        return try json(
            TraceStarted(
                status: "started", sessionId: session.id, nodeId: nodeID, capacity: TraceLog.capacity,
                hint: "POST trace/stop ends it and gives the file"))
    }

    private func stopTrace() throws -> LocalAnswer {
        guard let session = dispatcher.traces.stop() else {
            throw Problem.badRequest("no_trace", "no trace runs: POST trace/start first")
        }
        var answer = LocalAnswer(status: 200, body: ChromeTrace.text(session, node: nodeID))
        answer.fields.append(("content-disposition", "attachment; filename=\"trace.json\""))
        answer.fields.append(("cache-control", "no-store"))
        return answer
    }

    private func traceStatus() -> TraceStatus {
        let session = dispatcher.traces.status
        let since = session.map { Clock.now().since($0.base) }
        return TraceStatus(
            active: session != nil, nodeId: nodeID, sessionId: OrNull(session?.id),
            durationMs: OrNull(since.map { rounded($0.milliseconds) }),
            clockUs: OrNull(since.map { $0.rawValue / 1_000 }),
            requestCount: OrNull(session?.ended),
            startTime: OrNull(session.map { Timestamp.iso($0.wall) }))
    }
}

struct TraceStarted: Encodable {
    var status: String
    var sessionId: String
    var nodeId: String
    var capacity: Int
    var hint: String
}

struct TraceStatus: Encodable {
    var active: Bool
    var nodeId: String
    var sessionId: OrNull<String>
    var durationMs: OrNull<Double>
    /// Since the trace's base, by the clock of its times: whoever asks several times can estimate its own clock's offset.
    var clockUs: OrNull<UInt64>
    var requestCount: OrNull<UInt64>
    var startTime: OrNull<String>
}
