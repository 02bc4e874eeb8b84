import GotoniCore

// Several proxies: what they tell each other, and requests that they pass on to another region.

extension Simulation {
    /// Tells what proxy `index` has at `server` now, and of a prompt that it has just sent there.
    mutating func tell(_ index: Int, _ server: Int, prompt chain: [UInt64]? = nil) throws(RouterError) {
        guard talk?.tellMs != nil, let region = balancers[index].region else { return }
        if let chain {
            talk?.news[region].append(.init(time: now, teller: index, server: server, said: .prompt(chain)))
            talk?.work.promptsTold += 1
            talk?.work.blocksTold += chain.count
        }
        let load = try balancers[index].own(server, now: time).figures
        let change = load &- (talk?.told[index][server] ?? .zero)
        guard change != .zero else { return }
        talk?.told[index][server] = load
        talk?.news[region].append(.init(time: now, teller: index, server: server, said: .load(change)))
    }

    /// Proxy `index` applies what has come to it by now.
    mutating func hearOthers(_ index: Int) throws(RouterError) {
        guard let tellMs = talk?.tellMs, let own = balancers[index].region else { return }
        for region in balancersByRegion.indices where isHeard(region, in: own) {
            let delay = Nanoseconds(milliseconds: tellMs + distance(own, region) / 2).rawValue
            while let news = nextNews(index, region, before: now, delay) {
                guard news.teller != index else { continue }
                switch news.said {
                case .prompt(let chain):
                    try balancers[index].hear(chain, on: news.server, now: time)
                    talk?.work.promptsHeard += 1
                case .load(let change): talk?.others[index][news.server] &+= change
                }
            }
        }
        for server in balancers[index].servers {
            guard let others = talk?.others[index][server] else { continue }
            try balancers[index].hear(others: Load(others), on: server, now: time)
        }
    }

    private func isHeard(_ region: Int, in own: Int) -> Bool {
        if case .regions = talk?.sharing { return region == own }
        return areConnected(region, own)
    }

    private mutating func nextNews(
        _ index: Int, _ region: Int, before now: UInt64, _ delay: UInt64
    ) -> ProxyTalk.News? {
        guard let next = talk?.heard[index][region], let all = talk?.news[region].count, next < all,
            let news = talk?.news[region][next], news.time + delay <= now
        else { return nil }
        talk?.heard[index][region] = next + 1
        return news
    }

    // MARK: Regions

    /// Passes `request` on to a proxy of another region if it is served sooner there than by any server here; once, and before
    /// it was tried anywhere.
    mutating func passOn(_ request: Int) throws(RouterError) -> Bool {
        guard case .regions(_, let settings) = talk?.sharing, flights[request].passedBy == nil,
            results[request].attempts == 0, let own = balancers[balancer(for: request)].region
        else { return false }
        let index = balancer(for: request)
        try hearOthers(index)
        var least = try balancers[index].least(request, workload, now: time) ?? .max
        let chain = balancers[index].chain
        let tokens = workload.requests[request].promptTokens
        var choice: (region: Int, matched: Int)?
        for region in balancersByRegion.indices where region != own && areConnected(region, own) {
            guard let price = try price(of: region, seenFrom: own, settings) else { continue }
            let matched = digestMatch(chain, region, settings)
            let way = balancers[index].cost(rtt: distance(own, region), uncached: max(tokens - matched, 1))
            guard price + way < least else { continue }
            (least, choice) = (price + way, (region, matched))
        }
        guard let choice, let passed = talk?.passed[index] else { return false }
        talk?.passed[index] = passed + 1
        talk?.work.passedOn += 1
        let there = balancersByRegion[choice.region]
        flights[request].passedBy = own
        flights[request].balancer = there[(index + passed) % there.count]
        flights[request].expectedTokens = choice.matched
        let path = distance(own, choice.region)
        queue.schedule(
            now + leg(path) + upload(request, path), .atBalancer, request, Int(flights[request].attempt))
        return true
    }

    /// Tokens of a prompt that region `region` has, by what it has told.
    private mutating func digestMatch(_ chain: [UInt64], _ region: Int, _ settings: RegionDigestSettings) -> Int {
        guard settings.bits > 0 else { return 0 }
        let delay = Nanoseconds(milliseconds: settings.delayMs).rawValue
        while let next = talk?.digested[region], let all = talk?.news[region].count, next < all,
            let news = talk?.news[region][next], news.time + delay <= now
        {
            if case .prompt(let chain) = news.said { talk?.digests[region].insert(chain) }
            talk?.digested[region] = next + 1
        }
        return (talk?.digests[region].match(chain) ?? 0) * PrefixIndex.blockTokens
    }

    /// What being served in a region costs, as one of its proxies said it lately; nil: it has said nothing, or that it is full.
    private mutating func price(
        of region: Int, seenFrom own: Int, _ settings: RegionDigestSettings
    ) throws(RouterError) -> Int64? {
        guard let proxy = balancersByRegion[region].first else { return nil }
        let interval = Nanoseconds(milliseconds: settings.priceMs).rawValue
        if talk?.prices[region].last.map({ now - $0.time >= interval }) ?? true {
            try hearOthers(proxy)
            let cost = try balancers[proxy].least(nil, workload, now: time)
            talk?.prices[region].append((now, cost))
            if let count = talk?.prices[region].count, count > ProxyTalk.pricesKept {
                talk?.prices[region].removeFirst()
            }
        }
        let way = Nanoseconds(milliseconds: distance(own, region) / 2).rawValue
        return talk?.prices[region].last { $0.time + way <= now }?.cost
    }

    /// A request that was passed on is there: is what the digest promised?
    mutating func noteArrival(_ request: Int, _ index: Int) throws(RouterError) {
        guard case .regions(_, let settings) = talk?.sharing, let expected = flights[request].expectedTokens else {
            return
        }
        flights[request].expectedTokens = nil
        let mark = Int(settings.every) * PrefixIndex.blockTokens
        let found = try balancers[index].longestMatch(request, workload)
        if expected >= found + 2 * mark { talk?.work.disappointed += 1 }
    }
}
