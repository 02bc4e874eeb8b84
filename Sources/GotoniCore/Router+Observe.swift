/// What an engine reports about itself. Nil is unknown, which is not zero.
public struct EngineMetrics: Sendable, BitwiseCopyable {
    public var queuedRequests: UInt64?
    public var runningRequests: UInt64?
    public var queuedTokens: UInt64?
    public var runningTokens: UInt64?
    public var kvCapacityTokens: UInt64?
    /// Most requests that it runs at one time; others wait.
    public var runningLimit: UInt64?
    /// A number that changes when the engine restarts.
    public var incarnation: UInt64?

    public init() {}

    /// Larger figures than this are no real load; the bound keeps sums from overflowing. The header names it.
    static let most: UInt64 = 1 << 40

    var hasLoad: Bool { queuedRequests != nil || runningRequests != nil || queuedTokens != nil || runningTokens != nil }

    func check() throws(RouterError) {
        guard queuedRequests ?? 0 <= Self.most, runningRequests ?? 0 <= Self.most, queuedTokens ?? 0 <= Self.most,
            runningTokens ?? 0 <= Self.most, kvCapacityTokens != 0, runningLimit != 0
        else { throw .range }
    }
}

extension Router {
    /// The longest round trip that is one: an hour.
    static let longestRTT: UInt64 = 3_600_000_000_000

    /// A round trip sample in nanoseconds. Errors: unknownServer, range.
    public mutating func observeRTT(_ id: ServerID, _ rtt: UInt64, now: Nanoseconds) throws(RouterError) {
        advance(to: now)
        let slot = try servers.slot(id)
        guard rtt <= Self.longestRTT else { throw .range }
        let (now, tuning) = (self.now, tuning)
        servers.update(slot) {
            $0.rttFilter.observe(rtt, now: now, window: tuning.rttWindow, alpha: tuning.rttAlpha)
            $0.rtt = $0.rttFilter.estimate
        }
    }

    /// One poll of a server's metrics. What it reports beyond our own tickets and those that other routers have told of is
    /// foreign load beside theirs, until it is stale. Errors: unknownServer, range.
    public mutating func observeMetrics(_ id: ServerID, _ metrics: EngineMetrics, now: Nanoseconds) throws(RouterError)
    {
        advance(to: now)
        let slot = try servers.slot(id)
        try metrics.check()
        if let incarnation = metrics.incarnation {
            if let before = servers[slot].incarnation, before != incarnation { forgetPrefixes(slot) }
            servers.update(slot) { $0.incarnation = incarnation }
        }
        if let capacity = metrics.kvCapacityTokens { setCapacity(slot, capacity) }
        if let limit = metrics.runningLimit { servers.update(slot) { $0.runningLimit = UInt32(clamping: limit) } }
        guard metrics.hasLoad else { return }
        servers.forgetStaleForeign(slot, now: self.now, ttl: tuning.metricsTTL)
        servers.setReported(slot, foreign(metrics, servers[slot]), now: self.now)
    }

    /// What other routers say they have put on a server, all together. It counts until it is stale, and beside it what the last
    /// metrics reported beyond it and ours. Errors: unknownServer, range.
    public mutating func observeOthers(_ id: ServerID, _ load: Load, now: Nanoseconds) throws(RouterError) {
        advance(to: now)
        let slot = try servers.slot(id)
        guard
            max(load.queuedRequests, load.runningRequests, load.queuedTokens, load.runningTokens) <= EngineMetrics.most,
            load.owedTokens <= load.queuedTokens
        else { throw .range }
        servers.forgetStaleForeign(slot, now: self.now, ttl: tuning.metricsTTL)
        servers.setTold(slot, load, now: self.now)
    }

    /// What the engine has beyond ours and those that others have told of. A figure it does not report stays what it was while
    /// that is fresh; tokens it never reports are assumed per request.
    ///
    /// Engines count a request as running as soon as they prefill it, while known ones are queued until their first token: so
    /// those that are not among the reported queued are looked for among the running.
    private func foreign(_ metrics: EngineMetrics, _ row: ServerRow) -> Load {
        let (known, before) = (row.own + row.told.load, row.reported.load)
        func beyond(_ reported: UInt64, _ known: UInt64) -> UInt64 { max(reported, known) - known }
        func assumed(_ requests: UInt64) -> UInt64 {
            let (tokens, overflow) = requests.multipliedReportingOverflow(by: tuning.tokensPerRequest)
            return overflow ? EngineMetrics.most : min(tokens, EngineMetrics.most)
        }
        var load = before
        let prefilling = metrics.queuedRequests.map { beyond(known.queuedRequests, $0) } ?? 0
        let prefillingTokens =
            metrics.queuedTokens.map { beyond(known.queuedTokens, $0) }
            ?? (prefilling > 0 ? known.queuedTokens : 0)
        if let queued = metrics.queuedRequests {
            load.queuedRequests = beyond(queued, known.queuedRequests)
            load.queuedTokens = assumed(load.queuedRequests)
            load.owedTokens = load.queuedTokens
        }
        if let running = metrics.runningRequests {
            load.runningRequests = beyond(running, known.runningRequests + prefilling)
            load.runningTokens = assumed(load.runningRequests)
        }
        if let queued = metrics.queuedTokens {
            load.queuedTokens = beyond(queued, known.owedTokens)
            load.owedTokens = load.queuedTokens
        }
        if let running = metrics.runningTokens {
            load.runningTokens = beyond(running, known.runningTokens + prefillingTokens)
        }
        return load
    }
}
