public import CGotoni
internal import GotoniCore

@c @implementation public func gotoni_server_add(
    _ handle: OpaquePointer?, _ server: UnsafePointer<gotoni_server>?, _ now: UInt64
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        let configuration = ServerConfiguration(try read(server, gotoni_server()))
        try router.add(configuration, now: Nanoseconds(now))
    }
}

@c @implementation public func gotoni_server_update(
    _ handle: OpaquePointer?, _ server: UnsafePointer<gotoni_server>?, _ now: UInt64
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        let configuration = ServerConfiguration(try read(server, gotoni_server()))
        try router.update(configuration, now: Nanoseconds(now))
    }
}

@c @implementation public func gotoni_server_mark(
    _ handle: OpaquePointer?, _ id: UInt64, _ state: UInt32, _ now: UInt64
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        guard let state = ServerState(rawValue: UInt8(clamping: state)) else { throw .argument }
        try router.mark(ServerID(id), state, now: Nanoseconds(now))
    }
}

@c @implementation public func gotoni_server_remove(
    _ handle: OpaquePointer?, _ id: UInt64, _ now: UInt64
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        try router.remove(ServerID(id), now: Nanoseconds(now))
    }
}

@c @implementation public func gotoni_server_list(
    _ handle: OpaquePointer?, _ ids: UnsafeMutablePointer<UInt64>?, _ capacity: Int,
    _ count: UnsafeMutablePointer<Int>?
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        let count = try required(count)
        try fit(router.serverCount, ids, capacity, count)
        guard let ids else { return }
        var next = 0
        router.forEachServer { id in
            ids[next] = id.rawValue
            next += 1
        }
    }
}

@c @implementation public func gotoni_server_get(
    _ handle: OpaquePointer?, _ id: UInt64, _ now: UInt64, _ info: UnsafeMutablePointer<gotoni_server_info>?
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        let target = try required(info)
        try write(gotoni_server_info(try router.info(ServerID(id), now: Nanoseconds(now))), to: target)
    }
}

extension ServerConfiguration {
    init(_ server: gotoni_server) {
        self.init(
            id: ServerID(server.id), maxRequests: server.max_requests == 0 ? nil : server.max_requests,
            kvCapacityTokens: server.kv_capacity_tokens == 0 ? nil : server.kv_capacity_tokens)
    }
}

extension gotoni_server_info {
    init(_ info: ServerInfo) {
        self.init()
        state = UInt32(info.state.rawValue)
        id = info.id.rawValue
        max_requests = info.maxRequests ?? 0
        metrics_known = info.foreign == nil ? 0 : 1
        kv_capacity_tokens = info.kvCapacityTokens
        held_tokens = info.heldTokens
        rtt_ns = info.rtt.map { Int64(clamping: $0) } ?? -1
        queued_requests = info.own.queuedRequests
        running_requests = info.own.runningRequests
        queued_tokens = info.own.queuedTokens
        running_tokens = info.own.runningTokens
        let foreign = info.foreign ?? Load()
        foreign_queued_requests = foreign.queuedRequests
        foreign_running_requests = foreign.runningRequests
        foreign_queued_tokens = foreign.queuedTokens
        foreign_running_tokens = foreign.runningTokens
        predicted_cached_tokens = info.parity.predictedTokens
        reported_cached_tokens = info.parity.reportedTokens
        parity_reports = info.parity.reports
        kv_blocks_stored = info.events.stored
        kv_blocks_removed = info.events.removed
        kv_blocks_orphaned = info.events.orphaned
        owed_tokens = info.own.owedTokens
        predictions = info.learned.predictions
        prediction_bias_ms = info.learned.bias
        prediction_error_ms = info.learned.error
        overhead_ms = info.learned.overhead
        prefill_ms_per_token = info.learned.prefillPerToken
        reading_ms_per_token = info.learned.readingPerToken
        upload_round_trips = info.learned.uploadRoundTrips
        decode_ms = info.learned.decode
        decode_ms_per_request = info.learned.decodePerRequest
    }
}
