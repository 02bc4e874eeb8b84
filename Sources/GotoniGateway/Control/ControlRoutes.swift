import FoundationEssentials
public import GotoniCore
import GotoniEngines
import NIOConcurrencyHelpers
import NIOCore

/// A request to a control endpoint.
struct ControlRequest: Sendable {
    /// In capitals.
    var method: String
    var path: String
    var query: [String: String]
    var body: ByteBuffer

    /// `target` is a path with a query.
    init(method: String, target: String, body: ByteBuffer) {
        self.method = method
        self.body = body
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        path = String(parts[0])
        query = [:]
        for pair in parts.count > 1 ? parts[1].split(separator: "&") : [] {
            let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = Self.decoded(sides[0]) else { continue }
            query[name] = sides.count > 1 ? Self.decoded(sides[1]) ?? "" : ""
        }
    }

    /// Percent-decoded; nil if that is no UTF-8.
    private static func decoded(_ text: Substring) -> String? {
        String(unescaping: text.utf8.map { $0 == UInt8(ascii: "+") ? 0x20 : $0 }, UInt8(ascii: "%"))
    }
}

/// The endpoints that are the gateway's own: /proxy/..., of a node also /lb/... (`NodeRoutes`), /health, /metrics and
/// /dashboard. Everything that changes something wants POST, PUT or DELETE. Who may ask is decided before, by
/// `AccessRules`.
struct ControlRoutes: Sendable {
    unowned let gateway: Gateway
    var dispatcher: Dispatcher { gateway.dispatcher }

    /// Whether the path is one of the gateway's. Nothing under /proxy/ or /lb/ is ever sent to a server.
    static func owns(_ path: Substring) -> Bool {
        // Most paths are /v1/... and are done with the first two bytes.
        let bytes = path.utf8
        guard bytes.first == UInt8(ascii: "/"), let second = bytes.dropFirst().first,
            second == UInt8(ascii: "p") || second == UInt8(ascii: "h") || second == UInt8(ascii: "m")
                || second == UInt8(ascii: "d") || second == UInt8(ascii: "l")
        else { return false }
        let name = path.prefix { $0 != "?" }
        return name == "/health" || name == "/metrics" || name == "/dashboard" || name == "/proxy"
            || name.hasPrefix("/proxy/") || name == "/lb" || name.hasPrefix("/lb/")
    }

    typealias Handler = @Sendable (ControlRoutes, ControlRequest) throws -> LocalAnswer

    /// The table: path, methods, what answers.
    private static let routes: [String: [String: Handler]] = [
        "/health": ["GET": { routes, _ in routes.health() }],
        "/proxy/health": ["GET": { routes, _ in routes.health() }],
        "/metrics": ["GET": { routes, _ in routes.prometheus() }],
        "/dashboard": ["GET": { routes, _ in routes.dashboard() }],
        "/proxy/status": ["GET": { routes, _ in try routes.json(routes.status()) }],
        "/proxy/servers": [
            "GET": { routes, _ in try routes.json(routes.servers()) },
            "POST": { routes, request in try routes.addServer(request) },
            "DELETE": { routes, request in try routes.removeServer(request) },
        ],
        "/proxy/servers/drain": ["POST": { routes, request in try routes.drain(request, true) }],
        "/proxy/servers/undrain": ["POST": { routes, request in try routes.drain(request, false) }],
        "/proxy/tune": [
            "GET": { routes, _ in try routes.json(routes.knobs()) },
            "POST": { routes, request in try routes.tune(request) },
        ],
        "/proxy/policy": policyRoutes,
        "/proxy/cache/clear": ["POST": { routes, request in try routes.clearCache(request) }],
        "/proxy/prefix/stats": ["GET": { routes, _ in try routes.json(routes.prefixStatistics()) }],
        "/proxy/latency": ["GET": { routes, _ in try routes.json(routes.latency()) }],
        "/proxy/explain": [
            "GET": { routes, request in try routes.explainLast(request) },
            "POST": { routes, request in try routes.explain(request) },
        ],
        "/proxy/metrics/enable": ["POST": { routes, request in try routes.enableMetrics(request) }],
        "/proxy/metrics/export": ["GET": { routes, request in try routes.exportMetrics(request) }],
        "/proxy/metrics/summary": ["GET": { routes, _ in try routes.json(routes.summary()) }],
        "/proxy/metrics/clear": [
            "POST": { routes, _ in
                try routes.json(MetricsCleared(success: true, cleared: routes.dispatcher.requestLog.clear()))
            }
        ],
    ].merging(traceRoutes(under: "/proxy")) { $1 }.merging(tunerRoutes(under: "/proxy")) { $1 }

    static let policyRoutes: [String: Handler] = [
        "GET": { routes, request in try routes.policy(request) },
        "POST": { routes, request in try routes.setPolicy(request) },
        "PUT": { routes, request in try routes.setPolicy(request) },
    ]

    func answer(_ request: ControlRequest) async -> LocalAnswer {
        if let mesh = dispatcher.mesh, request.path == "/lb/peer" { return await news(request, mesh) }
        let isNode = dispatcher.mesh != nil
        guard let methods = Self.routes[request.path] ?? (isNode ? Self.nodeRoutes[request.path] : nil) else {
            return LocalAnswer(
                .badRequest("unknown_endpoint", "there is no \(request.path) here", status: 404))
        }
        let method = request.method == "HEAD" ? "GET" : request.method
        guard let handler = methods[method] else {
            let allowed = methods.keys.sorted().joined(separator: ", ")
            var answer = LocalAnswer(
                .badRequest("method", "\(request.path) wants \(allowed)", status: 405))
            answer.fields.append(("allow", allowed))
            return answer
        }
        do {
            return try handler(self, request)
        } catch let problem as Problem {
            return LocalAnswer(problem)
        } catch let error as RouterError {
            return LocalAnswer(.badRequest("router", "\(error.text)"))
        } catch let error as GatewayError {
            return LocalAnswer(.badRequest("refused", error.description))
        } catch {
            return LocalAnswer(.internalError)
        }
    }

    // MARK: Pieces

    func json(_ value: some Encodable, status: Int = 200) throws -> LocalAnswer {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        let data = try encoder.encode(value)
        var body = ByteBuffer(bytes: data)
        body.writeString("\n")
        var answer = LocalAnswer(status: status, body: body)
        answer.fields.append(("cache-control", "no-store"))
        return answer
    }

    /// The body as a JSON object of this shape. Errors: a Problem that names what is wrong.
    func decode<Value: Decodable>(_ type: Value.Type, _ request: ControlRequest) throws -> Value {
        do {
            return try JSONDecoder().decode(type, from: Data(request.body.readableBytesView))
        } catch {
            throw Problem.badRequest("invalid_body", "the body is not the JSON object that \(request.path) wants")
        }
    }

    /// A key that means nothing is a typo, not nothing.
    func refuseKeys(of request: ControlRequest, beyond known: Set<String>) throws {
        let given = try decode([String: AnyValue].self, request).keys
        guard let unknown = given.first(where: { !known.contains($0) }) else { return }
        let names = known.sorted().joined(separator: ", ")
        throw Problem.badRequest("unknown_key", "there is no \(unknown.prefix(40)) here; there are \(names)")
    }

    /// Any JSON value, to look at the keys of an object alone.
    private struct AnyValue: Decodable {
        init(from decoder: any Decoder) throws {}
    }

    private func health() -> LocalAnswer {
        let servers = dispatcher.fleet.all
        let up = servers.count { server in
            let settings = gateway.configuration.healthSettings(server.role)
            return server.state.withLockedValue { $0.health.isAvailable(settings) }
        }
        if gateway.isDraining {
            return LocalAnswer(status: 503, text: "draining: \(up)/\(servers.count) servers available")
        }
        return up > 0
            ? LocalAnswer(status: 200, text: "healthy: \(up)/\(servers.count) servers available")
            : LocalAnswer(status: 503, text: "unhealthy: 0/\(servers.count) servers available")
    }

    private func prometheus() -> LocalAnswer {
        LocalAnswer(
            status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8",
            body: ByteBuffer(string: PrometheusPage(gateway).text))
    }

    private func dashboard() -> LocalAnswer {
        var answer = LocalAnswer(
            status: 200, contentType: "text/html; charset=utf-8",
            body: ByteBuffer(bytes: PackageResources.dashboard_html))
        answer.fields = [
            (
                "content-security-policy",
                "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
                    + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            ), ("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("x-frame-options", "DENY"),
        ]
        return answer
    }

    // MARK: Servers

    private struct NewServer: Decodable {
        var id: String?
        var ip: String?
        var port: Int?
        var url: String?
    }

    /// What the body names: `url`, or `ip` and `port`, and perhaps `id`.
    func newServer(_ request: ControlRequest) throws -> (name: String, url: ServerURL) {
        let new = try decode(NewServer.self, request)
        let text: String
        switch (new.url, new.ip) {
        case (let url?, nil): text = url
        case (nil, let ip?):
            guard let port = new.port, (1...65_535).contains(port) else {
                throw Problem.badRequest("port", "port must be from 1 to 65535")
            }
            text = ip.contains(":") ? "[\(ip)]:\(port)" : "\(ip):\(port)"
        default: throw Problem.badRequest("server", "give either ip and port, or url")
        }
        guard let url = ServerURL(text) else { throw Problem.badRequest("server", "\(text) is not a server's address") }
        return (new.id ?? url.defaultName, url)
    }

    /// A node's servers are its engine and its peers.
    private func refuseOnNodes() throws {
        guard dispatcher.mesh == nil else {
            throw Problem.badRequest("node", "this is a node: its peers are at /lb/peers", status: 409)
        }
    }

    private func addServer(_ request: ControlRequest) throws -> LocalAnswer {
        try refuseOnNodes()
        let (name, url) = try newServer(request)
        do {
            try gateway.addServer(name: name, url: url)
        } catch let error as GatewayError {
            throw Problem.badRequest("server", error.description, status: 409)
        }
        dispatcher.sharing?.tell(.server(name, SharedServer(url: "\(url)")))
        return try json(
            ServerChange(success: true, id: name, message: "added; it gets requests once it answers"), status: 201)
    }

    private func name(_ request: ControlRequest) throws -> String {
        guard let id = request.query["id"], !id.isEmpty else {
            throw Problem.badRequest("id", "name the server: \(request.path)?id=NAME")
        }
        return id
    }

    private func removeServer(_ request: ControlRequest) throws -> LocalAnswer {
        try refuseOnNodes()
        let name = try name(request)
        guard gateway.removeServer(name: name) else {
            throw Problem.badRequest("unknown_server", "there is no server \(name)", status: 404)
        }
        dispatcher.sharing?.tell(.removed(name))
        return try json(ServerChange(success: true, id: name, message: "removed; requests under way finish"))
    }

    private func drain(_ request: ControlRequest, _ drains: Bool) throws -> LocalAnswer {
        let name = try name(request)
        guard let url = dispatcher.fleet[name]?.url, gateway.drainServer(name: name, drains) else {
            throw Problem.badRequest("unknown_server", "there is no server \(name)", status: 404)
        }
        dispatcher.sharing?.tell(.server(name, SharedServer(url: "\(url)", draining: drains)))
        return try json(ServerChange(success: true, id: name, message: drains ? "draining" : "taking requests again"))
    }

    // MARK: Policy and knobs

    func knobs() throws -> [String: Double] {
        try dispatcher.router.withRouter { (router) throws(RouterError) in
            var values: [String: Double] = [:]
            for knob in Knob.allCases { values["\(knob.info.name)"] = router.value(of: knob) }
            return values
        }
    }

    private func tune(_ request: ControlRequest) throws -> LocalAnswer {
        let wanted = try decode([String: Double].self, request)
        guard !wanted.isEmpty else { throw Problem.badRequest("knobs", "name at least one knob and its value") }
        try set(wanted)
        return try json(knobs())
    }

    /// Knobs by their names. Throws what is wrong with one of them.
    static func knobs(_ wanted: [String: Double]) throws -> [(Knob, Double)] {
        var changes: [(Knob, Double)] = []
        for (name, value) in wanted {
            guard let knob = Knob.allCases.first(where: { "\($0.info.name)" == name }) else {
                throw Problem.badRequest("unknown_knob", "there is no knob \(name)")
            }
            guard knob.info.bounds.contains(value) else {
                let bounds = knob.info.bounds
                throw Problem.badRequest("range", "\(name) must be from \(bounds.lowerBound) to \(bounds.upperBound)")
            }
            changes.append((knob, value))
        }
        return changes
    }

    /// All or none: a typo changes nothing.
    func set(_ wanted: [String: Double]) throws {
        let all = try Self.knobs(wanted)
        try dispatcher.router.withRouter { (router) throws(RouterError) in
            for (knob, value) in all { try router.set(knob, to: value) }
        }
        dispatcher.sharing?.tell(.knobs(wanted))
    }

    func policy(_ request: ControlRequest) throws -> LocalAnswer {
        if request.query["set"] != nil {
            throw Problem.badRequest("method", "to change the policy, POST {\"policy\": NAME}", status: 405)
        }
        return try json(
            PolicyAnswer(
                current: "\(currentPolicy())", available: Self.policies,
                hint: "POST {\"policy\": NAME} to change it"))
    }

    static let policies = PolicyID.allCases.map { "\($0.name)" }

    func currentPolicy() throws -> StaticString {
        try dispatcher.router.withRouter { (router) throws(RouterError) in router.policy.name }
    }

    private struct PolicyBody: Decodable { var policy: String }

    func setPolicy(_ request: ControlRequest) throws -> LocalAnswer {
        let text = String(buffer: request.body)
        let name = text.hasPrefix("{") ? try decode(PolicyBody.self, request).policy : text
        let policy = try PolicyName.policy(name)
        let old = try dispatcher.router.withRouter { (router) throws(RouterError) in
            let old = router.policy
            router.setPolicy(policy)
            return old
        }
        dispatcher.sharing?.tell(.policy(policy))
        return try json(
            PolicyChange(
                success: true, oldPolicy: "\(old.name)", newPolicy: "\(policy.name)", available: Self.policies))
    }

    // MARK: The trie

    private func clearCache(_ request: ControlRequest) throws -> LocalAnswer {
        let id = request.query["id"]
        if let id, dispatcher.fleet[id] == nil {
            throw Problem.badRequest("unknown_server", "there is no server \(id)", status: 404)
        }
        let nodes = try clearPrefixes(of: id.flatMap { dispatcher.fleet[$0] })
        return try json(CacheCleared(success: true, nodes: nodes, message: "cleared \(nodes) nodes"))
    }

    /// Nil: of all servers. Gives how many nodes of the trie there were.
    func clearPrefixes(of server: Server?) throws -> Int {
        if server == nil || server?.role == .local { dispatcher.mesh?.forget() }
        dispatcher.sharing?.noteEmptied(server)
        return try dispatcher.clearPrefixes(of: server, now: Clock.now())
    }

    // MARK: Request log

    private struct EnableBody: Decodable { var enabled: Bool }

    private func enableMetrics(_ request: ControlRequest) throws -> LocalAnswer {
        let wanted = try decode(EnableBody.self, request).enabled
        dispatcher.requestLog.isOn = wanted
        return try json(MetricsEnabled(success: true, enabled: wanted))
    }

    private func exportMetrics(_ request: ControlRequest) throws -> LocalAnswer {
        let format = request.query["format"] ?? "csv"
        let export = RequestExport(records: dispatcher.requestLog.records, fleet: dispatcher.fleet)
        let text: String
        let type: StaticString
        switch format {
        case "csv": (text, type) = (export.csv(), "text/csv; charset=utf-8")
        case "jsonl": (text, type) = (try export.jsonLines(), "application/x-ndjson")
        default: throw Problem.badRequest("format", "format is csv or jsonl")
        }
        var answer = LocalAnswer(status: 200, contentType: type, body: ByteBuffer(string: text))
        answer.fields.append(
            (
                "content-disposition",
                "attachment; filename=\"proxy_metrics_\(Timestamp.compact(WallClock.seconds())).\(format)\""
            ))
        return answer
    }
}

/// Policies by any of the names that the original takes. Unknown names are an error, never a default.
public enum PolicyName {
    public static func policy(_ name: String) throws -> PolicyID {
        let plain = name.trimmed.lowercased().map { $0 == "_" ? "-" : $0 }
        let text: String
        switch String(plain) {
        case "leastload", "leastloaded": text = "least-load"
        case "prefixtree", "prefix": text = "prefix-tree"
        case let other: text = other
        }
        let bytes = Array(text.utf8)
        guard let policy = try? PolicyID(name: bytes.span) else {
            throw GatewayError(
                "there is no policy \"\(name.prefix(40))\"; there are " + ControlRoutes.policies.joined(separator: ", ")
            )
        }
        return policy
    }
}

extension String {
    fileprivate var trimmed: Substring {
        var text = self[...]
        while let first = text.first, first.isWhitespace { text.removeFirst() }
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return text
    }
}
