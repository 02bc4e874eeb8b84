// What the control endpoints answer, as far as it is shown. Unknown is nil.

/// What a server's answers have taught of its speed, in milliseconds.
struct LearnedAnswer: Decodable {
    var predictions: Int
    var meanFirstTokenMs: Double
    var biasMs: Double
    var errorMs: Double
    var off: Bool
    var overheadMs: Double
    var prefillMsPerToken: Double
    var uploadRoundTrips: Double
    var decodeMs: Double

    /// The mean error as it is shown; unknown while nothing was compared.
    var error: String {
        predictions == 0 ? "-" : errorMs.text(1) + " ms" + (off ? ", off" : "")
    }
}

struct StatusAnswer: Decodable {
    struct Server: Decodable {
        struct Latency: Decodable {
            var currentMs: Double?
            var avgMs: Double?
        }
        var id: String
        var url: String
        var state: String
        var limit: Int
        var runningReqs: Int?
        var waitingReqs: Int?
        var gpuCacheUsage: Double?
        var latency: Latency
        var hitShare: Double?
        var requests: Int
        var failures: Int
        var ttftP50Ms: Double?
        var knowledge: String
        var learned: LearnedAnswer?
    }
    struct Percentiles: Decodable {
        var windowSeconds: Int
        var count: Int
        var p50: Double?
        var p95: Double?
        var p99: Double?
    }
    var draining: Bool
    var uptimeSeconds: Double
    var version: String
    var routingPolicy: String
    var tokenizer: String
    var servers: [Server]
    var queueSize: Int
    var totalHandled: Int
    var totalForwarded: Int
    var totalQueued: Int
    var totalRejected: Int
    var totalFailed: Int
    var totalCancelled: Int
    var totalRetried: Int
    var underWay: Int
    var msPerToken: Double
    var runningCostFactor: Double
    var ttftMs: Percentiles
    var requestsPerSecond: Double
    /// Nil: it is alone, or older than this.
    var sharing: Sharing?

    struct Sharing: Decodable {
        var group: String
        /// Its name among them.
        var proxy: String
        var trouble: String?
        var siblings: Int
        var bytesPerPrompt: Double?
    }
}

struct ChangeAnswer: Decodable {
    var id: String
    var message: String
}

struct ClearedAnswer: Decodable { var message: String }

struct PolicyAnswer: Decodable {
    var current: String
    var available: [String]
}

struct PolicyChangeAnswer: Decodable {
    var oldPolicy: String
    var newPolicy: String
}

struct LatencyAnswer: Decodable {
    var currentMs: Double?
    var avgMs: Double?
    var minMs: Double?
    var maxMs: Double?
}

struct PrefixAnswer: Decodable {
    var nodes: Int
    var leaves: Int
    var maxDepth: Int
    var avgDepth: Double
    var avgBranching: Double
    var avgPrefixLen: Double
    var totalServerRefs: Int
    var uniqueServerCount: Int
}

struct ExplainAnswer: Decodable {
    struct Row: Decodable {
        var server: String
        var verdict: String
        var matchedTokens: Int
        var uncachedTokens: Int
        var costMs: Double
        var rttMs: Double
        var prefillMs: Double
        var queuedMs: Double
        var runningMs: Double
        var predicted: Predicted?
    }
    struct Predicted: Decodable {
        var networkMs: Double
        var uploadMs: Double
        var waitMs: Double
        var prefillMs: Double
        var decodeMs: Double
        var othersMs: Double
        var doubtMs: Double
        var costMs: Double
    }
    struct Decision: Decodable {
        var requestId: String?
        var time: String?
        var policy: String
        var reason: String
        var trial: Bool?
        var promptTokens: Int
        var chosen: String?
        var queueMs: Double
        var ttftMs: Double?
        var predictedFirstTokenMs: Double?
        var firstTokenMs: Double?
        var candidates: [Row]
    }
    var decisions: [Decision]
}

struct NodeStatusAnswer: Decodable {
    struct Aggregate: Decodable {
        var requestsLocal: Int
        var requestsForwarded: Int
        var requestsFromPeers: Int
    }
    var nodeId: String
    var healthy: Bool
    var draining: Bool
    var runningReqs: Int
    var waitingReqs: Int
    var queueSize: Int
    var maxLoad: Int
    var gpuCache: Double?
    var learned: LearnedAnswer?
    var peerCount: Int
    var healthyPeers: Int
    var aggregate: Aggregate
}

struct PeersAnswer: Decodable {
    struct Peer: Decodable {
        var id: String
        var url: String
        var state: String
        var available: Bool
        var runningReqs: Int?
        var waitingReqs: Int?
        var latencyMs: Double?
        var heldTokens: Int?
    }
    var peers: [Peer]
}

struct PeerChangeAnswer: Decodable {
    var status: String
    var id: String
    var message: String
}

struct NodeClearedAnswer: Decodable {
    var strategy: String
    var nodesCleared: Int
}

struct NodeConfigurationAnswer: Decodable {
    var policy: String
    var maxConcurrent: Int
    var queueEnabled: Bool
    var msPerToken: Double
    var runningCostFactor: Double
    var runningThreshold: Int
}

struct NodeChangeAnswer: Decodable {
    var changes: [String]
    var config: NodeConfigurationAnswer
}

struct SummaryAnswer: Decodable {
    var count: Int
    var successCount: Int
    var failCount: Int
    var avgTotalLatencyMs: Double?
    var avgTtftMs: Double?
    var avgNetworkLatencyMs: Double?
    var avgQueueTimeMs: Double?
    var ttftP50Ms: Double?
    var ttftP95Ms: Double?
    var ttftP99Ms: Double?
    var avgPrefixCacheHitRatios: [String: Double]
    var metricsCollectionEnabled: Bool
}
