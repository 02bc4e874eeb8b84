// Direct access to the trie: warm starts, tools, other routers.

extension Router {
    /// Calls `body` with every server that holds a beginning of the prompt, in no order. The matched tokens are whole
    /// blocks. Changes nothing.
    public mutating func match(_ prompt: borrowing PromptDigests, _ body: (ServerID, Int) -> Void) {
        matches.clear(servers.highWater)
        trie.match(prompt.values, prompt.blocks, into: &matches)
        for slot in 0..<servers.highWater where matches.blocks[slot] > 0 {
            body(servers[Slot(slot)].id, Int(matches.blocks[slot]) * configuration.blockTokens)
        }
    }

    /// Notes that server `id` holds this prompt, as its most recent one.
    /// Errors: unknownServer, capacity (a beginning may have been kept).
    public mutating func insert(
        _ prompt: borrowing PromptDigests, on id: ServerID, now: Nanoseconds
    ) throws(RouterError) {
        advance(to: now)
        let claim = trie.claim(try servers.slot(id), prompt.values, prompt.blocks)
        if claim.truncated { throw .capacity }
    }

    /// Forgets that server `id` holds anything of this prompt behind `keepTokens`, and whatever continues it there.
    /// Errors: unknownServer.
    public mutating func remove(
        _ prompt: borrowing PromptDigests, on id: ServerID, keepTokens: Int, now: Nanoseconds
    ) throws(RouterError) {
        advance(to: now)
        trie.disclaim(
            try servers.slot(id), prompt.values, prompt.blocks, keep: keepTokens / configuration.blockTokens)
    }

    /// Forgets all prefixes of one server, and the names of its KV events. Errors: unknownServer.
    public mutating func clearPrefixes(of id: ServerID, now: Nanoseconds) throws(RouterError) {
        advance(to: now)
        forgetPrefixes(try servers.slot(id))
    }

    /// Forgets all prefixes of all servers.
    public mutating func clearPrefixes(now: Nanoseconds) {
        advance(to: now)
        trie.clear()
    }

    public func prefixStatistics() -> PrefixStatistics { trie.statistics() }
}
