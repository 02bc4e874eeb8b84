extension Router {
    /// Chooses a server for the prompt and reserves its place there. `row`, if given, gets the table behind it, as
    /// `explain` would have told it before.
    /// Errors: noServer, saturated, capacity (tickets), memory.
    public mutating func route(
        _ prompt: borrowing PromptDigests, _ request: Request, excluding: Span<ServerID>, now: Nanoseconds,
        row: ((Candidate) -> Void)? = nil
    ) throws(RouterError) -> Decision {
        advance(to: now)
        do throws(RouterError) {
            guard !ledger.isFull else { throw .capacity }
            var chance = chance
            let arm = tuner.arm(session: request.sessionKey)
            let table = candidates(prompt, request, excluding, arm)
            if let row { tell(table, row) }
            let chosen = try decide(table, &chance)
            var decision = chosen.decision
            decision.ticket = try reserve(prompt, chosen, arm)
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
    /// used up. `row` gets every server, also when none is eligible and the error says why.
    public mutating func explain(
        _ prompt: borrowing PromptDigests, _ request: Request, excluding: Span<ServerID>, now: Nanoseconds,
        row: (Candidate) -> Void
    ) throws(RouterError) -> Decision {
        advance(to: now)
        let arm = tuner.arm(session: request.sessionKey)
        let table = candidates(prompt, request, excluding, arm)
        tell(table, row)
        var chance = chance
        return try decide(table, &chance).decision
    }

    private func tell(_ table: borrowing CandidateTable, _ row: (Candidate) -> Void) {
        for slot in 0..<servers.highWater where servers[Slot(slot)].isUsed { row(table[slot]) }
    }

    private struct Chosen {
        var decision: Decision
        var slot: Slot
        var situation: Situation
    }

    private func decide(_ table: borrowing CandidateTable, _ chance: inout Chance) throws(RouterError) -> Chosen {
        guard table.count > 0 else { throw whyNone(table) }
        let choice = policy.choose(table, &chance)
        let row = table[choice.slot]
        return Chosen(
            decision: Decision(
                ticket: nil, server: row.server, promptTokens: table.promptTokens, matchedTokens: row.matchedTokens,
                cost: row.cost, prediction: row.prediction, policy: policy, reason: choice.reason,
                isTrial: table.leastShare != nil, eligible: table.count),
            slot: Slot(choice.slot), situation: row.situation)
    }

    /// Matches the prompt and lays out the rows for it.
    private mutating func candidates(
        _ prompt: borrowing PromptDigests, _ request: Request, _ excluding: Span<ServerID>, _ arm: Tuner.Arm
    ) -> CandidateTable {
        matches.clear(servers.highWater)
        trie.match(prompt.values, prompt.blocks, into: &matches)
        var count = servers.eligibleCount
        for index in excluding.indices {
            guard let slot = servers.find(excluding[index]), matches.blocks[Int(slot)] != Matches.excluded else {
                continue
            }
            matches.exclude(slot)
            if servers.standing[Int(slot)] != ServerTable.notEligible { count -= 1 }
        }
        return servers.candidates(
            matches, trie.holders, count: count, prompt: prompt, blockTokens: configuration.blockTokens,
            sessionKey: request.sessionKey, now: now, chance: chance, arms, arm)
    }

    private func whyNone(_ table: borrowing CandidateTable) -> RouterError {
        for slot in 0..<servers.highWater where servers[Slot(slot)].isUsed {
            if table[slot].verdict == .atLimit { return .saturated }
        }
        return .noServer
    }

    private mutating func reserve(
        _ prompt: borrowing PromptDigests, _ chosen: Chosen, _ arm: Tuner.Arm
    ) throws(RouterError) -> Ticket {
        // Room for the digests when the ticket is committed; here, so that a commit allocates nothing.
        try digests.grow(to: prompt.blocks)
        let run = keep(prompt)
        let fresh = prompt.tokens - Int(matches.deepest) * configuration.blockTokens
        return ledger.reserve(
            chosen.slot, tokens: UInt64(prompt.tokens), matched: UInt64(chosen.decision.matchedTokens), run: run,
            situation: chosen.situation, stake: tuner.enter(arm, fresh: Double(fresh), now: now),
            now: now, servers: &servers)
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
