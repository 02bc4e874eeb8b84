import GotoniCore

// Who is how far from whom.

extension Simulation {
    /// Milliseconds of round trip between a balancer and a server (or the server's balancer).
    func path(_ balancer: Int, _ server: Int) -> Double {
        let region = scenario.servers[server].region
        guard let home = balancers[balancer].home else { return rtt[region] }
        let homeRegion = scenario.servers[home].region
        return home == server || homeRegion == region ? 0 : max(rtt[homeRegion], rtt[region])
    }

    /// Milliseconds of round trip between a request's client and its balancer.
    func clientPath(_ request: Int) -> Double {
        switch (scenario.clients, spec.topology) {
        case (.proxy, .central), (.spread, .nodes): 0
        case (.proxy, .nodes): rtt[scenario.servers[balancer(for: request)].region]
        case (.spread, .central): rtt[homeRegion(request)]
        }
    }

    /// Whether messages get from a request's client to its balancer and back.
    func clientIsReached(_ request: Int) -> Bool {
        switch (scenario.clients, spec.topology) {
        case (.proxy, .central), (.spread, .nodes): true
        case (.proxy, .nodes): !isLost[scenario.servers[balancer(for: request)].region]
        case (.spread, .central): !isLost[homeRegion(request)]
        }
    }

    func homeRegion(_ request: Int) -> Int { workload.requests[request].user % rtt.count }

    /// The balancer in front of the client: the proxy, or that of a server nearby.
    func balancer(for request: Int) -> Int {
        guard spec.topology == .nodes else { return 0 }
        let region = scenario.clients == .spread ? homeRegion(request) : 0
        let near = scenario.servers.indices.filter { scenario.servers[$0].region == region }
        let choices = near.isEmpty ? Array(scenario.servers.indices) : near
        return choices[workload.requests[request].user / rtt.count % choices.count]
    }

    func canReach(_ balancer: Int, _ server: Int) -> Bool {
        let region = scenario.servers[server].region
        guard let home = balancers[balancer].home else { return !isLost[region] }
        let homeRegion = scenario.servers[home].region
        // Within a region messages get through whatever happens around it.
        return homeRegion == region || !isLost[homeRegion] && !isLost[region]
    }

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
