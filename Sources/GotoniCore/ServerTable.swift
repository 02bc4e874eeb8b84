/// The servers, in rows that never move, found by id; what each one has to do; and the order in which metrics grow stale.
///
/// Whatever changes a row here also changes its *standing cost*: the part of the cost that does not depend on the prompt (of
/// predicted times what they are at least), in one array of eight bytes a server, and the least of each 64 in another; the
/// same for what a token of prefill costs there. A decision among ten thousand servers reads the arrays of the least, and of the
/// others only where a cheap enough server may stand.
struct ServerTable: ~Copyable {
    private let rows: Buffer<ServerRow>
    /// By slot: cost without prefill and without the prior for unknown metrics; `notEligible` where no request may go.
    let standing: Buffer<Int64>
    /// The least standing cost of the slots 64·i ..< 64·(i + 1).
    let least: Buffer<Int64>
    /// Nanoseconds that a token of prefill costs there at least, by slot and the least of each 64.
    let tokenCost: Buffer<Int64>
    let leastTokenCost: Buffer<Int64>
    /// By slot: 1 where metrics are unknown.
    let unknown: Buffer<UInt8>
    /// Servers that may be chosen.
    private(set) var eligibleCount = 0
    /// What servers take, as their answers have taught.
    private(set) var speeds: Speeds
    /// What all this was last computed with.
    private var priced: Tuning?
    private var rates = CostRates()
    private var weights = PredictionWeights()
    /// Costs are predicted times, not the GORGO cost.
    private var predicts = false

    private var byID: LinearHash
    /// Links of `byID` and of the list of free rows. A number there is a row + 1; 0 is none.
    private let links: Buffer<UInt32>
    private let limit: Int
    /// Rows ever used: the ones to scan. Freed rows below it are used again first.
    private(set) var highWater = 0
    private var freeRow: UInt32 = 0
    private(set) var count = 0

    /// Sum of the foreign load of the servers whose metrics are fresh, and how many those are.
    private var foreignTotal = Load()
    private var reporting: UInt64 = 0
    private var oldestMetrics: UInt32 = 0
    private var newestMetrics: UInt32 = 0

    static let notEligible = Int64.max
    static let slotsPerLeast = 64

    init(limit: Int) throws(RouterError) {
        let rows = try Buffer<ServerRow>(count: limit)
        let standing = try Buffer<Int64>(count: limit)
        let least = try Buffer<Int64>(count: limit / Self.slotsPerLeast + 1)
        let tokenCost = try Buffer<Int64>(count: limit)
        let leastTokenCost = try Buffer<Int64>(count: limit / Self.slotsPerLeast + 1)
        let speeds = try Speeds(limit: limit)
        let unknown = try Buffer<UInt8>(count: limit)
        let byID = try LinearHash(capacity: limit)
        let links = try Buffer<UInt32>(count: limit)
        self.rows = rows
        for slot in 0..<limit { standing[slot] = Self.notEligible }
        for group in 0..<least.count { least[group] = Self.notEligible }
        self.standing = standing
        self.least = least
        self.tokenCost = tokenCost
        self.leastTokenCost = leastTokenCost
        self.speeds = speeds
        self.unknown = unknown
        self.byID = byID
        self.links = links
        self.limit = limit
    }

    /// Read only: the functions below change rows.
    subscript(slot: Slot) -> ServerRow { rows[Int(slot)] }

    // MARK: Rows

    private static func hash(_ id: ServerID) -> UInt64 { Key.mix(id.rawValue, 0) }

    func find(_ id: ServerID) -> Slot? {
        var item = byID.first(Self.hash(id))
        while item != 0 {
            if rows[Int(item - 1)].id == id { return Slot(item - 1) }
            item = links[Int(item - 1)]
        }
        return nil
    }

    func slot(_ id: ServerID) throws(RouterError) -> Slot {
        guard let slot = find(id) else { throw .unknownServer }
        return slot
    }

    mutating func add(_ id: ServerID) throws(RouterError) -> Slot {
        guard find(id) == nil else { throw .duplicateServer }
        guard count < limit else { throw .capacity }
        let item: UInt32
        if freeRow != 0 {
            item = freeRow
            freeRow = links[Int(item - 1)]
        } else {
            highWater += 1
            item = UInt32(highWater)
        }
        count += 1
        let (rows, links) = (rows.base, links.base)
        rows[Int(item - 1)] = ServerRow()
        byID.insert(
            item, hash: Self.hash(id), link: { links + Int($0 - 1) }, hashOf: { Self.hash(rows[Int($0 - 1)].id) })
        update(Slot(item - 1)) {
            $0.id = id
            $0.isUsed = true
        }
        return Slot(item - 1)
    }

    mutating func remove(_ slot: Slot) {
        forgetMetrics(slot)
        let links = links.base
        let item = UInt32(slot) + 1
        byID.remove(item, hash: Self.hash(rows[Int(slot)].id), link: { links + Int($0 - 1) })
        speeds.forget(slot)
        update(slot) { $0 = ServerRow() }
        links[Int(slot)] = freeRow
        freeRow = item
        count -= 1
    }

    /// Changes a row, and with it the standing cost. The order of metrics is not `change`'s to touch.
    @inline(__always) mutating func update(_ slot: Slot, _ change: (inout ServerRow) -> Void) {
        change(&rows[Int(slot)])
        reprice(slot)
    }

    // MARK: Standing cost

    mutating func setPricing(_ tuning: Tuning, predicts: Bool) {
        guard tuning != priced || predicts != self.predicts else { return }
        let isSameSpeed = priced?.hasSameSpeed(as: tuning) ?? false
        priced = tuning
        rates = tuning.rates
        weights = tuning.predicted
        self.predicts = predicts
        if !isSameSpeed { speeds.set(prior: tuning.speed, isLearning: tuning.isLearning, slots: highWater) }
        for slot in 0..<highWater { reprice(Slot(slot)) }
    }

    /// A request's first token came `time` milliseconds after it was routed.
    mutating func observe(_ slot: Slot, firstToken time: Double, _ situation: Situation) {
        speeds.observe(slot, firstToken: time, situation)
        if predicts { reprice(slot) }
    }

    /// An answer took `time` milliseconds from its first token on; see `Speeds`.
    mutating func observe(_ slot: Slot, decode time: Double, tokens: UInt64?, requests: Double) {
        speeds.observe(slot, decode: time, tokens: tokens, requests: requests)
        if predicts { reprice(slot) }
    }

    /// What was learned, of a snapshot: of all servers, then of each. Errors: snapshot.
    mutating func readSpeeds(_ input: inout ByteReader) throws(RouterError) {
        try speeds.readFleet(&input)
        for slot in 0..<highWater {
            try speeds.read(Slot(slot), &input)
            reprice(Slot(slot))
        }
    }

    private mutating func reprice(_ slot: Slot) {
        let before = standing[Int(slot)]
        let price = standingCost(slot)
        standing[Int(slot)] = price
        let token = standingTokenCost(slot)
        unknown[Int(slot)] = rows[Int(slot)].metricsKnown ? 0 : 1
        eligibleCount += (price != Self.notEligible ? 1 : 0) - (before != Self.notEligible ? 1 : 0)
        let group = Int(slot) / Self.slotsPerLeast
        if price <= least[group] {
            least[group] = price
        } else if before == least[group] {
            least[group] = leastCost(group)
        }
        if token != tokenCost[Int(slot)] {
            tokenCost[Int(slot)] = token
            leastTokenCost[group] = leastTokenCost(group)
        }
    }

    /// What `leastTokenCost` must be.
    func leastTokenCost(_ group: Int) -> Int64 {
        let first = group * Self.slotsPerLeast
        var cost = Int64.max
        for slot in first..<min(first + Self.slotsPerLeast, highWater) { cost = min(cost, tokenCost[slot]) }
        return cost
    }

    /// What `tokenCost` must be.
    func standingTokenCost(_ slot: Slot) -> Int64 {
        guard rows[Int(slot)].isUsed else { return .max }
        guard predicts else { return rates.prefill }
        let model = speeds.model(slot)
        // One that has answered nothing may turn out to be any.
        return model.observations > 0 ? Int64(weights.prefill * model.speed.prefill(requests: 0) * 1_000) : 0
    }

    /// What `least` must be.
    func leastCost(_ group: Int) -> Int64 {
        let first = group * Self.slotsPerLeast
        var cost = Self.notEligible
        for slot in first..<min(first + Self.slotsPerLeast, standing.count) { cost = min(cost, standing[slot]) }
        return cost
    }

    /// What `standing` must be.
    func standingCost(_ slot: Slot) -> Int64 {
        let row = rows.base + Int(slot)
        guard row.pointee.isUsed, row.pointee.state == .up, row.pointee.own.requests < UInt64(row.pointee.maxRequests)
        else { return Self.notEligible }
        let load = row.pointee.load(prior: Load())
        if predicts {
            return weights.floor(
                rtt: row.pointee.rtt, requests: Double(load.requests), speeds.model(slot))
        }
        return GorgoCost(rtt: row.pointee.rtt, uncached: 0, evicted: 0, load: load, rates: rates).total
    }

    // MARK: Load of other routers

    /// Of what metrics report and others say, what is older than `ttl`; before either is set anew.
    mutating func forgetStaleForeign(_ slot: Slot, now: Nanoseconds, ttl: Nanoseconds) {
        rows[Int(slot)].reported.forgetIfStale(now: now, ttl: ttl)
        rows[Int(slot)].told.forgetIfStale(now: now, ttl: ttl)
    }

    /// What others put on a server, by its metrics, beyond what they say themselves.
    mutating func setReported(_ slot: Slot, _ load: Load, now: Nanoseconds) {
        rows[Int(slot)].reported = TimedLoad(load: load, time: now)
        setForeign(slot, now: now)
    }

    /// The same, by what they say.
    mutating func setTold(_ slot: Slot, _ load: Load, now: Nanoseconds) {
        // Until they spoke it was among what its metrics report.
        if rows[Int(slot)].told.time == nil { rows[Int(slot)].reported = TimedLoad() }
        rows[Int(slot)].told = TimedLoad(load: load, time: now)
        setForeign(slot, now: now)
    }

    private mutating func setForeign(_ slot: Slot, now: Nanoseconds) {
        let row = rows[Int(slot)]
        forgetMetrics(slot)
        let load = row.reported.load + row.told.load
        let item = UInt32(slot) + 1
        let older = newestMetrics
        if older != 0 { rows[Int(older - 1)].metricsNewer = item } else { oldestMetrics = item }
        newestMetrics = item
        foreignTotal = foreignTotal + load
        reporting += 1
        update(slot) {
            $0.foreign = load
            ($0.reported, $0.told) = (row.reported, row.told)
            $0.metricsKnown = true
            $0.metricsTime = now
            $0.metricsNewer = 0
            $0.metricsOlder = older
        }
    }

    private mutating func forgetMetrics(_ slot: Slot) {
        let row = rows[Int(slot)]
        guard row.metricsKnown else { return }
        let (newer, older) = (row.metricsNewer, row.metricsOlder)
        if newer != 0 { rows[Int(newer - 1)].metricsOlder = older } else { newestMetrics = older }
        if older != 0 { rows[Int(older - 1)].metricsNewer = newer } else { oldestMetrics = newer }
        foreignTotal = foreignTotal - row.foreign
        reporting -= 1
        update(slot) {
            $0.foreign = Load()
            ($0.reported, $0.told) = (TimedLoad(), TimedLoad())
            $0.metricsKnown = false
        }
    }

    /// Makes observations older than `ttl` unknown again.
    mutating func forgetStaleMetrics(now: Nanoseconds, ttl: Nanoseconds) {
        while oldestMetrics != 0 {
            let slot = Slot(oldestMetrics - 1)
            guard now.since(rows[Int(slot)].metricsTime) > ttl else { return }
            forgetMetrics(slot)
        }
    }

    /// What is assumed of a server whose metrics are unknown: the mean of those that report.
    var foreignPrior: Load { foreignTotal.divided(by: reporting) }

    // MARK: Table of candidates

    /// A view for one decision among `count` eligible servers; `holders` are the trie's.
    func candidates(
        _ matches: borrowing Matches, _ holders: borrowing Buffer<PrefixTrie.Holder>, count: Int,
        prompt: borrowing PromptDigests, blockTokens: Int, sessionKey: UInt64, now: Nanoseconds, chance: Chance,
        _ arms: Arms, _ arm: Tuner.Arm
    ) -> CandidateTable {
        let prior = foreignPrior
        let (rates, weights) = arm == .control ? (rates, weights) : (arms.trial.rates, arms.trial.predicted)
        let priorCost =
            predicts ? 0 : GorgoCost(rtt: 0, uncached: 0, evicted: 0, load: prior, rates: rates).total
        return CandidateTable(
            rows: UnsafePointer(rows.base), standing: UnsafePointer(standing.base),
            least: UnsafePointer(least.base), tokenCost: UnsafePointer(tokenCost.base),
            leastTokenCost: UnsafePointer(leastTokenCost.base), unknown: UnsafePointer(unknown.base),
            holders: UnsafePointer(holders.base), matched: UnsafePointer(matches.blocks.base),
            listed: UnsafePointer(matches.listed.base),
            listedCount: matches.count, wideDepth: matches.wideDepth, slots: highWater, count: count,
            promptTokens: prompt.tokens, promptBlocks: prompt.blocks,
            blockTokens: blockTokens,
            rates: rates, foreignPrior: prior, priorCost: priorCost, sessionKey: sessionKey, now: now,
            models: speeds.models, fleet: speeds.fleet, weights: weights, predicts: predicts,
            leastShare: arm == .control ? nil : arms.leastShare, doubtSeed: chance.random.state)
    }
}
