public import CGotoni
internal import GotoniCore

@c @implementation public func gotoni_observe_rtt(
    _ handle: OpaquePointer?, _ id: UInt64, _ rtt: UInt64, _ now: UInt64
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        try router.observeRTT(ServerID(id), rtt, now: Nanoseconds(now))
    }
}

@c @implementation public func gotoni_observe_metrics(
    _ handle: OpaquePointer?, _ id: UInt64, _ metrics: UnsafePointer<gotoni_metrics>?, _ now: UInt64
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        let metrics = try EngineMetrics(try read(metrics, gotoni_metrics()))
        try router.observeMetrics(ServerID(id), metrics, now: Nanoseconds(now))
    }
}

@c @implementation public func gotoni_observe_others(
    _ handle: OpaquePointer?, _ id: UInt64, _ load: UnsafePointer<gotoni_load>?, _ now: UInt64
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        let load = try Load(try read(load, gotoni_load()))
        try router.observeOthers(ServerID(id), load, now: Nanoseconds(now))
    }
}

@c @implementation public func gotoni_observe_cached_tokens(
    _ handle: OpaquePointer?, _ ticket: UInt64, _ cached: UInt64, _ now: UInt64
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        try router.observeCachedTokens(Ticket(ticket), cached, now: Nanoseconds(now))
    }
}

@c @implementation public func gotoni_observe_output_tokens(
    _ handle: OpaquePointer?, _ ticket: UInt64, _ tokens: UInt64, _ now: UInt64
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        try router.observeOutputTokens(Ticket(ticket), tokens, now: Nanoseconds(now))
    }
}

@c @implementation public func gotoni_kv_stored_event(
    _ handle: OpaquePointer?, _ id: UInt64, _ event: UnsafePointer<gotoni_kv_stored>?, _ now: UInt64
) -> gotoni_status {
    status { () throws(RouterError) in
        let event = try read(event, gotoni_kv_stored())
        let router = try router(handle)
        guard event.has_parent <= 1, event.reserved == 0 else { throw .argument }
        let hashes = try elements(event.hashes, event.block_count)
        let (count, overflow) = hashes.count.multipliedReportingOverflow(by: Int(event.block_size))
        guard !overflow else { throw .range }
        let tokens = try elements(event.tokens, count)
        try router.stored(
            on: ServerID(id), hashes: Span(_unsafeElements: hashes), tokens: Span(_unsafeElements: tokens),
            blockTokens: Int(event.block_size), parent: event.has_parent == 1 ? event.parent_hash : nil,
            namespace: event.namespace_key, now: Nanoseconds(now))
    }
}

@c @implementation public func gotoni_kv_removed_event(
    _ handle: OpaquePointer?, _ id: UInt64, _ hashes: UnsafePointer<UInt64>?, _ count: Int, _ now: UInt64
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        let hashes = try elements(hashes, count)
        try router.removed(on: ServerID(id), hashes: Span(_unsafeElements: hashes), now: Nanoseconds(now))
    }
}

@c @implementation public func gotoni_kv_cleared_event(
    _ handle: OpaquePointer?, _ id: UInt64, _ now: UInt64
) -> gotoni_status {
    gotoni_prefix_clear_server(handle, id, now)
}

extension Load {
    /// Errors: argument (what is reserved is not 0).
    init(_ load: gotoni_load) throws(RouterError) {
        guard load.reserved == 0 else { throw .argument }
        self.init()
        queuedRequests = load.queued_requests
        runningRequests = load.running_requests
        queuedTokens = load.queued_tokens
        runningTokens = load.running_tokens
        owedTokens = load.owed_tokens
    }
}

extension EngineMetrics {
    private static let bits =
        UInt32(
            GOTONI_METRIC_QUEUED_REQUESTS | GOTONI_METRIC_RUNNING_REQUESTS | GOTONI_METRIC_QUEUED_TOKENS
                | GOTONI_METRIC_RUNNING_TOKENS | GOTONI_METRIC_KV_CAPACITY_TOKENS | GOTONI_METRIC_INCARNATION
                | GOTONI_METRIC_RUNNING_LIMIT)

    /// Errors: argument (an unknown bit).
    init(_ metrics: gotoni_metrics) throws(RouterError) {
        guard metrics.known & ~Self.bits == 0 else { throw .argument }
        self.init()
        func known(_ bit: Int, _ value: UInt64) -> UInt64? { metrics.known & UInt32(bit) != 0 ? value : nil }
        queuedRequests = known(GOTONI_METRIC_QUEUED_REQUESTS, metrics.queued_requests)
        runningRequests = known(GOTONI_METRIC_RUNNING_REQUESTS, metrics.running_requests)
        queuedTokens = known(GOTONI_METRIC_QUEUED_TOKENS, metrics.queued_tokens)
        runningTokens = known(GOTONI_METRIC_RUNNING_TOKENS, metrics.running_tokens)
        kvCapacityTokens = known(GOTONI_METRIC_KV_CAPACITY_TOKENS, metrics.kv_capacity_tokens)
        incarnation = known(GOTONI_METRIC_INCARNATION, metrics.incarnation)
        runningLimit = known(GOTONI_METRIC_RUNNING_LIMIT, metrics.running_limit)
    }
}
