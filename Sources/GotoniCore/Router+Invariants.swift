extension Router {
    /// The first promise that is broken, in words; nil if all hold. Takes time in proportion to what is held.
    public func violation() throws(RouterError) -> StaticString? {
        let loads = try Buffer<Load>(count: servers.highWater)
        var ticketCells = 0
        var open = 0
        var row = ledger.nextOpen(after: nil)
        while let current = row {
            let entry = ledger[current]
            open += 1
            if open > ledger.open { return "the order of tickets has a loop" }
            if entry.phase == .ended { return "an ended ticket is in the order" }
            loads[Int(entry.slot)] = loads[Int(entry.slot)] + entry.load
            ticketCells += Run.cells(for: Int(entry.run.count), offset: Int(entry.run.offset))
            row = ledger.nextOpen(after: current)
        }
        if open != ledger.open { return "an open ticket is in no order" }
        var eligible = 0
        for slot in 0..<servers.highWater {
            let row = servers[Slot(slot)]
            if row.own != loads[slot] { return "a server's load is not the sum of its tickets" }
            let standing = servers.standing[slot]
            if standing != servers.standingCost(Slot(slot)) { return "a server's standing cost is stale" }
            if standing != ServerTable.notEligible { eligible += 1 }
            let group = slot / ServerTable.slotsPerLeast
            if servers.least[group] != servers.leastCost(group) { return "a least standing cost is stale" }
            if servers.tokenCost[slot] != servers.standingTokenCost(Slot(slot))
                || servers.leastTokenCost[group] != servers.leastTokenCost(group)
            {
                return "a cost of prefill is stale"
            }
            if !row.isUsed && trie.holders[slot].blocks != 0 {
                return "a removed server holds something"
            }
        }
        if eligible != servers.eligibleCount { return "the number of eligible servers is wrong" }
        return try trie.violation(otherCells: ticketCells)
    }
}
