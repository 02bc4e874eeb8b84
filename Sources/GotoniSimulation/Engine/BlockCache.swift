/// The KV cache of an engine: the blocks of prompts it holds, which of them are in use, and which to evict first.
///
/// Blocks are named by numbers that stand for a whole beginning of a prompt (`Segment`), so equal numbers are equal
/// prefixes, and a block is only ever held behind the blocks before it. As in vLLM and SGLang, a block that no request
/// uses stays until its room is needed, the least recently used first, the end of a prompt before its beginning.
struct BlockCache {
    private struct Entry {
        /// Tokens held, from the block's beginning.
        var tokens: UInt32 = 0
        /// Requests that use it; those with none are in the order of eviction.
        var users: UInt32 = 0
        /// Neighbours in that order: block + 1, 0 is none.
        var older: UInt32 = 0
        var newer: UInt32 = 0
    }

    private var entries: [Entry] = []
    private var oldest: UInt32 = 0
    private var newest: UInt32 = 0
    /// Tokens held, and those of them that could be evicted now.
    private(set) var heldTokens = 0
    private(set) var idleTokens = 0

    /// Tokens of `prompt` that are held, from its beginning.
    func match(_ prompt: ArraySlice<Segment>) -> Int {
        var tokens = 0
        for segment in prompt {
            let held = Int(segment.block) < entries.count ? entries[Int(segment.block)].tokens : 0
            tokens += Int(min(held, segment.tokens))
            guard held >= segment.tokens else { break }
        }
        return tokens
    }

    /// Marks the first `tokens` of `prompt`, which are held, as in use. Returns how many segments that are.
    mutating func use(_ prompt: ArraySlice<Segment>, tokens: Int) -> Int {
        var (left, count) = (tokens, 0)
        for segment in prompt {
            guard left > 0 else { break }
            use(segment.block)
            left -= Int(segment.tokens)
            count += 1
        }
        return count
    }

    /// Stores the segments of `prompt` behind the first `used`, for a request that then uses all of them, and has the rest
    /// of the last used one too. Returns the tokens that were new.
    mutating func store(_ prompt: ArraySlice<Segment>, behind used: Int) -> Int {
        var stored = 0
        for (index, segment) in prompt.enumerated() where index + 1 >= used {
            grow(to: segment.block)
            if index >= used { use(segment.block) }
            let more = Int(segment.tokens) - Int(entries[Int(segment.block)].tokens)
            guard more > 0 else { continue }
            entries[Int(segment.block)].tokens = segment.tokens
            stored += more
        }
        heldTokens += stored
        return stored
    }

    /// The request that used the first `used` segments of `prompt` is gone.
    mutating func release(_ prompt: ArraySlice<Segment>, _ used: Int) {
        // The end first: of two blocks of one prompt the later one is evicted earlier.
        for segment in prompt.prefix(used).reversed() {
            let block = Int(segment.block)
            entries[block].users -= 1
            guard entries[block].users == 0 else { continue }
            idleTokens += Int(entries[block].tokens)
            append(segment.block)
        }
    }

    /// Evicts idle blocks until `tokens` are free or nothing is idle. Returns the freed tokens.
    mutating func evict(_ tokens: Int, _ evicted: (UInt32) -> Void) -> Int {
        var freed = 0
        while freed < tokens, oldest != 0 {
            let block = oldest - 1
            unlink(block)
            freed += Int(entries[Int(block)].tokens)
            entries[Int(block)].tokens = 0
            evicted(block)
        }
        heldTokens -= freed
        idleTokens -= freed
        return freed
    }

    /// What the invariants say, nil if they hold: idle blocks are exactly those in the order, and the sums are right.
    func violation() -> String? {
        var (held, idle, ordered) = (0, 0, 0)
        for entry in entries {
            held += Int(entry.tokens)
            if entry.users == 0 { idle += Int(entry.tokens) }
        }
        var next = oldest
        while next != 0 {
            ordered += Int(entries[Int(next - 1)].tokens)
            guard entries[Int(next - 1)].users == 0 else { return "a used block is in the order of eviction" }
            next = entries[Int(next - 1)].newer
        }
        if held != heldTokens { return "held \(held) tokens, counted \(heldTokens)" }
        if idle != idleTokens || ordered != idle { return "idle \(idle), in order \(ordered), counted \(idleTokens)" }
        return nil
    }

    private mutating func grow(to block: UInt32) {
        guard Int(block) >= entries.count else { return }
        let room = max(Int(block) + 1, entries.count * 2)
        entries.append(contentsOf: repeatElement(Entry(), count: room - entries.count))
    }

    private mutating func use(_ block: UInt32) {
        if entries[Int(block)].users == 0, entries[Int(block)].tokens > 0 {
            unlink(block)
            idleTokens -= Int(entries[Int(block)].tokens)
        }
        entries[Int(block)].users += 1
    }

    private mutating func append(_ block: UInt32) {
        entries[Int(block)].older = newest
        entries[Int(block)].newer = 0
        if newest != 0 { entries[Int(newest - 1)].newer = block + 1 } else { oldest = block + 1 }
        newest = block + 1
    }

    private mutating func unlink(_ block: UInt32) {
        let (older, newer) = (entries[Int(block)].older, entries[Int(block)].newer)
        if older != 0 { entries[Int(older - 1)].newer = newer } else { oldest = newer }
        if newer != 0 { entries[Int(newer - 1)].older = older } else { newest = older }
        (entries[Int(block)].older, entries[Int(block)].newer) = (0, 0)
    }
}
