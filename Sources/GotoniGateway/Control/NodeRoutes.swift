import GotoniCore
import GotoniEngines
import GotoniTokenizer
import NIOConcurrencyHelpers
import NIOCore
import Synchronization

// The endpoints of a node: /lb/... and what they change.

extension ControlRoutes {
    static let nodeRoutes: [String: [String: Handler]] = [
        "/lb/health": ["GET": { routes, _ in routes.nodeHealth() }],
        "/lb/status": ["GET": { routes, _ in try routes.json(routes.nodeStatus()) }],
        "/lb/metrics": ["GET": { routes, _ in try routes.json(routes.nodeMetrics()) }],
        "/lb/config": [
            "GET": { routes, _ in try routes.json(routes.nodeConfiguration()) },
            "POST": { routes, request in try routes.configureNode(request) },
            "PUT": { routes, request in try routes.configureNode(request) },
        ],
        "/lb/policy": policyRoutes,
        "/lb/peers": [
            "GET": { routes, _ in try routes.json(routes.peers()) },
            "POST": { routes, request in try routes.addPeer(request) },
            "DELETE": { routes, request in try routes.removePeer(request) },
        ],
        "/lb/tokenizer": [
            "GET": { routes, request in try routes.countTokens(request.query["text"]) },
            "POST": { routes, request in try routes.countTokens(routes.decode(TextBody.self, request).text) },
        ],
        "/lb/cache/clear": ["POST": { routes, _ in try routes.clearNodeCache() }],
    ].merging(traceRoutes(under: "/lb")) { $1 }.merging(tunerRoutes(under: "/lb")) { $1 }

    /// What a peer that waits for news gets.
    func news(_ request: ControlRequest, _ mesh: Mesh) async -> LocalAnswer {
        guard request.method == "GET" else {
            return LocalAnswer(.badRequest("method", "/lb/peer wants GET", status: 405))
        }
        func number(_ name: String) -> UInt64? { request.query[name].flatMap { UInt64($0) } }
        let bytes = await mesh.news(
            since: number("sequence") ?? 0, of: number("incarnation") ?? 0, known: number("known"), now: Clock.now())
        return LocalAnswer(status: 200, contentType: "application/octet-stream", body: bytes)
    }

    private func nodeHealth() -> LocalAnswer {
        guard dispatcher.report(isDraining: gateway.isDraining, now: Clock.now()).takesRequests else {
            let why = gateway.isDraining ? "this node is draining" : "the engine is not available"
            return LocalAnswer(.badRequest("unhealthy", why, status: 503))
        }
        var answer = LocalAnswer(status: 200, body: ByteBuffer(string: "{\"status\":\"healthy\",\"running\":true}\n"))
        answer.fields.append(("cache-control", "no-store"))
        return answer
    }

    // MARK: Changes

    private struct Changes: Decodable {
        var policy: String?
        var max_concurrent: Int?
        var queue_enabled: Bool?
        var ms_per_token: Double?
        var running_cost_factor: Double?
        var running_threshold: Int?

        static let keys: Set<String> = [
            "policy", "max_concurrent", "queue_enabled", "ms_per_token", "running_cost_factor", "running_threshold",
        ]
    }

    /// All or none, as far as one can see what is wrong beforehand.
    private func configureNode(_ request: ControlRequest) throws -> LocalAnswer {
        let wanted = try decode(Changes.self, request)
        try refuseKeys(of: request, beyond: Changes.keys)
        guard let local = dispatcher.fleet.mesh.local, let mesh = dispatcher.mesh else { throw Problem.internalError }
        let limits = 1...1_000_000
        if let limit = wanted.max_concurrent, !limits.contains(limit) {
            throw Problem.badRequest("range", "max_concurrent must be from 1 to 1000000")
        }
        if let threshold = wanted.running_threshold, !(0...1_000_000).contains(threshold) {
            throw Problem.badRequest("range", "running_threshold must be from 0 to 1000000")
        }
        let policy = try wanted.policy.map { try PolicyName.policy($0) }
        let before = try nodeConfiguration()
        var knobs: [String: Double] = [:]
        knobs["ms_per_token"] = wanted.ms_per_token
        knobs["running_cost_factor"] = wanted.running_cost_factor
        if !knobs.isEmpty { try set(knobs) }
        if let policy { try dispatcher.router.withRouter { (router) throws(RouterError) in router.setPolicy(policy) } }
        if let on = wanted.queue_enabled { dispatcher.queueIsOn = on }
        if let threshold = wanted.running_threshold { mesh.runningThreshold.store(threshold, ordering: .relaxed) }
        if let limit = wanted.max_concurrent {
            local.state.withLockedValue { $0.limit = limit }
            if dispatcher.applyLimit(local, now: Clock.now()) { dispatcher.freed(local) }
        }
        let after = try nodeConfiguration()
        var changes: [String] = []
        func compare(_ key: String, _ old: String, _ new: String) {
            if old != new { changes.append("\(key): \(old) -> \(new)") }
        }
        compare("policy", before.policy, after.policy)
        compare("max_concurrent", "\(before.maxConcurrent)", "\(after.maxConcurrent)")
        compare("queue_enabled", "\(before.queueEnabled)", "\(after.queueEnabled)")
        compare("ms_per_token", "\(before.msPerToken)", "\(after.msPerToken)")
        compare("running_cost_factor", "\(before.runningCostFactor)", "\(after.runningCostFactor)")
        compare("running_threshold", "\(before.runningThreshold)", "\(after.runningThreshold)")
        return try json(NodeConfigurationChange(success: true, changes: changes, config: after))
    }

    private func addPeer(_ request: ControlRequest) throws -> LocalAnswer {
        let (name, url) = try newServer(request)
        if let known = dispatcher.fleet.all.first(where: { $0.role == .peer && $0.url == url }) {
            return try json(
                PeerChange(status: "exists", id: known.name, message: "\(url) is a peer already", peers: peers().count))
        }
        try gateway.addPeer(name: name, url: url)
        return try json(
            PeerChange(
                status: "added", id: name, message: "added; it gets requests once it has been heard",
                peers: peers().count), status: 201)
    }

    /// By ?id=NAME, or by the body's url, or ip and port.
    private func removePeer(_ request: ControlRequest) throws -> LocalAnswer {
        let peers = dispatcher.fleet.all.filter { $0.role == .peer }
        let peer: Server?
        if let id = request.query["id"] {
            peer = peers.first { $0.name == id }
        } else {
            let url = try newServer(request).url
            peer = peers.first { $0.url == url }
        }
        guard let peer, gateway.removeServer(name: peer.name) else {
            throw Problem.badRequest("unknown_peer", "there is no such peer", status: 404)
        }
        return try json(
            PeerChange(
                status: "removed", id: peer.name, message: "removed; requests under way finish",
                peers: peers.count - 1))
    }

    /// Both what is known of the engine here and of peers; and these forget what they were told.
    private func clearNodeCache() throws -> LocalAnswer {
        let nodes = try clearPrefixes(of: nil)
        return try json(
            NodeCacheCleared(
                success: true, strategy: "\(try currentPolicy())", nodesCleared: nodes,
                message: "cleared \(nodes) nodes"))
    }

    // MARK: Tokens

    private struct TextBody: Decodable { var text: String }

    private func countTokens(_ text: String?) throws -> LocalAnswer {
        guard let text else { throw Problem.badRequest("text", "give a text: ?text=..., or {\"text\": ...}") }
        let bytes = text.utf8.count
        let estimate = (bytes + 3) / 4
        var tokens: Int?
        if let model = dispatcher.tokens.model {
            tokens = try? model.withTokens(text.utf8Span.span, addSpecialTokens: false) { $0.count }
        }
        return try json(
            TokenizerAnswer(
                success: true, tokenizer: tokens == nil ? "estimate" : dispatcher.tokens.description,
                results: [
                    .init(text: text, tokenCount: tokens ?? estimate, charCount: bytes, fallbackEstimate: estimate)
                ],
                message: tokens == nil
                    ? "estimated: a token is four bytes of UTF-8" : "the model's own, without its chat template"))
    }
}
