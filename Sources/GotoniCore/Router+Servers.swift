extension Router {
    /// Adds a server, state up. Errors: duplicateServer, capacity.
    public mutating func add(_ server: ServerConfiguration, now: Nanoseconds) throws(RouterError) {
        advance(to: now)
        configure(try servers.add(server.id), server)
    }

    /// Replaces the limits of a known server; a smaller cache evicts at once. Errors: unknownServer.
    public mutating func update(_ server: ServerConfiguration, now: Nanoseconds) throws(RouterError) {
        advance(to: now)
        configure(try servers.slot(server.id), server)
    }

    /// Errors: unknownServer.
    public mutating func mark(_ id: ServerID, _ state: ServerState, now: Nanoseconds) throws(RouterError) {
        advance(to: now)
        let slot = try servers.slot(id)
        servers.update(slot) { $0.state = state }
        if state == .down { forgetPrefixes(slot) }
    }

    /// Removes a server with its prefixes, and ends its tickets. Errors: unknownServer.
    public mutating func remove(_ id: ServerID, now: Nanoseconds) throws(RouterError) {
        advance(to: now)
        let slot = try servers.slot(id)
        var row = ledger.nextOpen(after: nil)
        while let open = row {
            row = ledger.nextOpen(after: open)
            guard ledger[open].slot == slot else { continue }
            settle(ledger[open], .notSent)
            endTicket(open)
            counters.orphaned += 1
        }
        forgetPrefixes(slot)
        trie.setCapacity(slot, blocks: 0)
        servers.remove(slot)
    }

    public var serverCount: Int { servers.count }

    /// Calls `body` with the id of every server.
    public func forEachServer(_ body: (ServerID) -> Void) {
        for slot in 0..<servers.highWater where servers[Slot(slot)].isUsed { body(servers[Slot(slot)].id) }
    }

    /// Errors: unknownServer.
    public mutating func info(_ id: ServerID, now: Nanoseconds) throws(RouterError) -> ServerInfo {
        advance(to: now)
        let slot = try servers.slot(id)
        let row = servers[slot]
        let holder = trie.holders[Int(slot)]
        return ServerInfo(
            id: id, state: row.state, maxRequests: row.maxRequests == .max ? nil : row.maxRequests,
            kvCapacityTokens: row.kvCapacityTokens,
            heldTokens: UInt64(holder.blocks * configuration.blockTokens),
            rtt: row.rtt, own: row.own,
            foreign: row.metricsKnown ? row.foreign : nil, parity: row.parity, events: row.events,
            learned: servers.speeds.learned(slot))
    }

    /// Forgets what a server holds, and the names its KV events gave.
    mutating func forgetPrefixes(_ slot: Slot) {
        trie.clear(slot)
        trie.clearExternals(slot)
    }

    private mutating func configure(_ slot: Slot, _ server: ServerConfiguration) {
        servers.update(slot) { $0.maxRequests = server.maxRequests ?? .max }
        setCapacity(slot, server.kvCapacityTokens ?? configuration.defaultKVCapacityTokens)
    }

    /// Sets the KV cache of a server; of a block that does not fit whole nothing is held.
    mutating func setCapacity(_ slot: Slot, _ tokens: UInt64) {
        servers.update(slot) { $0.kvCapacityTokens = tokens }
        let blocks = tokens == .max ? .max : Int(clamping: tokens / UInt64(configuration.blockTokens))
        trie.setCapacity(slot, blocks: blocks)
    }
}
