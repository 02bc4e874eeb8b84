// The life of a ticket: reserved -> committed -> running -> ended. Each call only moves forward, so repeating or
// skipping one is harmless.

extension Router {
    /// The request is being sent: its prompt is from now on expected in that server's cache.
    /// Errors: ticket, ticketEnded.
    public mutating func commit(_ ticket: Ticket, now: Nanoseconds) throws(RouterError) {
        let row = try open(ticket, now)
        if ledger[row].phase == .reserved { commit(row) }
    }

    /// The same for a ticket that has just been routed with `prompt`, which so need not be read back.
    /// Errors: ticket, ticketEnded.
    public mutating func commit(
        _ ticket: Ticket, _ prompt: borrowing PromptDigests, now: Nanoseconds
    ) throws(RouterError) {
        let row = try open(ticket, now)
        // A prompt without room for its digests teaches nothing, here as there.
        let count = min(prompt.blocks, Int(ledger[row].run.count))
        if ledger[row].phase == .reserved { committed(row, heldBefore: claim(row, prompt.values, count)) }
    }

    /// The first token arrived: the prompt is in the cache, and the request moves from queued to running.
    /// Errors: ticket, ticketEnded.
    public mutating func firstToken(_ ticket: Ticket, now: Nanoseconds) throws(RouterError) {
        let row = try open(ticket, now)
        if ledger[row].phase == .running { return }
        if ledger[row].phase == .reserved { commit(row) } else { claim(row) }
        ledger.run(row, servers: &servers)
        let entry = ledger[row]
        let waited = self.now.since(entry.since).milliseconds
        servers.observe(entry.slot, firstToken: waited, entry.situation)
        // A first token at once is one as well.
        ledger[row].stake.firstToken = max(Float(waited), .leastNormalMagnitude)
        ledger[row].since = self.now
        ledger[row].situation.requests = Float(servers[entry.slot].load(prior: Load()).requests)
    }

    /// The answer is still streaming: the ticket is not silent. Errors: ticket, ticketEnded.
    public mutating func progress(_ ticket: Ticket, now: Nanoseconds) throws(RouterError) {
        _ = try open(ticket, now)
    }

    /// The request ended. Idempotent: a ticket that has ended already changes nothing. Errors: ticket.
    public mutating func finish(_ ticket: Ticket, _ outcome: Outcome, now: Nanoseconds) throws(RouterError) {
        advance(to: now)
        guard let row = try ledger.row(ticket) else { return }
        if outcome == .ok {
            // Another request with the same prompt may have failed meanwhile and withdrawn it: claim again.
            if ledger[row].phase == .reserved { commit(row) } else { claim(row) }
            if ledger[row].phase == .running { observeDecode(row) }
        } else if ledger[row].phase == .committed {
            withdraw(row)
        }
        settle(ledger[row], outcome)
        endTicket(row)
        counters.count(outcome)
    }

    /// The engine reported how many of the prompt's tokens it found cached. If more were believed, the claim on
    /// everything behind that point is taken back; then this prompt itself counts as cached. What the engine has named in
    /// its KV events meanwhile is newer word than this report, and stays until it says that it is gone.
    /// Errors: ticket, ticketEnded, range (more than the prompt has).
    public mutating func observeCachedTokens(_ ticket: Ticket, _ cached: UInt64, now: Nanoseconds) throws(RouterError) {
        let row = try open(ticket, now)
        let entry = ledger[row]
        guard cached <= entry.tokens else { throw .range }
        servers.update(entry.slot) {
            $0.parity.predictedTokens &+= entry.matchedTokens
            $0.parity.reportedTokens &+= cached
            $0.parity.reports &+= 1
        }
        // Engines never count the last token as cached (they must compute it), and report in blocks of their own:
        // less than one of our blocks short is agreement.
        guard cached + UInt64(configuration.blockTokens) < entry.matchedTokens else { return }
        read(entry.run)
        let count = Int(entry.run.count)
        let keep = max(Int(cached) / configuration.blockTokens, trie.named(entry.slot, digests.base, count))
        trie.disclaim(entry.slot, digests.base, count, keep: keep)
        ledger[row].blocksBefore = min(entry.blocksBefore, keep)
        if entry.phase != .reserved { claim(row) }
    }

    /// The answer has so many tokens. Call it before finish. Errors: ticket, ticketEnded.
    public mutating func observeOutputTokens(_ ticket: Ticket, _ tokens: UInt64, now: Nanoseconds) throws(RouterError) {
        ledger[try open(ticket, now)].outputTokens = UInt32(clamping: tokens)
    }

    /// How long an answer took from its first token on, beside the mean of those that were there then and now.
    private mutating func observeDecode(_ row: UInt32) {
        let entry = ledger[row]
        let now = Double(servers[entry.slot].load(prior: Load()).requests)
        let requests = (Double(entry.situation.requests) + now) / 2 - 1
        servers.observe(
            entry.slot, decode: self.now.since(entry.since).milliseconds,
            tokens: entry.outputTokens == 0 ? nil : UInt64(entry.outputTokens), requests: max(requests, 0))
    }

    private mutating func open(_ ticket: Ticket, _ now: Nanoseconds) throws(RouterError) -> UInt32 {
        advance(to: now)
        let row = try ledger.openRow(ticket)
        ledger.touch(row, now: self.now)
        return row
    }

    private mutating func commit(_ row: UInt32) { committed(row, heldBefore: claim(row)) }

    private mutating func committed(_ row: UInt32, heldBefore: Int) {
        ledger[row].phase = .committed
        ledger[row].blocksBefore = heldBefore
        counters.committed += 1
    }

    /// `claim` with the digests kept for the ticket.
    @discardableResult private mutating func claim(_ row: UInt32) -> Int {
        let run = ledger[row].run
        read(run)
        return claim(row, UnsafePointer(digests.base), Int(run.count))
    }

    /// Claims the ticket's prompt for its server. Gives how many of its blocks the server held before.
    /// A server that is down comes back with an empty cache: nothing is claimed, so nothing will be withdrawn.
    private mutating func claim(_ row: UInt32, _ digests: UnsafePointer<UInt64>, _ count: Int) -> Int {
        let slot = ledger[row].slot
        guard servers[slot].state != .down else { return .max }
        return trie.claim(slot, digests, count).before
    }

    /// Takes back what the commit of a request that came to nothing had added.
    mutating func withdraw(_ row: UInt32) {
        let entry = ledger[row]
        read(entry.run)
        trie.withdraw(entry.slot, digests.base, Int(entry.run.count), keep: entry.blocksBefore)
    }

    /// Spreads a run into `digests`, which `route` made large enough.
    private mutating func read(_ run: Run) {
        RunCursor(trie.cells, run).copy(Int(run.count), to: digests.base)
    }

    /// Takes a ticket off its server and frees its digests.
    mutating func endTicket(_ row: UInt32) {
        trie.freeRun(ledger.end(row, servers: &servers))
    }
}
