import FoundationEssentials
import GotoniCore
import GotoniEngines
import NIOConcurrencyHelpers
import Synchronization

// The JSON of the control endpoints. Keys of the original keep their names and units; nil is written as null, for
// unknown is not zero.

struct ServerChange: Encodable {
    var success: Bool
    var id: String
    var message: String
}
struct PolicyAnswer: Encodable {
    var current: String
    var available: [String]
    var hint: String
}
struct PolicyChange: Encodable {
    var success: Bool
    var oldPolicy: String
    var newPolicy: String
    var available: [String]
}
struct CacheCleared: Encodable {
    var success: Bool
    var nodes: Int
    var message: String
}
struct MetricsEnabled: Encodable {
    var success: Bool
    var enabled: Bool
}
struct MetricsCleared: Encodable {
    var success: Bool
    var cleared: Int
}

/// Written as null, where synthesized coding would leave the key out.
struct OrNull<Value: Encodable>: Encodable {
    var value: Value?
    init(_ value: Value?) { self.value = value }
    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        if let value { try container.encode(value) } else { try container.encodeNil() }
    }
}

struct LatencyDocument: Encodable {
    var currentMs: OrNull<Double>
    var avgMs: OrNull<Double>
    var minMs: OrNull<Double>
    var maxMs: OrNull<Double>

    init(_ rtt: RoundTrips) {
        currentMs = OrNull(rtt.current.map(rounded))
        avgMs = OrNull(rtt.average.map(rounded))
        minMs = OrNull(rtt.least.map(rounded))
        maxMs = OrNull(rtt.most.map(rounded))
    }
}

struct StatusDocument: Encodable {
    struct ServerEntry: Encodable {
        struct Own: Encodable {
            var queuedRequests: UInt64
            var runningRequests: UInt64
            var queuedTokens: UInt64
            var runningTokens: UInt64
            var owedTokens: UInt64
        }
        struct Parity: Encodable {
            var predictedTokens: UInt64
            var reportedTokens: UInt64
            var reports: UInt64
            /// Of the last reports, 0 to 1: by how much the two differ; null: too few.
            var recentDifference: OrNull<Double>
            /// True: by more than a fifth.
            var off: Bool
        }
        /// What its answers have taught, as `ServerInfo.Learned`.
        struct Learned: Encodable {
            var predictions: UInt64
            var meanFirstTokenMs: Double
            var biasMs: Double
            var errorMs: Double
            /// True: the mean error is more than half of the mean.
            var off: Bool
            var overheadMs: Double
            var prefillMsPerToken: Double
            var readingMsPerToken: Double
            var uploadRoundTrips: Double
            var decodeMs: Double
            var decodeMsPerRequest: Double

            init(_ learned: ServerInfo.Learned) {
                predictions = learned.predictions
                (meanFirstTokenMs, off) = (rounded(learned.mean), learned.isOff)
                (biasMs, errorMs, overheadMs) = (
                    rounded(learned.bias), rounded(learned.error), rounded(learned.overhead)
                )
                prefillMsPerToken = learned.prefillPerToken
                readingMsPerToken = learned.readingPerToken
                uploadRoundTrips = learned.uploadRoundTrips
                (decodeMs, decodeMsPerRequest) = (rounded(learned.decode), rounded(learned.decodePerRequest))
            }
        }
        var id: String
        var url: String
        var ip: String
        var port: Int
        var healthy: Bool
        var state: String
        var limit: Int
        var runningReqs: OrNull<Int>
        var waitingReqs: OrNull<Int>
        var gpuCacheUsage: OrNull<Double>
        var maxRunningReqs: OrNull<Int>
        var engine: OrNull<String>
        var latency: LatencyDocument
        var proxyTrackedRunning: Int
        var own: Own
        var heldTokens: OrNull<UInt64>
        /// Null: without a bound, for the engine tells what it evicts.
        var kvCapacityTokens: OrNull<UInt64>
        var hitShare: OrNull<Double>
        var requests: UInt64
        var failures: UInt64
        var ttftP50Ms: OrNull<Double>
        /// From where it is known what the server has cached: kv_events, cached_tokens or model.
        var knowledge: String
        /// Null: none are to come from here.
        var kvEvents: OrNull<KVEventsDocument>
        var parity: Parity
        var learned: OrNull<Learned>
    }
    struct Percentiles: Encodable {
        var windowSeconds: Int
        var count: Int
        var p50: OrNull<Double>
        var p95: OrNull<Double>
        var p99: OrNull<Double>
    }
    var running = true
    var draining: Bool
    var uptimeSeconds: Double
    var version: String
    var routingPolicy: String
    /// As configured: "estimate", or the sources that are asked, separated by commas.
    var tokenizer: String
    var tokens: TokensDocument
    var servers: [ServerEntry]
    var queueSize: Int
    var queueOldestMs: OrNull<Double>
    var totalHandled: UInt64
    var totalForwarded: UInt64
    var totalQueued: UInt64
    var totalRejected: UInt64
    var totalFailed: UInt64
    var totalCancelled: UInt64
    var totalRetried: UInt64
    var underWay: Int
    var openTickets: Int
    var msPerToken: Double
    var runningCostFactor: Double
    var knobs: [String: Double]
    var ttftMs: Percentiles
    var requestsPerSecond: Double
    var metricsCollectionEnabled: Bool
    /// With other proxies; null: this one is alone.
    var sharing: OrNull<SharingDocument>
}

extension ServerHealth {
    /// For people: a server whose limit still grows is not simply up.
    var shown: String { state == .up && ramp != nil ? "slow-start" : state.rawValue }
}

extension ServerInfo.Learned {
    /// Fewer predictions say nothing: the first are made by the knobs.
    static let fewPredictions = 20
    /// The share of the mean time to first token by which predictions may err.
    static let mostError = 0.5

    var isOff: Bool { predictions >= Self.fewPredictions && error > Self.mostError * mean }
}

func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }

extension ControlRoutes {
    func status() throws -> StatusDocument {
        let now = Clock.now()
        let counters = dispatcher.counters
        let knobs = try knobs()
        let recent = recentTTFT(seconds: 60)
        let tickets = try dispatcher.router.withRouter { (router) throws(RouterError) in router.statistics().openTickets
        }
        return StatusDocument(
            draining: gateway.isDraining, uptimeSeconds: rounded(now.since(gateway.startTime).milliseconds / 1000),
            version: gateway.configuration.version, routingPolicy: "\(try currentPolicy())",
            tokenizer: dispatcher.tokens.description, tokens: TokensDocument(dispatcher.tokens),
            servers: dispatcher.fleet.all.map { entry($0, now: now) },
            queueSize: dispatcher.queueLength,
            queueOldestMs: OrNull(dispatcher.oldestArrival.map { rounded(now.since($0).milliseconds) }),
            totalHandled: counters.handled.load(ordering: .relaxed),
            totalForwarded: counters.forwarded.load(ordering: .relaxed),
            totalQueued: counters.queued.load(ordering: .relaxed),
            totalRejected: counters.rejected.load(ordering: .relaxed),
            totalFailed: counters.failed.load(ordering: .relaxed),
            totalCancelled: counters.cancelled.load(ordering: .relaxed),
            totalRetried: counters.retried.load(ordering: .relaxed),
            underWay: counters.underWay.load(ordering: .relaxed), openTickets: tickets,
            msPerToken: knobs["ms_per_token"] ?? 0, runningCostFactor: knobs["running_cost_factor"] ?? 0, knobs: knobs,
            ttftMs: recent.percentiles, requestsPerSecond: recent.perSecond,
            metricsCollectionEnabled: dispatcher.requestLog.isOn,
            sharing: OrNull(dispatcher.sharing.map(SharingDocument.init)))
    }

    private func entry(_ server: Server, now: Nanoseconds) -> StatusDocument.ServerEntry {
        let state = server.state.withLockedValue { $0 }
        let info = try? dispatcher.router.withRouter { (router) throws(RouterError) in
            try router.info(server.id, now: now)
        }
        let report = state.report
        return StatusDocument.ServerEntry(
            id: server.name, url: "\(server.url)", ip: server.url.host, port: server.url.port,
            healthy: state.health.isAvailable(gateway.configuration.healthSettings(server.role)),
            state: state.health.shown,
            limit: state.limitInForce,
            runningReqs: OrNull(report?.running ?? state.node?.runningRequests),
            waitingReqs: OrNull(report?.queued ?? state.node.map { $0.queuedRequests + $0.waitingRequests }),
            gpuCacheUsage: OrNull(report?.cacheUsage), maxRunningReqs: OrNull(report?.maxRunning),
            engine: OrNull(report?.kind?.rawValue), latency: LatencyDocument(state.rtt),
            proxyTrackedRunning: state.inFlight,
            own: .init(
                queuedRequests: info?.own.queuedRequests ?? 0, runningRequests: info?.own.runningRequests ?? 0,
                queuedTokens: info?.own.queuedTokens ?? 0, runningTokens: info?.own.runningTokens ?? 0,
                owedTokens: info?.own.owedTokens ?? 0),
            heldTokens: OrNull(info?.heldTokens),
            kvCapacityTokens: OrNull(info?.kvCapacityTokens == .max ? nil : info?.kvCapacityTokens),
            hitShare: OrNull(
                state.promptTokens > 0 ? rounded(Double(state.matchedTokens) / Double(state.promptTokens)) : nil),
            requests: state.requests, failures: state.failures,
            ttftP50Ms: OrNull(state.ttft.percentile(0.5).map(rounded)),
            knowledge: state.knowledge(info).rawValue, kvEvents: OrNull(KVEventsDocument(state, info, now: now)),
            parity: .init(
                predictedTokens: info?.parity.predictedTokens ?? 0, reportedTokens: info?.parity.reportedTokens ?? 0,
                reports: info?.parity.reports ?? 0, recentDifference: OrNull(state.parity.difference.map(rounded)),
                off: state.parity.isOff),
            learned: OrNull(info.map { .init($0.learned) }))
    }

    /// Of the remembered requests that ended in the last `seconds`.
    private func recentTTFT(seconds: Int) -> (percentiles: StatusDocument.Percentiles, perSecond: Double) {
        let now = WallClock.seconds()
        func age(_ record: RequestRecord) -> Double { now - record.time - (record.total ?? 0) / 1000 }
        let recent = dispatcher.requestLog.records.filter { age($0) <= Double(seconds) }
        let values = recent.compactMap { $0.ttft.map { Float($0) } }
        let span = min(Double(seconds), max(1, recent.map(age).max() ?? 1))
        func percentile(_ share: Double) -> OrNull<Double> {
            OrNull(RecentValues.percentile(values, share).map(rounded))
        }
        return (
            .init(
                windowSeconds: seconds, count: values.count, p50: percentile(0.5), p95: percentile(0.95),
                p99: percentile(0.99)),
            rounded(Double(recent.count) / span)
        )
    }

    struct ServerRecord: Encodable {
        struct Metrics: Encodable {
            var numRunningReqs: OrNull<Int>
            var numWaitingReqs: OrNull<Int>
            var numTotalReqs: OrNull<Int>
            var gpuCacheUsage: OrNull<Double>
            var maxRunningReqs: OrNull<Int>
            var lastUpdatedMsAgo: OrNull<Double>
            var healthy: Bool
            var consecutiveFails: Int
        }
        var id: String
        var url: String
        var ip: String
        var port: Int
        var metrics: Metrics
        /// Nanoseconds, as the original has them.
        var latency: OrNull<Int>
        var latencyAvg: OrNull<Int>
        var latencyMin: OrNull<Int>
        var latencyMax: OrNull<Int>
    }

    func servers() -> [ServerRecord] {
        let now = Clock.now()
        return dispatcher.fleet.all.map { server in
            let state = server.state.withLockedValue { $0 }
            func nanoseconds(_ milliseconds: Double?) -> OrNull<Int> { OrNull(milliseconds.map { Int($0 * 1e6) }) }
            let report = state.report
            let total = report?.running.flatMap { running in report?.queued.map { running + $0 } }
            return ServerRecord(
                id: server.name, url: "\(server.url)", ip: server.url.host, port: server.url.port,
                metrics: .init(
                    numRunningReqs: OrNull(report?.running), numWaitingReqs: OrNull(report?.queued),
                    numTotalReqs: OrNull(total), gpuCacheUsage: OrNull(report?.cacheUsage),
                    maxRunningReqs: OrNull(report?.maxRunning),
                    lastUpdatedMsAgo: OrNull(state.reportTime.map { rounded(now.since($0).milliseconds) }),
                    healthy: state.health.isAvailable(gateway.configuration.healthSettings(server.role)),
                    consecutiveFails: state.health.consecutiveProbeFailures),
                latency: nanoseconds(state.rtt.current), latencyAvg: nanoseconds(state.rtt.average),
                latencyMin: nanoseconds(state.rtt.least), latencyMax: nanoseconds(state.rtt.most))
        }
    }

    struct LatencyEntry: Encodable {
        var ip: String
        var port: Int
        var currentMs: OrNull<Double>
        var avgMs: OrNull<Double>
        var minMs: OrNull<Double>
        var maxMs: OrNull<Double>
        var healthy: Bool
    }

    func latency() -> [String: LatencyEntry] {
        var result: [String: LatencyEntry] = [:]
        for server in dispatcher.fleet.all {
            let state = server.state.withLockedValue { $0 }
            let latency = LatencyDocument(state.rtt)
            result[server.name] = LatencyEntry(
                ip: server.url.host, port: server.url.port, currentMs: latency.currentMs, avgMs: latency.avgMs,
                minMs: latency.minMs, maxMs: latency.maxMs,
                healthy: state.health.isAvailable(gateway.configuration.healthSettings(server.role)))
        }
        return result
    }

    struct PrefixDocument: Encodable {
        var nodes: Int
        var leaves: Int
        var maxDepth: Int
        var avgDepth: Double
        var avgBranching: Double
        var avgPrefixLen: Double
        var totalServerRefs: Int
        var uniqueServerCount: Int
        var heldTokens: Int
        var bytes: Int
        var budgetBytes: Int
    }

    /// Depths and lengths are in tokens (the original's in bytes).
    func prefixStatistics() throws -> PrefixDocument {
        let found = try dispatcher.router.withRouter { (router) throws(RouterError) in router.prefixStatistics() }
        return PrefixDocument(
            nodes: found.nodes, leaves: found.leaves, maxDepth: found.maxDepth, avgDepth: found.averageDepth,
            avgBranching: found.averageBranching, avgPrefixLen: found.averagePrefixLength,
            totalServerRefs: found.totalServerReferences, uniqueServerCount: found.uniqueServers,
            heldTokens: found.heldTokens, bytes: found.bytes, budgetBytes: found.budgetBytes)
    }
}
