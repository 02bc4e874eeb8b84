// KV events: what an engine says it has stored and evicted. Its block hashes are only names (`ExternalBlocks`).

extension Router {
    /// The digest that blocks behind `parent` are chained to, nil if the server never named such a block.
    public func digest(of parent: UInt64, on id: ServerID) throws(RouterError) -> UInt64? {
        let cell = external.find(try servers.slot(id), parent)
        return cell == 0 ? nil : trie.cells[external: cell].digest
    }

    /// Consecutive blocks that server `id` stored behind `parent` (nil: at the beginning of a prompt).
    ///
    /// `prompt` has the digests of their tokens, chained to the parent's digest; `span` is the engine's block size in
    /// our blocks; `hashes` are the engine's names. Applying an event twice is harmless.
    /// Errors: unknownServer, unknownParent, capacity.
    public mutating func stored(
        on id: ServerID, _ prompt: borrowing PromptDigests, hashes: Span<UInt64>, span: Int, parent: UInt64?,
        now: Nanoseconds
    ) throws(RouterError) {
        advance(to: now)
        let slot = try servers.slot(id)
        var start = PrefixTrie.Place()
        if let parent {
            let cell = external.find(slot, parent)
            guard cell != 0 else {
                let lost = UInt64(hashes.count)
                servers.update(slot) { $0.events.orphaned += lost }
                throw .unknownParent
            }
            guard let place = external.place(of: cell, in: &trie) else { throw .capacity }
            start = place
        }
        let claim = trie.claim(slot, prompt.values, prompt.blocks, from: start)
        for index in 0..<hashes.count {
            let end = start.depth + (index + 1) * span
            guard end <= claim.depth else { throw .capacity }
            let block = ExternalBlock(
                hash: hashes[index], digest: prompt.digest(at: (index + 1) * span - 1), node: claim.node,
                end: UInt32(end), span: UInt32(span), slot: slot)
            guard external.store(block, &trie) else { throw .capacity }
            servers.update(slot) { $0.events.stored += 1 }
        }
    }

    /// Blocks that server `id` evicted. What followed them there is forgotten too. Unknown names are ignored.
    /// Errors: unknownServer.
    public mutating func removed(on id: ServerID, hashes: Span<UInt64>, now: Nanoseconds) throws(RouterError) {
        advance(to: now)
        let slot = try servers.slot(id)
        for index in 0..<hashes.count {
            let cell = external.find(slot, hashes[index])
            guard cell != 0 else { continue }
            if let place = external.place(of: cell, in: &trie) {
                let start = place.depth - Int(trie.cells[external: cell].span)
                trie.disclaim(slot, from: trie.ownPart(of: slot, from: start, to: place), at: place.node)
            }
            external.remove(cell, &trie)
            servers.update(slot) { $0.events.removed += 1 }
        }
    }
}
