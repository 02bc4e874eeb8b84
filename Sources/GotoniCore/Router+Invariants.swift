extension Router {
    /// The first promise that is broken, in words; nil if all hold. Takes time in proportion to what is held.
    public func violation() throws(RouterError) -> StaticString? {
        var loads = ServerLoads(try Buffer<Load>(count: servers.highWater))
        var ticketCells = 0
        var open = 0
        var row = ledger.nextOpen(after: nil)
        while let current = row {
            let entry = ledger[current]
            open += 1
            if open > ledger.open { return "the order of tickets has a loop" }
            if entry.phase == .ended { return "an ended ticket is in the order" }
            loads.count(entry)
            ticketCells += Run.cells(for: Int(entry.run.count), offset: Int(entry.run.offset))
            row = ledger.nextOpen(after: current)
        }
        if open != ledger.open { return "an open ticket is in no order" }
        for slot in 0..<servers.highWater {
            if servers[Slot(slot)].own != loads.sums[slot] { return "a server's load is not the sum of its tickets" }
            if !servers[Slot(slot)].isUsed && trie.holders[slot].blocks != 0 { return "a removed server holds something" }
        }
        return try trie.violation(otherCells: ticketCells + external.count)
    }

    private struct ServerLoads: ~Copyable {
        let sums: Buffer<Load>
        init(_ sums: consuming Buffer<Load>) { self.sums = sums }

        mutating func count(_ entry: Ledger.Entry) {
            if entry.phase == .running {
                sums[Int(entry.slot)].runningRequests += 1
                sums[Int(entry.slot)].runningTokens += entry.tokens
            } else {
                sums[Int(entry.slot)].queuedRequests += 1
                sums[Int(entry.slot)].queuedTokens += entry.tokens
            }
        }
    }
}
