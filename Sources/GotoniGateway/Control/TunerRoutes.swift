import GotoniCore
import NIOCore

// tune/start, tune/status, tune/freeze and tune/rollback, of a node under /lb/ and of a proxy under /proxy/.

extension ControlRoutes {
    static func tunerRoutes(under prefix: String) -> [String: [String: Handler]] {
        [
            "\(prefix)/tune/start": ["POST": { routes, request in try routes.startTuner(request) }],
            "\(prefix)/tune/status": ["GET": { routes, _ in try routes.json(routes.tuner()) }],
            "\(prefix)/tune/freeze": ["POST": { routes, _ in try routes.pull(.freeze) }],
            "\(prefix)/tune/rollback": ["POST": { routes, _ in try routes.pull(.rollback) }],
        ]
    }

    private struct Limits: Decodable {
        var ttft_ms: Double?
        var itl_ms: Double?

        static let keys: Set<String> = ["ttft_ms", "itl_ms"]
    }

    /// The body may name limits; those that it does not are the ones in force, or the defaults.
    private func startTuner(_ request: ControlRequest) throws -> LocalAnswer {
        var wanted = Limits()
        if request.body.readableBytes > 0 {
            wanted = try decode(Limits.self, request)
            try refuseKeys(of: request, beyond: Limits.keys)
        }
        let (firstToken, interToken) = (wanted.ttft_ms, wanted.itl_ms)
        // In a group one proxy tunes.
        if let sharing = dispatcher.sharing, try hasTuner([.off, .following]), let why = sharing.refusesTuner() {
            throw Problem.badRequest("tuner", why, status: 409)
        }
        return try orderTuner { (router) throws(RouterError) in
            var settings = router.tunerStatus().settings
            settings.firstTokenLimit = firstToken ?? settings.firstTokenLimit
            settings.interTokenLimit = interToken ?? settings.interTokenLimit
            try router.startTuner(settings)
        }
    }

    /// Stops trials here, and through the group those of the proxy that tunes: this one takes its place.
    private func pull(_ brake: TunerBrake) throws -> LocalAnswer {
        if let other = dispatcher.sharing?.tunerElsewhere, try hasTuner([.off]) {
            throw Problem.badRequest(
                "tuner", "proxy \(other) tunes, which is not followed here: freeze it or roll it back there",
                status: 409)
        }
        let answer = try orderTuner { (router) throws(RouterError) in brake.pull(&router) }
        dispatcher.sharing?.tell(.tuner(brake))
        return answer
    }

    private func hasTuner(_ phases: Set<TunerPhase>) throws -> Bool {
        try dispatcher.router.withRouter { (router) throws(RouterError) in
            phases.contains(router.tunerStatus().phase)
        }
    }

    private func orderTuner(_ order: (inout Router) throws(RouterError) -> Void) throws -> LocalAnswer {
        try dispatcher.router.withRouter { (router) throws(RouterError) in try order(&router) }
        return try json(tuner())
    }

    private func tuner() throws -> TunerDocument {
        try dispatcher.router.withRouter { (router) throws(RouterError) in
            TunerDocument(policy: router.policy, router.tunerStatus(), dispatcher.sharing?.figures.tuner)
        }
    }
}

struct TunerDocument: Encodable {
    struct Weight: Encodable {
        var knob: String
        var home: Double
        var incumbent: Double
        var trial: Double
    }
    var phase: String
    /// Of the proxies that share, the one that tunes or has tuned last; null: none, or this one is alone.
    var tunedBy: OrNull<String>
    var policy: String
    var ttftLimitMs: Double
    var itlLimitMs: Double
    var weights: [Weight]
    /// Of the last thousand requests; null before the first has ended.
    var goodput: OrNull<Double>
    var requests: UInt64
    var ended: UInt64
    var spentRequests: Double
    var rounds: UInt32
    var difference: OrNull<Double>
    var proposed: UInt64
    var accepted: UInt64
    var rejected: UInt64
    var undecided: UInt64
    var rolledBack: UInt64
    var wentHome: UInt64

    init(policy: PolicyID, _ status: TunerStatus, _ shared: SharedTuner?) {
        let counts = status.counts
        phase = "\(status.phase.name)"
        tunedBy = OrNull(shared?.proxy)
        self.policy = "\(policy.name)"
        ttftLimitMs = status.settings.firstTokenLimit
        itlLimitMs = status.settings.interTokenLimit
        weights = (0..<status.weightCount).map { index in
            let weight = status.weights[index]
            return Weight(
                knob: "\(weight.knob.info.name)", home: weight.home, incumbent: weight.incumbent, trial: weight.trial)
        }
        goodput = OrNull(counts.ended > 0 ? status.goodput : nil)
        (requests, ended, spentRequests) = (counts.requests, counts.ended, status.spent)
        (rounds, difference) = (status.rounds, OrNull(status.rounds > 0 ? status.difference : nil))
        (proposed, accepted, rejected) = (counts.proposed, counts.accepted, counts.rejected)
        (undecided, rolledBack, wentHome) = (counts.undecided, counts.rolledBack, counts.wentHome)
    }
}
