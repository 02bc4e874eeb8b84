import GotoniCore

// What balancers learn besides answers: probes and KV events, and for the oracle what would happen.

extension Simulation {
    // MARK: Probes

    mutating func nextProbe(share: Double) -> UInt64 {
        now + UInt64(Double(scenario.probeInterval.rawValue) * share)
    }

    mutating func probe(_ index: Int, _ server: Int) {
        if canReach(index, server), isRunning[server] {
            let distance = path(index, server)
            let (there, back) = (scenario.network.leg(distance, &chance), scenario.network.leg(distance, &chance))
            probes[index * engines.count + server].rtt = there + back
            probes[index * engines.count + server].back = back
            queue.schedule(now + there.rawValue, .sample, index, server)
        } else {
            queue.schedule(now + min(scenario.timeout, scenario.probeInterval).rawValue, .probeFailed, index, server)
        }
        queue.schedule(nextProbe(share: 0.9 + 0.2 * chance.uniform()), .probe, index, server)
    }

    mutating func sample(_ index: Int, _ server: Int) {
        guard isRunning[server], canReach(index, server) else {
            queue.schedule(now + scenario.timeout.rawValue, .probeFailed, index, server)
            return
        }
        let place = index * engines.count + server
        probes[place].load = engines[server].load
        queue.schedule(now + probes[place].back.rawValue, .report, index, server)
    }

    mutating func report(_ index: Int, _ server: Int) throws(RouterError) {
        let probe = probes[index * engines.count + server]
        try balancers[index].observe(server, rtt: probe.rtt, now: time)
        try balancers[index].observe(server, load: probe.load, now: time)
        try tryParked(index)
    }

    // MARK: KV events

    /// The KV events of an iteration are one message, as engines batch them.
    mutating func publish(_ server: Int) {
        guard !engines[server].kvEvents.isEmpty else { return }
        kvLog.append((server, engines[server].kvEvents))
        engines[server].kvEvents.removeAll(keepingCapacity: true)
        for (index, balancer) in balancers.enumerated() where balancer.index == .events {
            queue.schedule(now + leg(path(index, server)), .kvEvents, kvLog.count - 1, index)
        }
    }

    mutating func applyKVEvents(_ place: Int, _ index: Int) throws(RouterError) {
        let (server, events) = kvLog[place]
        // Prompts are evicted from their end: of several blocks of one prompt the first is what counts.
        var cut: (request: Int, keep: Int)?
        for event in events {
            switch event {
            case .removed(let block):
                guard let home = homes?[block] else { continue }
                if let known = cut, known.request == home.request {
                    cut?.keep = min(known.keep, home.keep)
                } else {
                    try remove(cut, server, index)
                    cut = home
                }
            case .stored(let job):
                try remove(cut, server, index)
                cut = nil
                try balancers[index].stored(job >> 8, workload, on: server, now: time)
            }
        }
        try remove(cut, server, index)
    }

    func remove(_ cut: (request: Int, keep: Int)?, _ server: Int, _ index: Int) throws(RouterError) {
        guard let cut else { return }
        try balancers[index].removed(cut.request, workload, keep: cut.keep, on: server, now: time)
    }

    // MARK: The oracle

    /// For the oracle: what would happen if balancer `index` sent `request` to `server` now.
    func forecast(_ request: Int, _ index: Int, _ server: Int) -> Forecast {
        let distance = path(index, server)
        let described = workload.requests[request]
        let there =
            Nanoseconds(milliseconds: distance / 2 + scenario.servers[server].engine.request).rawValue
            + upload(request, distance)
        let before = onTheWay[server].filter { $0.there <= now + there }.map {
            (workload.prompt($0.request), workload.requests[$0.request].promptTokens)
        }
        var forecast = engines[server].forecast(
            workload.prompt(request), promptTokens: described.promptTokens, outputTokens: described.outputTokens,
            now: now, arrival: now + there, onTheWay: before)
        forecast.firstToken += distance / 2_000
        forecast.last += distance / 2_000
        return forecast
    }
}

/// A request in whose prompt a block stands, and how many tokens come before it there.
struct BlockHomes {
    private var homes: [(request: Int, keep: Int)?]

    init(_ workload: Workload) {
        homes = Array(repeating: nil, count: workload.blockNames.count)
        for request in workload.requests.indices {
            var before = 0
            for segment in workload.prompt(request) {
                if homes[Int(segment.block)] == nil { homes[Int(segment.block)] = (request, before) }
                before += Int(segment.tokens)
            }
        }
    }

    subscript(block: UInt32) -> (request: Int, keep: Int)? { homes[Int(block)] }
}
