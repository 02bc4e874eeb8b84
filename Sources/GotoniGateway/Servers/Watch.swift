import GotoniCore
import GotoniEngines
import Logging
import NIOConcurrencyHelpers
import NIOCore

/// What the gateway finds out about one server by asking it: two loops that know nothing of each other's or of other
/// servers' pace, so that one that hangs delays nobody.
struct Watch: Sendable {
    let server: Server
    let dispatcher: Dispatcher
    let loop: any EventLoop
    let logger: Logger

    /// Where engines tell their load, best source first: SGLang from 0.5.9, vLLM and llama.cpp and SGLang, TensorRT-LLM,
    /// SGLang 0.5.5.
    static let paths = ["/v1/loads?include=core", "/metrics", "/prometheus/metrics", "/get_load"]

    /// Until cancelled.
    func run() async {
        let pools = NIOLoopBoundBox<UpstreamPool?>.makeEmptyBox(eventLoop: loop)
        let configuration = dispatcher.configuration
        try? await loop.submit {
            pools.value = UpstreamPool(
                server: server, loop: loop, UpstreamSettings(connectTimeout: configuration.probeTimeout))
        }.get()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await probe(pools) }
            if server.role == .peer, let mesh = dispatcher.mesh {
                let link = PeerLink(server: server, dispatcher: dispatcher, mesh: mesh, logger: logger)
                group.addTask {
                    await link.run { try await get($0, pools, timeout: $1, apiKey: mesh.configuration.key) }
                }
            } else if configuration.metricsInterval.rawValue > 0 {
                group.addTask { await poll(pools) }
            }
        }
        try? await loop.submit {
            pools.value?.close()
            pools.value = nil
        }.get()
    }

    /// Round trips and life.
    private func probe(_ pools: NIOLoopBoundBox<UpstreamPool?>) async {
        var isAgain = false
        while !Task.isCancelled {
            do {
                // A node's own answer, whatever its engine does: that is in its reports.
                let isPeer = server.role == .peer
                let answer = try await get(isPeer ? "/lb/health" : dispatcher.configuration.probePath, pools)
                if dispatcher.configuration.kvEvents != nil, !isPeer { await noteModel(answer, pools) }
                let now = Clock.now()
                if answer.status < 500 || isPeer {
                    if let roundTrip = answer.roundTrip {
                        // The engine of this node is no way off.
                        let cost = server.role == .local ? 0 : roundTrip.rawValue
                        try? dispatcher.router.withRouter { (router) throws(RouterError) in
                            try router.observeRTT(server.id, cost, now: now)
                        }
                        server.state.withLockedValue { $0.rtt.add(roundTrip.milliseconds) }
                    }
                    // A node that answers and tells nothing is no peer yet.
                    if !isPeer { dispatcher.answered(server, isProbe: true, now: now) }
                    // The first answer of a connection is no measure; the second will be, if the server keeps it.
                    isAgain = answer.roundTrip == nil && !isAgain
                    if isAgain { continue }
                } else {
                    dispatcher.probeFailed(server, isDead: false, why: "status \(answer.status)", now: now)
                }
            } catch {
                if Task.isCancelled { return }
                dispatcher.probeFailed(
                    server, isDead: error as? Fetch.FetchError == .refused, why: "\(error)", now: Clock.now())
            }
            await pause(dispatcher.configuration.probeInterval)
        }
    }

    /// What the engine serves, from a probe's answer if that tells it.
    private func noteModel(_ answer: Fetch.Answer, _ pools: NIOLoopBoundBox<UpstreamPool?>) async {
        var list: Fetch.Answer? = answer
        if dispatcher.configuration.probePath != Self.modelsPath {
            guard server.state.withLockedValue({ $0.model == nil }) else { return }
            list = try? await get(Self.modelsPath, pools)
        }
        guard let list, list.status == 200, let model = list.body.withUnsafeReadableBytes({ ServedModel($0) }) else {
            return
        }
        server.state.withLockedValue { $0.model = model.name }
    }

    private static let modelsPath = "/v1/models"

    /// Load. What an engine does not tell stays unknown.
    private func poll(_ pools: NIOLoopBoundBox<UpstreamPool?>) async {
        var known: String? = dispatcher.configuration.metricsPath
        var lastFound: Nanoseconds?
        var slots: Int?
        while !Task.isCancelled {
            var found = false
            for path in known.map({ [$0] }) ?? Self.paths {
                guard let answer = try? await get(path, pools), answer.status == 200,
                    var report = Self.read(path, answer)
                else { continue }
                found = true
                if report.kind == .llamacpp {
                    if slots == nil { slots = await promptSlots(pools) }
                    report.kvCapacityTokens = slots.flatMap(dispatcher.tokens(ofPrompts:))
                    report.maxRunning = slots
                }
                known = path
                let now = Clock.now()
                lastFound = now
                let hasRestarted = server.state.withLockedValue { state in
                    let before = state.report?.incarnation
                    state.report = report
                    // Not all places tell it.
                    state.report?.incarnation = report.incarnation ?? before
                    state.reportTime = now
                    state.reportPath = path
                    return before.map { $0 != report.incarnation ?? $0 } ?? false
                }
                if hasRestarted, server.role == .local { dispatcher.mesh?.forget() }
                dispatcher.observe(report, of: server, hasRestarted: hasRestarted, now: now)
                break
            }
            if !found { slots = nil }  // it may come back as another
            if !found, known != dispatcher.configuration.metricsPath { known = nil }
            // An engine without metrics is asked again, but not all the time; one that has just had some may restart.
            let interval = dispatcher.configuration.metricsInterval
            let seldom = Nanoseconds(milliseconds: 5_000)
            let mayReturn = lastFound.map { Clock.now().since($0) < seldom } ?? false
            await pause(found || mayReturn ? interval : max(interval, seldom))
        }
    }

    private func promptSlots(_ pools: NIOLoopBoundBox<UpstreamPool?>) async -> Int? {
        guard let answer = try? await get("/props", pools), answer.status == 200 else { return nil }
        return answer.body.withUnsafeReadableBytes { LlamaCppProperties($0)?.slots }
    }

    private static func read(_ path: String, _ answer: Fetch.Answer) -> EngineReport? {
        answer.body.withUnsafeReadableBytes { bytes in
            let isJSON = bytes.first { $0 > 0x20 }.map { $0 == UInt8(ascii: "{") || $0 == UInt8(ascii: "[") } ?? false
            return isJSON ? try? EngineReport(loads: bytes) : try? EngineReport(prometheus: bytes)
        }
    }

    /// Ends at once when the task is cancelled.
    private func get(
        _ path: String, _ pools: NIOLoopBoundBox<UpstreamPool?>, timeout: Nanoseconds? = nil, apiKey: String? = nil
    ) async throws -> Fetch.Answer {
        let fetch = try await loop.submit { () throws -> NIOLoopBound<Fetch> in
            guard let pool = pools.value else { throw Fetch.FetchError.closed }
            let fetch = Fetch(
                path, from: pool, on: loop, timeout: timeout ?? dispatcher.configuration.probeTimeout,
                apiKey: apiKey ?? (server.role == .peer ? nil : dispatcher.configuration.upstreamAPIKey))
            return NIOLoopBound(fetch, eventLoop: loop)
        }.get()
        return try await withTaskCancellationHandler {
            try await loop.flatSubmit { fetch.value.answer }.get()
        } onCancel: {
            loop.execute { fetch.value.cancel() }
        }
    }

    /// A fifth more or less, so that many proxies do not ask in step.
    private func pause(_ interval: Nanoseconds) async {
        let jitter = Double.random(in: 0.8...1.2)
        try? await Task.sleep(nanoseconds: UInt64(Double(interval.rawValue) * jitter))
    }
}
