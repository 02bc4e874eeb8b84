public import CGotoni
internal import GotoniCore

/// A request as it came, with its arrays checked.
struct BorrowedRequest {
    let tokens: UnsafeBufferPointer<UInt32>
    let namespace: UInt64
    let request: Request
    let excluded: UnsafeBufferPointer<ServerID>

    /// Errors: argument (NULL, size, a missing array), range (a count no array can have).
    init(_ pointer: UnsafePointer<gotoni_request>?) throws(RouterError) {
        try self.init(try read(pointer, gotoni_request()))
    }

    init(_ value: gotoni_request) throws(RouterError) {
        tokens = try elements(value.tokens, value.token_count)
        namespace = value.namespace_key
        request = Request(sessionKey: value.session_key)
        let ids = try elements(value.exclude, Int(value.exclude_count))
        excluded = UnsafeRawBufferPointer(ids).assumingMemoryBound(to: ServerID.self)
    }

    /// Runs `body` on the router with this prompt's digests.
    @inline(__always) func withPrompt<R>(
        _ handle: OpaquePointer?, _ body: (inout Router, borrowing PromptDigests) throws(RouterError) -> R
    ) throws(RouterError) -> R {
        try router(handle).withPrompt(Span(_unsafeElements: tokens), namespace: namespace, body)
    }

    func route(_ handle: OpaquePointer?, _ now: UInt64) throws(RouterError) -> Decision {
        try withPrompt(handle) { (router, prompt) throws(RouterError) in
            try router.route(prompt, request, excluding: Span(_unsafeElements: excluded), now: Nanoseconds(now))
        }
    }
}

@c @implementation public func gotoni_route(
    _ handle: OpaquePointer?, _ request: UnsafePointer<gotoni_request>?, _ now: UInt64,
    _ decision: UnsafeMutablePointer<gotoni_decision>?
) -> gotoni_status {
    status { () throws(RouterError) in
        let target = try required(decision)
        let size = try structSize(target)
        let decision = try BorrowedRequest(request).route(handle, now)
        write(gotoni_decision(decision), to: target, size: size)
    }
}

@c @implementation public func gotoni_route_batch(
    _ handle: OpaquePointer?, _ requests: UnsafePointer<gotoni_request>?, _ count: Int, _ now: UInt64,
    _ decisions: UnsafeMutablePointer<gotoni_decision>?, _ statuses: UnsafeMutablePointer<gotoni_status>?
) -> gotoni_status {
    status { () throws(RouterError) in
        _ = try router(handle)
        guard count >= 0 else { throw .argument }
        if count == 0 { return }
        guard let requests, let decisions, let statuses, isUsable(decisions), isUsable(statuses) else {
            throw .argument
        }
        // The first element says how large all are, in the caller's header.
        let requestSize = try structSize(requests)
        let decisionSize = try structSize(decisions)
        for index in 0..<count {
            let request = read(UnsafeRawPointer(requests) + index * requestSize, size: requestSize, gotoni_request())
            let target = UnsafeMutableRawPointer(decisions) + index * decisionSize
            statuses[index] = status { () throws(RouterError) in
                let decision = try BorrowedRequest(request).route(handle, now)
                write(gotoni_decision(decision), to: target, size: decisionSize)
            }
        }
    }
}

@c @implementation public func gotoni_explain(
    _ handle: OpaquePointer?, _ request: UnsafePointer<gotoni_request>?, _ now: UInt64,
    _ candidates: UnsafeMutablePointer<gotoni_candidate>?, _ capacity: Int, _ count: UnsafeMutablePointer<Int>?,
    _ decision: UnsafeMutablePointer<gotoni_decision>?
) -> gotoni_status {
    status { () throws(RouterError) in
        let count = try required(count)
        let candidates = capacity == 0 ? nil : candidates
        let rowSize = try candidates.map { (first) throws(RouterError) in try structSize(first) } ?? 0
        if let decision { _ = try structSize(decision) }
        let request = try BorrowedRequest(request)
        let rows = UnsafeMutableRawPointer(candidates)
        let chosen = try request.withPrompt(handle) { (router, prompt) throws(RouterError) in
            try fit(router.serverCount, candidates, capacity, count)
            var next = 0
            return try router.explain(
                prompt, request.request, excluding: Span(_unsafeElements: request.excluded), now: Nanoseconds(now)
            ) { candidate in
                guard let rows else { return }
                write(gotoni_candidate(candidate), to: rows + next * rowSize, size: rowSize)
                next += 1
            }
        }
        if let rows { mark(chosen.server, in: rows, count.pointee, rowSize) }
        if let decision { try write(gotoni_decision(chosen), to: decision) }
    }
}

/// Sets `chosen` on the row of `server`, where the caller's rows have that field.
private func mark(_ server: ServerID, in rows: UnsafeMutableRawPointer, _ count: Int, _ rowSize: Int) {
    var sample = gotoni_candidate()
    let (idOffset, chosenOffset) = withUnsafeMutablePointer(to: &sample) { candidate in
        let start = UnsafeMutableRawPointer(candidate)
        return (
            withUnsafeMutablePointer(to: &candidate.pointee.server) { UnsafeMutableRawPointer($0) - start },
            withUnsafeMutablePointer(to: &candidate.pointee.chosen) { UnsafeMutableRawPointer($0) - start }
        )
    }
    guard rowSize >= chosenOffset + 4 else { return }
    for index in 0..<count {
        let row = rows + index * rowSize
        if row.loadUnaligned(fromByteOffset: idOffset, as: UInt64.self) == server.rawValue {
            row.storeBytes(of: 1, toByteOffset: chosenOffset, as: UInt32.self)
        }
    }
}

@c @implementation public func gotoni_commit(
    _ handle: OpaquePointer?, _ ticket: UInt64, _ now: UInt64
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        try router.commit(Ticket(ticket), now: Nanoseconds(now))
    }
}

@c @implementation public func gotoni_first_token(
    _ handle: OpaquePointer?, _ ticket: UInt64, _ now: UInt64
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        try router.firstToken(Ticket(ticket), now: Nanoseconds(now))
    }
}

@c @implementation public func gotoni_progress(
    _ handle: OpaquePointer?, _ ticket: UInt64, _ now: UInt64
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        try router.progress(Ticket(ticket), now: Nanoseconds(now))
    }
}

@c @implementation public func gotoni_finish(
    _ handle: OpaquePointer?, _ ticket: UInt64, _ outcome: UInt32, _ now: UInt64
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        guard let outcome = Outcome(rawValue: outcome) else { throw .argument }
        try router.finish(Ticket(ticket), outcome, now: Nanoseconds(now))
    }
}

extension gotoni_decision {
    init(_ decision: Decision) {
        self.init()
        reason = decision.reason.rawValue
        ticket = decision.ticket?.rawValue ?? 0
        server = decision.server.rawValue
        prompt_tokens = UInt64(decision.promptTokens)
        matched_tokens = UInt64(decision.matchedTokens)
        cost_ns = decision.cost.total
        rtt_cost_ns = decision.cost.rtt
        prefill_cost_ns = decision.cost.prefill
        queued_cost_ns = decision.cost.queued
        running_cost_ns = decision.cost.running
        policy = decision.policy.rawValue
        eligible = UInt32(decision.eligible)
        predicted_first_token_ns = decision.prediction.firstToken
        predicted_last_token_ns = decision.prediction.last
        predicted_cost_ns = decision.prediction.cost
        trial = decision.isTrial ? 1 : 0
    }
}

extension gotoni_candidate {
    init(_ candidate: Candidate) {
        self.init()
        verdict = candidate.verdict.rawValue
        server = candidate.server.rawValue
        matched_tokens = UInt64(candidate.matchedTokens)
        uncached_tokens = UInt64(candidate.uncachedTokens)
        queued_requests = candidate.load.queuedRequests
        running_requests = candidate.load.runningRequests
        queued_tokens = candidate.load.queuedTokens
        running_tokens = candidate.load.runningTokens
        rtt_ns = candidate.rtt.map { Int64(clamping: $0) } ?? -1
        cost_ns = candidate.cost.total
        rtt_cost_ns = candidate.cost.rtt
        prefill_cost_ns = candidate.cost.prefill
        queued_cost_ns = candidate.cost.queued
        running_cost_ns = candidate.cost.running
        metrics_known = candidate.metricsKnown ? 1 : 0
        owed_tokens = candidate.load.owedTokens
        evicted_tokens = UInt64(candidate.evictedTokens)
        predicted_network_ns = candidate.prediction.network
        predicted_upload_ns = candidate.prediction.upload
        predicted_wait_ns = candidate.prediction.wait
        predicted_prefill_ns = candidate.prediction.prefill
        predicted_decode_ns = candidate.prediction.decode
        predicted_others_ns = candidate.prediction.others
        predicted_doubt_ns = candidate.prediction.doubt
        predicted_cost_ns = candidate.prediction.cost
    }
}
