import GotoniCore

// A request's way to an engine and back.

extension Simulation {
    mutating func arrive(_ request: Int) {
        results[request].scheduled = time
        flights[request].balancer = balancerInFront(of: request)
        guard clientIsReached(request) else {
            flights[request].isCutOff = true
            queue.schedule(now + scenario.timeout.rawValue, .giveUp, request)
            return
        }
        let distance = clientPath(request)
        queue.schedule(now + leg(distance) + upload(request, distance), .atBalancer, request)
    }

    /// At the balancer in front of the client: choose, or wait.
    mutating func place(_ request: Int) throws(RouterError) {
        if try passOn(request) { return }
        let index = balancer(for: request)
        // Who waits already comes first.
        let isFirst = !balancers[index].parked.contains { flights[$0].isParked }
        guard isFirst, try tryToPlace(request, index) else {
            flights[request].isParked = true
            balancers[index].parked.append(request)
            let limit = results[request].scheduled + scenario.patience
            queue.schedule(max(limit.rawValue, now), .giveUp, request)
            return
        }
    }

    mutating func tryToPlace(_ request: Int, _ index: Int) throws(RouterError) -> Bool {
        try hearOthers(index)
        try noteArrival(request, index)
        let placement = try balancers[index].route(
            request, workload, tried: flights[request].tried, now: time, forecast: { forecast(request, index, $0) })
        guard let placement else { return false }
        flights[request].placement = placement
        flights[request].isParked = false
        results[request].attempts += 1
        results[request].server = placement.server
        results[request].matchedTokens = placement.matchedTokens
        if talk?.tellMs != nil { try tell(index, placement.server, prompt: balancers[index].chain) }
        send(request, from: index, to: placement.server)
        return true
    }

    mutating func send(_ request: Int, from index: Int, to server: Int) {
        guard canReach(index, server) else {
            queue.schedule(now + scenario.timeout.rawValue, .failed, request, Int(flights[request].attempt))
            return
        }
        let distance = path(index, server)
        let there = now + leg(distance) + upload(request, distance)
        let forwarded = balancers[index].home.map { $0 != server } ?? false
        if forwarded {
            queue.schedule(there, .atPeer, request, Int(flights[request].attempt))
        } else {
            scheduleAtEngine(request, server, there)
        }
    }

    mutating func scheduleAtEngine(_ request: Int, _ server: Int, _ there: UInt64) {
        let reading = Nanoseconds(milliseconds: scenario.servers[server].engine.request).rawValue
        if foretells { onTheWay[server].append((request, there + reading)) }
        queue.schedule(there + reading, .atEngine, request, Int(flights[request].attempt))
    }

    /// Forwarded once, it is served there: nothing is forwarded twice.
    mutating func arriveAtPeer(_ request: Int) throws(RouterError) {
        guard let server = flights[request].placement?.server else { return }
        flights[request].peerPlacement = try balancers[server].accept(request, workload, on: server, now: time)
        scheduleAtEngine(request, server, now)
    }

    mutating func submit(_ request: Int) throws(RouterError) {
        guard let server = flights[request].placement?.server else { return }
        if foretells { onTheWay[server].removeAll { $0.request == request } }
        guard isRunning[server] else {
            return reply(request, .failed)
        }
        let described = workload.requests[request]
        let job = Job(
            id: request << 8 | Int(flights[request].attempt & 0xFF), prompt: workload.prompt(request),
            promptTokens: described.promptTokens, outputTokens: described.outputTokens, answer: described.answer)
        engines[server].submit(job, now: time, &engineEvents)
        try drain(server)
    }

    mutating func advance(_ server: Int) throws(RouterError) {
        engines[server].advance(to: time, &engineEvents)
        try drain(server)
    }

    /// Sends on what the engine has said, and comes back when it does the next thing.
    mutating func drain(_ server: Int) throws(RouterError) {
        for event in engineEvents {
            let (request, attempt) = (event.job >> 8, UInt32(event.job & 0xFF))
            guard isCurrent(request, attempt) else { continue }
            switch event.kind {
            case .firstToken(let cachedTokens):
                flights[request].cachedTokens = cachedTokens
                if let peer = flights[request].peerPlacement { try balancers[server].firstToken(peer, now: time) }
                reply(request, .firstToken)
            case .finished:
                try endAtPeer(request, .ok)
                reply(request, .finished)
            case .refused:
                try endAtPeer(request, .failed)
                flights[request].wasRefused = true
                reply(request, .failed)
            }
        }
        engineEvents.removeAll(keepingCapacity: true)
        publish(server)
        generations[server] &+= 1
        if let next = engines[server].nextEvent {
            queue.schedule(next.rawValue, .engine, server, Int(generations[server]))
        }
    }

    /// A message back to the balancer in front of the client. If it is lost, the balancer waits for it in vain.
    mutating func reply(_ request: Int, _ kind: EventQueue.Kind) {
        guard let server = flights[request].placement?.server else { return }
        let index = balancer(for: request)
        let attempt = Int(flights[request].attempt)
        if canReach(index, server) {
            queue.schedule(now + leg(path(index, server)), kind, request, attempt)
        } else {
            queue.schedule(now + scenario.timeout.rawValue, .failed, request, attempt)
        }
    }

    mutating func firstToken(_ request: Int) throws(RouterError) {
        guard let placement = flights[request].placement else { return }
        flights[request].hasFirstToken = true
        try balancers[balancer(for: request)].firstToken(placement, now: time)
        try tell(balancer(for: request), placement.server)
        if !clientIsReached(request) { flights[request].isCutOff = true }
        results[request].firstToken = sinceScheduled(request) + leg(clientPath(request))
        results[request].cachedTokens = flights[request].cachedTokens ?? 0
        try tryParked(balancer(for: request))
    }

    mutating func finish(_ request: Int) throws(RouterError) {
        guard let placement = flights[request].placement else { return }
        let index = balancer(for: request)
        // With jitter the last message can overtake the first; then the first token came with it.
        if !flights[request].hasFirstToken { try firstToken(request) }
        try balancers[index].finish(
            placement, .ok, cachedTokens: flights[request].cachedTokens,
            outputTokens: workload.requests[request].outputTokens, now: time)
        try tell(index, placement.server)
        results[request].lastToken = max(
            sinceScheduled(request) + leg(clientPath(request)), results[request].firstToken)
        let isHeard = clientIsReached(request) && !flights[request].isCutOff
        try end(request, isHeard ? .ok : .failed)
        try tryParked(index)
    }

    func sinceScheduled(_ request: Int) -> UInt64 { now - results[request].scheduled.rawValue }

    /// The attempt came to nothing: again elsewhere, if the client has seen nothing of an answer yet.
    mutating func failAttempt(_ request: Int) throws(RouterError) {
        guard let placement = flights[request].placement else { return }
        let index = balancer(for: request)
        try balancers[index].finish(
            placement, .failed, cachedTokens: nil, now: time)
        try tell(index, placement.server)
        let wasRefused = flights[request].wasRefused
        if !wasRefused {
            try balancers[index].observeFailure(placement.server, limit: scenario.failuresToDown, now: time)
        }
        if engines.indices.contains(placement.server), canReach(index, placement.server) {
            // Hanging up ends what still runs.
            engines[placement.server].cancel(
                request << 8 | Int(flights[request].attempt & 0xFF), now: time)
            try drain(placement.server)
        }
        try endAtPeer(request, .failed)
        flights[request].attempt += 1
        flights[request].tried.append(placement.server)
        flights[request].placement = nil
        flights[request].cachedTokens = nil
        flights[request].wasRefused = false
        // A prompt that is too long for one engine is not tried again on others like it.
        let isHopeless = wasRefused && !couldFitElsewhere(request)
        if flights[request].hasFirstToken || results[request].attempts >= scenario.maxAttempts || isHopeless {
            try end(request, .failed)
        } else {
            try place(request)
        }
        try tryParked(index)
    }

    private func couldFitElsewhere(_ request: Int) -> Bool {
        let tokens = workload.requests[request].promptTokens + workload.requests[request].outputTokens
        return engines.indices.contains { engines[$0].model.kvTokens >= tokens && !flights[request].tried.contains($0) }
    }

    mutating func endAtPeer(_ request: Int, _ outcome: Outcome) throws(RouterError) {
        guard let peer = flights[request].peerPlacement else { return }
        flights[request].peerPlacement = nil
        try balancers[peer.server].finish(
            peer, outcome, cachedTokens: outcome == .ok ? flights[request].cachedTokens : nil, now: time)
        try tryParked(peer.server)
    }

    mutating func end(_ request: Int, _ outcome: RequestResult.Outcome) throws(RouterError) {
        flights[request].isDone = true
        flights[request].isParked = false
        results[request].outcome = outcome
        left -= 1
        // The client has its answer when the last token is there, or gives up now.
        let known = outcome == .ok ? results[request].scheduled.rawValue + results[request].lastToken : now
        if concurrency != nil, firstFollower[request] < 0 { startNextInLine(at: known) }
        var follower = firstFollower[request]
        while follower >= 0 {
            if case .after(_, let delay) = workload.requests[Int(follower)].arrival {
                queue.schedule((Nanoseconds(known) + delay).rawValue, .arrive, Int(follower))
            }
            follower = nextFollower[Int(follower)]
        }
    }

    /// Something changed at a balancer: the requests that wait there are tried in their order.
    mutating func tryParked(_ index: Int) throws(RouterError) {
        while let request = balancers[index].parked.first {
            if flights[request].isParked, try !tryToPlace(request, index) { return }
            balancers[index].parked.removeFirst()
        }
    }
}
