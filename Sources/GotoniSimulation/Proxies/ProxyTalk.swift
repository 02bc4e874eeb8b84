import GotoniCore

/// What the proxies of a run have told, who has heard how much of it, and what regions know of each other.
struct ProxyTalk {
    struct News {
        enum Said {
            case prompt([UInt64])
            /// Since it was told last.
            case load(SIMD8<Int64>)
        }

        var time: UInt64
        var teller: Int
        var server: Int
        var said: Said
    }

    let sharing: ProxySharing
    /// By region of the teller, in order of time.
    var news: [[News]]
    /// By listener and region: how many of these it has heard.
    var heard: [[Int]]
    /// By listener and server: what it has heard that others have there. By teller and server: what it has told of itself.
    var others: [[SIMD8<Int64>]]
    var told: [[SIMD8<Int64>]]
    /// By region; and how many of its news are in it.
    var digests: [RegionDigest] = []
    var digested: [Int]
    /// By region: what being served there cost, and when, the last ones.
    var prices: [[(time: UInt64, cost: Int64?)]]
    /// By proxy: requests passed on, for taking other regions' proxies in turn.
    var passed: [Int]
    var work = SharingWork()

    static let pricesKept = 64

    init(_ sharing: ProxySharing, _ scenario: Scenario, proxies: Int) {
        let (regions, servers) = (scenario.network.rtt.count, scenario.servers.count)
        self.sharing = sharing
        news = Array(repeating: [], count: regions)
        heard = Array(repeating: Array(repeating: 0, count: regions), count: proxies)
        let none = Array(repeating: SIMD8<Int64>.zero, count: servers)
        others = Array(repeating: none, count: proxies)
        told = others
        digested = Array(repeating: 0, count: regions)
        prices = Array(repeating: [], count: regions)
        passed = Array(repeating: 0, count: proxies)
        guard case .regions(_, let settings) = sharing, settings.bits > 0 else { return }
        for region in 0..<regions {
            let tokens = scenario.servers.filter { $0.region == region }.reduce(0) { $0 + $1.engine.kvTokens }
            digests.append(
                RegionDigest(
                    blocks: tokens / PrefixIndex.blockTokens, every: Int(settings.every), bitsPerMark: settings.bits))
        }
        work.digestBytes = digests.first?.filterBytes ?? 0
    }

    /// Milliseconds until those who listen know; nil: nobody listens.
    var tellMs: Double? {
        switch sharing {
        case .nothing: nil
        case .everything(let tellMs), .regions(let tellMs, _): tellMs
        }
    }
}

extension Load {
    /// Its five figures, to be added and subtracted.
    var figures: SIMD8<Int64> {
        let five = [queuedRequests, runningRequests, queuedTokens, runningTokens, owedTokens]
        var figures = SIMD8<Int64>.zero
        for (index, figure) in five.enumerated() { figures[index] = Int64(clamping: figure) }
        return figures
    }

    /// News of several tellers come one after the other, so for a moment a sum can be below 0.
    init(_ figures: SIMD8<Int64>) {
        self.init()
        queuedRequests = UInt64(max(figures[0], 0))
        runningRequests = UInt64(max(figures[1], 0))
        queuedTokens = UInt64(max(figures[2], 0))
        runningTokens = UInt64(max(figures[3], 0))
        owedTokens = min(UInt64(max(figures[4], 0)), queuedTokens)
    }
}
