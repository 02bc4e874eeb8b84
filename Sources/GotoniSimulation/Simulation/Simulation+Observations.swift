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
            let there = scenario.network.leg(distance, &probeChance)
            let back = scenario.network.leg(distance, &probeChance)
            let probe = Probe(balancer: index, server: server, rtt: there + back, back: back)
            queue.schedule(now + there.rawValue, .sample, remember(probe))
        } else {
            queue.schedule(now + min(scenario.timeout, scenario.probeInterval).rawValue, .probeFailed, index, server)
        }
        queue.schedule(nextProbe(share: 0.9 + 0.2 * probeChance.uniform()), .probe, index, server)
    }

    private mutating func remember(_ probe: Probe) -> Int {
        guard let place = freeProbes.popLast() else {
            probes.append(probe)
            return probes.count - 1
        }
        probes[place] = probe
        return place
    }

    mutating func sample(_ place: Int) {
        let probe = probes[place]
        guard isRunning[probe.server], canReach(probe.balancer, probe.server) else {
            freeProbes.append(place)
            queue.schedule(now + scenario.timeout.rawValue, .probeFailed, probe.balancer, probe.server)
            return
        }
        probes[place].load = engines[probe.server].load
        queue.schedule(now + probe.back.rawValue, .report, place)
    }

    mutating func report(_ place: Int) throws(RouterError) {
        let probe = probes[place]
        freeProbes.append(place)
        try balancers[probe.balancer].observe(probe.server, rtt: probe.rtt, now: time)
        try balancers[probe.balancer].observe(probe.server, load: probe.load, now: time)
        try tryParked(probe.balancer)
    }

    // MARK: KV events

    /// The KV events of an iteration are one message, as engines batch them.
    mutating func publish(_ server: Int) {
        guard !engines[server].kvEvents.isEmpty else { return }
        let listeners = balancers.indices.filter { balancers[$0].index == .events }
        kvLog.append(KVMessage(server: server, events: engines[server].kvEvents, left: listeners.count))
        engines[server].kvEvents.removeAll(keepingCapacity: true)
        for index in listeners {
            let place = index * engines.count + server
            kvDelivered[place] = max(kvDelivered[place], now + leg(path(index, server)))
            queue.schedule(kvDelivered[place], .kvEvents, kvLog.count - 1, index)
        }
    }

    mutating func applyKVEvents(_ place: Int, _ index: Int) throws(RouterError) {
        let message = kvLog[place]
        kvLog[place].left -= 1
        if kvLog[place].left == 0 { kvLog[place].events = [] }
        // Prompts are evicted from their end: of several blocks of one prompt the first is what counts.
        var cut: (request: Int, keep: Int)?
        for event in message.events {
            switch event {
            case .removed(let block):
                guard let home = homes?[block] else { continue }
                if let known = cut, known.request == home.request {
                    cut?.keep = min(known.keep, home.keep)
                } else {
                    try remove(cut, message.server, index)
                    cut = home
                }
            case .stored(let job, let withAnswer):
                try remove(cut, message.server, index)
                cut = nil
                try balancers[index].stored(job >> 8, workload, withAnswer: withAnswer, on: message.server, now: time)
            }
        }
        try remove(cut, message.server, index)
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

/// What a server said at once, and how many balancers have yet to hear it.
struct KVMessage {
    var server: Int
    var events: [KVEvent]
    var left: Int
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
            // An answer that nobody continued stands behind its own prompt.
            if let answer = workload.requests[request].answer, homes[Int(answer)] == nil {
                homes[Int(answer)] = (request, before)
            }
        }
    }

    subscript(block: UInt32) -> (request: Int, keep: Int)? { homes[Int(block)] }
}
