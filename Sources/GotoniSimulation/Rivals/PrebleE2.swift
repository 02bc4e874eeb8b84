import GotoniCore

/// Preble's E2. If more of the prompt is cached somewhere than is not, exploit: of the servers with the longest match
/// the cheapest; otherwise explore: the cheapest of all. The cost is GPU time, over the last 3 minutes:
///
///     L  prefill of what was not cached and decoding of a mean answer, for every request placed there
///   + M  prefilling again what this request would evict, times the share of requests that use it
///   + P  prefill of what is not cached there
///
/// Exploiting requests of the server with the highest L go to the one with the lowest while it is above 1.5 times that.
///
/// Source: Preble, arXiv 2407.00023v2, algorithms 1 and 2; 1.5, and that rebalancing begins after 50 requests per
/// server, are of its code (WukLab/preble 8e7906a), for the paper has no figures. Simplified: prefill and decoding are
/// linear (ms per token); answers are averaged over those that ended, 45 tokens as long as none has; what is evicted is
/// tokens, not nodes, and the share that uses them is that of cached tokens in all prompts placed there. Left out: the
/// test of decode ratios (its constant is not given), replication when queueing doubles, priorities inside the engine.
struct PrebleE2: RivalPolicy {
    var prefill = 0.125
    var decode = 6.0
    var balance = 1.5
    var index: PrefixIndex { .bounded }

    private var placements = Recent<Placed>()
    private var answers = Recent<Int>()
    private var count = 0
    /// Lengths of answers under way, which the policy learns when they have ended; by ticket.
    private var underWay: [UInt64: Int] = [:]
    private var asked: Int?

    private struct Placed {
        var cached: Int
        var missed: Int
    }

    private static let placementsBeforeBalance = 50
    private static let answerBefore = 45.0

    init() {}

    mutating func choose(_ rows: [Row], _ ask: Ask, _ chance: inout SplitMix64) -> Int? {
        asked = ask.outputTokens
        let history = history(rows, ask.now)
        let costs = rows.indices.map { cost(rows[$0], history[$0]) }
        let cached = rows.map(\.matchedTokens).max() ?? 0
        guard ask.tokens.count - cached < cached else { return cheapest(Array(rows.indices), costs) }
        let best = cheapest(rows.indices.filter { rows[$0].matchedTokens == cached }, costs)
        let loads = history.map(load)
        guard count >= Self.placementsBeforeBalance * rows.count, let best, let most = loads.max(),
            let least = loads.min(), most > balance * least, loads[best] == most
        else { return best }
        return loads.firstIndex(of: least)
    }

    mutating func placed(_ placement: Balancer.Placement, _ tokens: [UInt32], now: Nanoseconds) {
        let what = Placed(cached: placement.matchedTokens, missed: placement.uncachedTokens)
        placements.append(what, placement.server, now)
        count += 1
        if let asked { underWay[placement.ticket.rawValue] = asked }
        asked = nil
    }

    mutating func ended(_ placement: Balancer.Placement, now: Nanoseconds) {
        guard let answer = underWay.removeValue(forKey: placement.ticket.rawValue) else { return }
        answers.append(answer, placement.server, now)
    }

    // MARK: Cost

    /// What happened at one server in the last 3 minutes.
    private struct History {
        var requests = 0
        var cached = 0
        var missed = 0
        var answers = 0
        var answerTokens = 0
    }

    private func history(_ rows: [Row], _ now: Nanoseconds) -> [History] {
        var at: [History] = Array(repeating: History(), count: (rows.map(\.server).max() ?? -1) + 1)
        placements.forEach(now) { server, placed in
            guard at.indices.contains(server) else { return }
            at[server].requests += 1
            at[server].cached += placed.cached
            at[server].missed += placed.missed
        }
        answers.forEach(now) { server, tokens in
            guard at.indices.contains(server) else { return }
            at[server].answers += 1
            at[server].answerTokens += tokens
        }
        return rows.map { at[$0.server] }
    }

    private func load(_ history: History) -> Double {
        let answer =
            history.answers > 0 ? Double(history.answerTokens) / Double(history.answers) : Self.answerBefore
        return prefill * Double(history.missed) + decode * answer * Double(history.requests)
    }

    private func cost(_ row: Row, _ history: History) -> Double {
        let missed = row.promptTokens - row.matchedTokens
        let free = row.reported.kvTokens - max(row.heldTokens, row.reported.usedTokens)
        let evicted = max(missed - max(free, 0), 0)
        let placed = history.cached + history.missed
        let share = placed > 0 ? Double(history.cached) / Double(placed) : 0
        return load(history) + prefill * Double(evicted) * share + prefill * Double(missed)
    }

    private func cheapest(_ candidates: [Int], _ costs: [Double]) -> Int? {
        candidates.min { InOrder(costs[$0], $0) < InOrder(costs[$1], $1) }
    }
}

/// What happened in the last 3 minutes, the latest 65,536 at most.
private struct Recent<Value> {
    private var entries: [(time: Nanoseconds, server: Int, value: Value)] = []
    /// Those before are gone already.
    private var head = 0

    private static var window: Nanoseconds { Nanoseconds(seconds: 180) }
    private static var limit: Int { 1 << 16 }

    mutating func append(_ value: Value, _ server: Int, _ now: Nanoseconds) {
        entries.append((now, server, value))
        while head < entries.count, now.since(entries[head].time) > Self.window || entries.count - head > Self.limit {
            head += 1
        }
        guard head > entries.count / 2 else { return }
        entries.removeFirst(head)
        head = 0
    }

    func forEach(_ now: Nanoseconds, _ body: (Int, Value) -> Void) {
        for entry in entries[head...] where now.since(entry.time) <= Self.window { body(entry.server, entry.value) }
    }
}
