// KV events: what an engine says it has stored and evicted. Its block hashes are only names (`PrefixTrie+External.swift`).

extension Router {
    /// The digest that blocks behind `parent` are chained to, nil if the server never named such a block.
    public func digest(of parent: UInt64, on id: ServerID) throws(RouterError) -> UInt64? {
        let cell = trie.external(try servers.slot(id), parent)
        return cell == 0 ? nil : trie.cells[external: cell].digest
    }

    /// Consecutive blocks that server `id` stored behind `parent` (nil: at the beginning of a prompt).
    ///
    /// `prompt` has the digests of their tokens, chained to `seed`, the parent's digest; `span` is the engine's block size
    /// in our blocks; `hashes` are the engine's names. Applying an event twice is harmless.
    /// Errors: unknownServer, unknownParent, capacity.
    public mutating func stored(
        on id: ServerID, _ prompt: borrowing PromptDigests, hashes: Span<UInt64>, span: Int, parent: UInt64?,
        seed: UInt64, now: Nanoseconds
    ) throws(RouterError) {
        advance(to: now)
        let slot = try servers.slot(id)
        var start = PrefixTrie.Place()
        if let parent {
            guard let place = self.place(of: parent, slot, seed) else {
                let lost = UInt64(hashes.count)
                servers.update(slot) { $0.events.orphaned += lost }
                throw .unknownParent
            }
            start = place
        }
        let claim = trie.claim(slot, prompt.values, prompt.blocks, from: start)
        var named: UInt64 = 0
        defer { servers.update(slot) { $0.events.stored += named } }
        for index in 0..<hashes.count {
            let end = start.depth + (index + 1) * span
            guard end <= claim.depth else { throw .capacity }
            let block = ExternalBlock(
                slot: slot, hash: hashes[index], digest: prompt.digest(at: (index + 1) * span - 1), end: UInt32(end),
                span: UInt32(span), node: claim.node)
            guard trie.storeExternal(block) else {
                // What has no name could never be taken back.
                trie.disclaim(slot, from: end - span, at: claim.node)
                throw .capacity
            }
            named += 1
        }
    }

    /// Where the blocks behind `parent` go. Nil if it is not known, is another block than the one whose digest is `seed`,
    /// or was forgotten.
    private mutating func place(of parent: UInt64, _ slot: Slot, _ seed: UInt64) -> PrefixTrie.Place? {
        let cell = trie.external(slot, parent)
        guard cell != 0, trie.cells[external: cell].digest == seed else { return nil }
        if let place = trie.place(ofExternal: cell) { return place }
        trie.removeExternal(cell)
        return nil
    }

    /// Blocks that server `id` evicted. What followed them there is forgotten too. Unknown names are ignored.
    /// Errors: unknownServer.
    public mutating func removed(on id: ServerID, hashes: Span<UInt64>, now: Nanoseconds) throws(RouterError) {
        advance(to: now)
        let slot = try servers.slot(id)
        var known: UInt64 = 0
        for index in 0..<hashes.count {
            let cell = trie.external(slot, hashes[index])
            guard cell != 0 else { continue }
            let span = Int(trie.cells[external: cell].span)
            let place = trie.place(ofExternal: cell)
            trie.removeExternal(cell)
            if let place {
                trie.disclaim(slot, from: trie.ownPart(of: slot, from: place.depth - span, to: place), at: place.node)
            }
            known += 1
        }
        servers.update(slot) { $0.events.removed += known }
    }
}
