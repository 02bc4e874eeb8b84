public import CGotoni
internal import GotoniCore

@c @implementation public func gotoni_match(
    _ handle: OpaquePointer?, _ request: UnsafePointer<gotoni_request>?, _ servers: UnsafeMutablePointer<UInt64>?,
    _ matched: UnsafeMutablePointer<UInt64>?, _ capacity: Int, _ count: UnsafeMutablePointer<Int>?
) -> gotoni_status {
    status { () throws(RouterError) in
        let count = try required(count)
        let request = try BorrowedRequest(request)
        try request.withPrompt(handle) { (router, prompt) throws(RouterError) in
            // Nothing is written before it is clear that everything fits, so it is counted where that is not certain.
            var available = 0
            if capacity >= 0 && capacity < router.serverCount { router.match(prompt) { _, _ in available += 1 } }
            try fit(available, servers, capacity, count)
            try fit(available, matched, capacity, count)
            guard let servers, let matched else { return }
            var next = 0
            router.match(prompt) { id, tokens in
                servers[next] = id.rawValue
                matched[next] = UInt64(tokens)
                next += 1
            }
            count.pointee = next
        }
        guard let servers, let matched else { return }
        heapSort(
            count.pointee,
            precedes: { matched[$0] != matched[$1] ? matched[$0] > matched[$1] : servers[$0] < servers[$1] },
            swap: { a, b in
                (servers[a], servers[b]) = (servers[b], servers[a])
                (matched[a], matched[b]) = (matched[b], matched[a])
            })
    }
}

@c @implementation public func gotoni_prefix_insert(
    _ handle: OpaquePointer?, _ id: UInt64, _ request: UnsafePointer<gotoni_request>?, _ now: UInt64
) -> gotoni_status {
    status { () throws(RouterError) in
        try BorrowedRequest(request).withPrompt(handle) { (router, prompt) throws(RouterError) in
            try router.insert(prompt, on: ServerID(id), now: Nanoseconds(now))
        }
    }
}

@c @implementation public func gotoni_prefix_remove(
    _ handle: OpaquePointer?, _ id: UInt64, _ request: UnsafePointer<gotoni_request>?, _ keepTokens: UInt64,
    _ now: UInt64
) -> gotoni_status {
    status { () throws(RouterError) in
        try BorrowedRequest(request).withPrompt(handle) { (router, prompt) throws(RouterError) in
            try router.remove(
                prompt, on: ServerID(id), keepTokens: Int(clamping: keepTokens), now: Nanoseconds(now))
        }
    }
}

@c @implementation public func gotoni_prefix_clear_server(
    _ handle: OpaquePointer?, _ id: UInt64, _ now: UInt64
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        try router.clearPrefixes(of: ServerID(id), now: Nanoseconds(now))
    }
}

@c @implementation public func gotoni_prefix_clear(_ handle: OpaquePointer?, _ now: UInt64) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in router.clearPrefixes(now: Nanoseconds(now)) }
}

@c @implementation public func gotoni_prefix_stats_get(
    _ handle: OpaquePointer?, _ stats: UnsafeMutablePointer<gotoni_prefix_stats>?
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        let target = try required(stats)
        try write(gotoni_prefix_stats(router.prefixStatistics()), to: target)
    }
}

extension gotoni_prefix_stats {
    init(_ statistics: PrefixStatistics) {
        self.init()
        nodes = UInt64(statistics.nodes)
        leaves = UInt64(statistics.leaves)
        max_depth = UInt64(statistics.maxDepth)
        avg_depth = statistics.averageDepth
        avg_branching = statistics.averageBranching
        avg_prefix_length = statistics.averagePrefixLength
        total_server_refs = UInt64(statistics.totalServerReferences)
        unique_servers = UInt64(statistics.uniqueServers)
        held_tokens = UInt64(statistics.heldTokens)
        bytes = UInt64(statistics.bytes)
        budget_bytes = UInt64(statistics.budgetBytes)
    }
}
