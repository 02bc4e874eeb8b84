import GotoniCore
import GotoniEngines
import NIOConcurrencyHelpers
import Synchronization

// The JSON of a node's endpoints, with the original's keys and units. What is unknown is null.

struct NodeStatus: Encodable {
    struct Aggregate: Encodable {
        var totalRequests: UInt64
        var requestsLocal: UInt64
        var requestsForwarded: UInt64
        var requestsQueued: UInt64
        var requestsRejected: UInt64
        var requestsFromPeers: UInt64
        var requestsQueuedThenForwarded: UInt64
        var startTime: String
        var uptimeSeconds: Double
        /// Of the engine, since it was first up.
        var downtimeSeconds: Double
        var downtimeIntervals: Int
    }
    var running = true
    var draining: Bool
    var nodeId: String
    var currentLoad: Int
    var maxLoad: Int
    var runningReqs: Int
    var waitingReqs: Int
    var gpuCache: OrNull<Double>
    var healthy: Bool
    /// From where it is known what the engine has cached: kv_events, cached_tokens or model.
    var knowledge: String
    /// Null: none are to come.
    var kvEvents: OrNull<KVEventsDocument>
    /// What the engine's answers have taught.
    var learned: OrNull<StatusDocument.ServerEntry.Learned>
    var peerCount: Int
    /// That are up and have room.
    var healthyPeers: Int
    var queueSize: Int
    var queueEnabled: Bool
    var listenPort: OrNull<Int>
    var backendPort: OrNull<Int>
    var metricsEnabled: Bool
    var aggregate: Aggregate
}

struct PeerEntry: Encodable {
    var id: String
    var url: String
    var ip: String
    var port: Int
    /// Has room for a request now.
    var available: Bool
    var healthy: Bool
    var state: String
    var runningReqs: OrNull<Int>
    var waitingReqs: OrNull<Int>
    var totalReqs: OrNull<Int>
    var maxLoad: OrNull<Int>
    var latencyMs: OrNull<Double>
    /// Since it was last heard.
    var ageMs: OrNull<Double>
    var heldTokens: OrNull<UInt64>
    var learned: OrNull<StatusDocument.ServerEntry.Learned>
}

struct PeerList: Encodable {
    var count: Int
    var peers: [PeerEntry]
}

struct PeerChange: Encodable {
    /// added, exists or removed.
    var status: String
    var id: String
    var message: String
    var peers: Int
}

struct NodeMetrics: Encodable {
    struct Local: Encodable {
        var runningReqs: Int
        var waitingReqs: Int
        var totalReqs: Int
        var gpuCache: OrNull<Double>
        var maxRunning: OrNull<Int>
        var healthy: Bool
        var lastUpdatedMsAgo: OrNull<Double>
    }
    struct Mesh: Encodable {
        var intervalMs: Double
        var bytesTold: UInt64
        var bytesHeard: UInt64
        /// Both, since the start.
        var bytesPerSecond: Double
    }
    var local: Local
    /// By name.
    var peers: [String: PeerEntry]
    var config: NodeConfiguration
    var aggregate: NodeStatus.Aggregate
    var queueDepth: Int
    var mesh: Mesh
}

struct NodeConfiguration: Encodable {
    var policy: String
    var maxConcurrent: Int
    var queueEnabled: Bool
    /// With units.
    var queueTimeout: String
    /// Until the first byte of an answer; 0: none. The option is --first-byte-timeout.
    var requestTimeout: String
    var metricsEnabled: Bool
    var listenPort: OrNull<Int>
    var backendPort: OrNull<Int>
    var msPerToken: Double
    var runningCostFactor: Double
    var runningThreshold: Int
}

struct NodeConfigurationChange: Encodable {
    var success: Bool
    var changes: [String]
    var config: NodeConfiguration
}

struct NodeCacheCleared: Encodable {
    var success: Bool
    var strategy: String
    var nodesCleared: Int
    var message: String
}

struct TokenizerAnswer: Encodable {
    struct Result: Encodable {
        var text: String
        var tokenCount: Int
        /// UTF-8.
        var charCount: Int
        var fallbackEstimate: Int
    }
    var success: Bool
    /// What counts: "estimate" is UTF-8 bytes over four, another one the model's tokenizer.
    var tokenizer: String
    var results: [Result]
    var message: String
}

extension ControlRoutes {
    func nodeStatus() -> NodeStatus {
        let now = Clock.now()
        let report = dispatcher.report(isDraining: gateway.isDraining, now: now)
        let local = dispatcher.fleet.mesh.local
        let state = local?.state.withLockedValue { $0 }
        let info = local.flatMap { local in
            try? dispatcher.router.withRouter { (router) throws(RouterError) in try router.info(local.id, now: now) }
        }
        let peers = peers().peers
        return NodeStatus(
            draining: gateway.isDraining, nodeId: nodeID,
            currentLoad: report.queuedRequests + report.runningRequests, maxLoad: report.limit,
            runningReqs: report.runningRequests, waitingReqs: report.queuedRequests,
            gpuCache: OrNull(state?.report?.cacheUsage), healthy: report.takesRequests,
            knowledge: (state?.knowledge(info) ?? .model).rawValue,
            kvEvents: OrNull(state.flatMap { KVEventsDocument($0, info, now: now) }),
            learned: OrNull(info.map { .init($0.learned) }),
            peerCount: peers.count, healthyPeers: peers.count { $0.healthy && $0.available },
            queueSize: report.waitingRequests, queueEnabled: dispatcher.queueIsOn,
            listenPort: OrNull(gateway.configuration.listen.port), backendPort: OrNull(local?.url.port),
            metricsEnabled: gateway.configuration.metricsInterval.rawValue > 0, aggregate: aggregate(now: now))
    }

    private func aggregate(now: Nanoseconds) -> NodeStatus.Aggregate {
        let counters = dispatcher.counters
        let answered = counters.forwarded.load(ordering: .relaxed)
        let uptime = now.since(gateway.startTime).milliseconds / 1000
        let downtime = dispatcher.fleet.mesh.local?.state.withLockedValue(\.downtime) ?? Downtime()
        return .init(
            totalRequests: counters.handled.load(ordering: .relaxed),
            requestsLocal: answered - min(answered, counters.answeredByPeers.load(ordering: .relaxed)),
            requestsForwarded: counters.toPeers.load(ordering: .relaxed),
            requestsQueued: counters.queued.load(ordering: .relaxed),
            requestsRejected: counters.rejected.load(ordering: .relaxed),
            requestsFromPeers: counters.fromPeers.load(ordering: .relaxed),
            requestsQueuedThenForwarded: counters.queuedToPeers.load(ordering: .relaxed),
            startTime: Timestamp.iso(WallClock.seconds() - uptime), uptimeSeconds: rounded(uptime),
            downtimeSeconds: rounded(downtime.total(now: now).milliseconds / 1000),
            downtimeIntervals: downtime.intervals)
    }

    func peers() -> PeerList {
        let now = Clock.now()
        let entries = dispatcher.fleet.all.filter { $0.role == .peer }.map { server in
            let state = server.state.withLockedValue { $0 }
            let info = try? dispatcher.router.withRouter { (router) throws(RouterError) in
                try router.info(server.id, now: now)
            }
            let waiting = state.node.map { $0.queuedRequests + $0.waitingRequests }
            let isHealthy = state.health.isAvailable(gateway.configuration.healthSettings(.peer))
            return PeerEntry(
                id: server.name, url: "\(server.url)", ip: server.url.host, port: server.url.port,
                available: isHealthy && state.inFlight < state.limitInForce, healthy: isHealthy,
                state: state.health.shown, runningReqs: OrNull(state.node?.runningRequests),
                waitingReqs: OrNull(waiting),
                totalReqs: OrNull(state.node.flatMap { node in waiting.map { $0 + node.runningRequests } }),
                maxLoad: OrNull(state.node?.limit), latencyMs: OrNull(state.rtt.least.map(rounded)),
                ageMs: OrNull(state.nodeTime.map { rounded(now.since($0).milliseconds) }),
                heldTokens: OrNull(info?.heldTokens), learned: OrNull(info.map { .init($0.learned) }))
        }
        return PeerList(count: entries.count, peers: entries)
    }

    func nodeMetrics() throws -> NodeMetrics {
        let now = Clock.now()
        let report = dispatcher.report(isDraining: gateway.isDraining, now: now)
        let (engine, time) =
            dispatcher.fleet.mesh.local?.state.withLockedValue { ($0.report, $0.reportTime) } ?? (nil, nil)
        let told = dispatcher.mesh?.bytesTold.load(ordering: .relaxed) ?? 0
        let heard = dispatcher.mesh?.bytesHeard.load(ordering: .relaxed) ?? 0
        let seconds = max(0.001, now.since(gateway.startTime).milliseconds / 1000)
        return NodeMetrics(
            local: .init(
                runningReqs: report.runningRequests, waitingReqs: report.queuedRequests,
                totalReqs: report.runningRequests + report.queuedRequests, gpuCache: OrNull(engine?.cacheUsage),
                maxRunning: OrNull(engine?.maxRunning), healthy: report.takesRequests,
                lastUpdatedMsAgo: OrNull(time.map { rounded(now.since($0).milliseconds) })),
            peers: Dictionary(uniqueKeysWithValues: peers().peers.map { ($0.id, $0) }),
            config: try nodeConfiguration(), aggregate: aggregate(now: now), queueDepth: report.waitingRequests,
            mesh: .init(
                intervalMs: dispatcher.mesh?.configuration.interval.milliseconds ?? 0, bytesTold: told,
                bytesHeard: heard, bytesPerSecond: rounded(Double(told + heard) / seconds)))
    }

    func nodeConfiguration() throws -> NodeConfiguration {
        let knobs = try knobs()
        let configuration = gateway.configuration
        return NodeConfiguration(
            policy: "\(try currentPolicy())",
            maxConcurrent: dispatcher.fleet.mesh.local?.state.withLockedValue(\.limit) ?? configuration.maxConcurrent,
            queueEnabled: dispatcher.queueIsOn, queueTimeout: "\(configuration.queueTimeout.milliseconds / 1000)s",
            requestTimeout: "\(configuration.firstByteTimeout.milliseconds / 1000)s",
            metricsEnabled: configuration.metricsInterval.rawValue > 0,
            listenPort: OrNull(configuration.listen.port),
            backendPort: OrNull(dispatcher.fleet.mesh.local?.url.port), msPerToken: knobs["ms_per_token"] ?? 0,
            runningCostFactor: knobs["running_cost_factor"] ?? 0,
            runningThreshold: dispatcher.mesh?.runningThreshold.load(ordering: .relaxed) ?? 0)
    }
}
