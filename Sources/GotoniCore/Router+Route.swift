extension Router {
    /// Chooses a server for the prompt and reserves its place there.
    /// Errors: noServer, saturated, capacity (tickets), memory.
    public mutating func route(
        _ prompt: borrowing PromptDigests, _ request: Request, excluding: Span<ServerID>, now: Nanoseconds
    ) throws(RouterError) -> Decision {
        advance(to: now)
        do throws(RouterError) {
            guard !ledger.isFull else { throw .capacity }
            var chance = chance
            let chosen = try decide(prompt, request, excluding, &chance)
            var decision = chosen.decision
            decision.ticket = try reserve(prompt, chosen)
            self.chance = chance
            counters.routed += 1
            counters.promptTokens += UInt64(prompt.tokens)
            counters.matchedTokens += UInt64(decision.matchedTokens)
            return decision
        } catch {
            counters.refused += 1
            throw error
        }
    }

    /// The table behind the decision that `route` would take now, without taking it: nothing is reserved, no chance is
    /// used up. `row` gets every server, the chosen one last marked; when none is eligible the rows still come, and the
    /// error says why.
    public mutating func explain(
        _ prompt: borrowing PromptDigests, _ request: Request, excluding: Span<ServerID>, now: Nanoseconds,
        row: (Candidate) -> Void
    ) throws(RouterError) -> Decision {
        advance(to: now)
        matchServers(prompt)
        let count = selectEligible(excluding)
        let table = table(prompt, request, count)
        for slot in 0..<servers.highWater where servers[Slot(slot)].isUsed {
            row(table.row(Slot(slot), verdict(Slot(slot), excluding)))
        }
        var chance = chance
        return try decide(prompt, request, excluding, &chance).decision
    }

    private struct Chosen {
        var decision: Decision
        var slot: Slot
    }

    private mutating func decide(
        _ prompt: borrowing PromptDigests, _ request: Request, _ excluding: Span<ServerID>, _ chance: inout Chance
    ) throws(RouterError) -> Chosen {
        matchServers(prompt)
        let count = selectEligible(excluding)
        guard count > 0 else { throw whyNone(excluding) }
        let table = table(prompt, request, count)
        let choice = policy.choose(table, &chance)
        let row = table[choice.row]
        return Chosen(
            decision: Decision(
                ticket: nil, server: row.server, promptTokens: prompt.tokens, matchedTokens: row.matchedTokens,
                cost: row.cost, policy: policy, reason: choice.reason, eligible: count),
            slot: eligible[choice.row])
    }

    private mutating func matchServers(_ prompt: borrowing PromptDigests) {
        matched.fill(servers.highWater, with: 0)
        trie.match(prompt.values, prompt.blocks, into: matched.base)
    }

    private func table(_ prompt: borrowing PromptDigests, _ request: Request, _ count: Int) -> CandidateTable {
        CandidateTable(
            servers: UnsafePointer(servers.rows.base), matched: UnsafePointer(matched.base),
            eligible: UnsafePointer(eligible.base), count: count, promptTokens: prompt.tokens,
            blockTokens: configuration.blockTokens, rates: tuning.rates, foreignPrior: servers.foreignPrior,
            sessionKey: request.sessionKey)
    }

    /// Lists the slots that may be chosen and gives their number.
    private mutating func selectEligible(_ excluding: Span<ServerID>) -> Int {
        var count = 0
        for slot in 0..<servers.highWater {
            let slot = Slot(truncatingIfNeeded: slot)
            if servers[slot].isUsed && verdict(slot, excluding) == .eligible {
                eligible[count] = slot
                count += 1
            }
        }
        return count
    }

    @inline(__always) private func verdict(_ slot: Slot, _ excluding: Span<ServerID>) -> Verdict {
        if servers[slot].state != .up { return .notUp }
        for index in 0..<excluding.count where excluding[index] == servers[slot].id { return .excluded }
        return servers[slot].own.requests >= UInt64(servers[slot].maxRequests) ? .atLimit : .eligible
    }

    private func whyNone(_ excluding: Span<ServerID>) -> RouterError {
        for slot in 0..<servers.highWater where servers[Slot(slot)].isUsed {
            if verdict(Slot(slot), excluding) == .atLimit { return .saturated }
        }
        return .noServer
    }

    private mutating func reserve(_ prompt: borrowing PromptDigests, _ chosen: Chosen) throws(RouterError) -> Ticket {
        // Room for the digests when the ticket is committed; here, so that a commit allocates nothing.
        try digests.grow(to: prompt.blocks)
        let run = keep(prompt)
        return ledger.reserve(
            chosen.slot, tokens: UInt64(prompt.tokens), matched: UInt64(chosen.decision.matchedTokens), run: run,
            now: now, servers: servers)
    }

    /// Keeps a prompt's digests for its ticket, in the trie's cells. Older prefixes make room; a prompt that does not
    /// fit even so is not kept, and its request teaches the trie nothing.
    private mutating func keep(_ prompt: borrowing PromptDigests) -> Run {
        let wanted = Run.cells(for: prompt.blocks)
        guard wanted <= trie.cells.count / 2 else { return noRoom() }
        while trie.freeCells < wanted && trie.oldest != 0 { trie.evictOldest() }
        guard trie.freeCells >= wanted else { return noRoom() }
        return trie.makeRun(prompt.values, prompt.blocks)
    }

    private mutating func noRoom() -> Run {
        trie.counts.truncated += 1
        return Run()
    }
}
