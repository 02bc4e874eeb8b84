import GotoniCore

// Who is how far from whom.

extension Simulation {
    /// Milliseconds of round trip between two regions; within one it counts as none.
    func distance(_ a: Int, _ b: Int) -> Double { a == b ? 0 : max(rtt[a], rtt[b]) }

    /// Milliseconds of round trip between a balancer and a server (or the server's balancer).
    func path(_ balancer: Int, _ server: Int) -> Double {
        let region = scenario.servers[server].region
        return balancers[balancer].region.map { distance($0, region) } ?? rtt[region]
    }

    /// Milliseconds of round trip between a request's client and the balancer that has it.
    func clientPath(_ request: Int) -> Double {
        guard let region = balancers[balancer(for: request)].region else {
            return scenario.clients == .proxy ? 0 : rtt[homeRegion(request)]
        }
        guard let passedBy = flights[request].passedBy else { return wayIn(request, region) }
        // It came through another region.
        return wayIn(request, passedBy) + distance(passedBy, region)
    }

    private func wayIn(_ request: Int, _ region: Int) -> Double {
        scenario.clients == .proxy ? rtt[region] : distance(homeRegion(request), region)
    }

    /// Whether messages get from a request's client to its balancer and back.
    func clientIsReached(_ request: Int) -> Bool {
        guard let region = balancers[balancer(for: request)].region else {
            return scenario.clients == .proxy || !isLost[homeRegion(request)]
        }
        if let passedBy = flights[request].passedBy, isLost[passedBy] || isLost[region] { return false }
        return scenario.clients == .spread || !isLost[flights[request].passedBy ?? region]
    }

    func homeRegion(_ request: Int) -> Int { workload.requests[request].user % rtt.count }

    /// The balancer that has the request: the one in front of its client, or the one that it was passed on to.
    func balancer(for request: Int) -> Int { flights[request].balancer }

    /// The balancer in front of the client: the proxy, or that of a server or a proxy nearby.
    func balancerInFront(of request: Int) -> Int {
        guard spec.topology != .central else { return 0 }
        let region = scenario.clients == .spread ? homeRegion(request) : 0
        let choices = balancersByRegion[region].isEmpty ? Array(balancers.indices) : balancersByRegion[region]
        if spec.topology == .nodes { return choices[workload.requests[request].user / rtt.count % choices.count] }
        // Whatever else is drawn: the same for every policy.
        var chance = SplitMix64.stream(scenario.seed &+ UInt64(request) << 20, 0xF0)
        return choices[chance.next(below: choices.count)]
    }

    func canReach(_ balancer: Int, _ server: Int) -> Bool {
        let region = scenario.servers[server].region
        guard let own = balancers[balancer].region else { return !isLost[region] }
        return areConnected(own, region)
    }

    /// Within a region messages get through whatever happens around it.
    func areConnected(_ a: Int, _ b: Int) -> Bool { a == b || !isLost[a] && !isLost[b] }

    mutating func leg(_ milliseconds: Double) -> UInt64 {
        scenario.network.leg(milliseconds, &chance).rawValue
    }

    /// Sending the prompt over a path of `milliseconds`; within a place it costs nothing.
    func upload(_ request: Int, _ milliseconds: Double) -> UInt64 {
        guard milliseconds > 0 else { return 0 }
        let tokens = workload.requests[request].promptTokens
        return Nanoseconds(milliseconds: scenario.network.upload.milliseconds(tokens: tokens, rtt: milliseconds))
            .rawValue
    }
}
