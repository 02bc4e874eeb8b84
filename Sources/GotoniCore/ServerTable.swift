/// The servers, in rows that never move, found by id; and the order in which their metrics grow stale.
struct ServerTable: ~Copyable {
    private(set) var rows: Buffer<ServerRow>
    private var byID: LinearHash
    /// Links of `byID` and of the list of free rows. A number there is a row + 1; 0 is none.
    private let links: Buffer<UInt32>
    private let limit: Int
    /// Rows ever used: the ones to scan. Freed rows below it are used again first.
    private(set) var highWater = 0
    private var freeRow: UInt32 = 0
    private(set) var count = 0

    /// Sum of the foreign load of the servers whose metrics are fresh, and how many those are.
    private(set) var foreignTotal = Load()
    private(set) var reporting: UInt64 = 0
    private var oldestMetrics: UInt32 = 0
    private var newestMetrics: UInt32 = 0

    init(limit: Int) throws(RouterError) {
        let rows = try Buffer<ServerRow>(count: limit)
        let byID = try LinearHash(capacity: limit)
        let links = try Buffer<UInt32>(count: limit)
        self.rows = rows
        self.byID = byID
        self.links = links
        self.limit = limit
    }

    subscript(slot: Slot) -> ServerRow {
        @inline(__always) unsafeAddress { UnsafePointer(rows.base + Int(slot)) }
        @inline(__always) nonmutating unsafeMutableAddress { rows.base + Int(slot) }
    }

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
        rows[Int(item - 1)].id = id
        rows[Int(item - 1)].isUsed = true
        byID.insert(
            item, hash: Self.hash(id), link: { links + Int($0 - 1) },
            hashOf: { Self.hash(rows[Int($0 - 1)].id) })
        return Slot(item - 1)
    }

    mutating func remove(_ slot: Slot) {
        forgetMetrics(slot)
        let links = links.base
        let item = UInt32(slot) + 1
        byID.remove(item, hash: Self.hash(rows[Int(slot)].id), link: { links + Int($0 - 1) })
        rows[Int(slot)] = ServerRow()
        links[Int(slot)] = freeRow
        freeRow = item
        count -= 1
    }

    // MARK: Foreign load

    mutating func setForeign(_ slot: Slot, _ load: Load, now: Nanoseconds) {
        forgetMetrics(slot)
        let item = UInt32(slot) + 1
        self[slot].foreign = load
        self[slot].metricsKnown = true
        self[slot].metricsTime = now
        self[slot].metricsNewer = 0
        self[slot].metricsOlder = newestMetrics
        if newestMetrics != 0 { rows[Int(newestMetrics - 1)].metricsNewer = item } else { oldestMetrics = item }
        newestMetrics = item
        foreignTotal = foreignTotal + load
        reporting += 1
    }

    mutating func forgetMetrics(_ slot: Slot) {
        guard self[slot].metricsKnown else { return }
        let (newer, older) = (self[slot].metricsNewer, self[slot].metricsOlder)
        if newer != 0 { rows[Int(newer - 1)].metricsOlder = older } else { newestMetrics = older }
        if older != 0 { rows[Int(older - 1)].metricsNewer = newer } else { oldestMetrics = newer }
        foreignTotal = foreignTotal - self[slot].foreign
        reporting -= 1
        self[slot].foreign = Load()
        self[slot].metricsKnown = false
    }

    /// Makes observations older than `ttl` unknown again.
    mutating func forgetStaleMetrics(now: Nanoseconds, ttl: Nanoseconds) {
        while oldestMetrics != 0 {
            let slot = Slot(oldestMetrics - 1)
            guard now.since(self[slot].metricsTime) > ttl else { return }
            forgetMetrics(slot)
        }
    }

    /// What is assumed of a server whose metrics are unknown: the mean of those that report.
    var foreignPrior: Load { foreignTotal.divided(by: reporting) }

    /// Load as a decision sees it: ours and what others put there.
    @inline(__always) func load(_ slot: Slot, prior: Load) -> Load {
        self[slot].own + (self[slot].metricsKnown ? self[slot].foreign : prior)
    }
}
