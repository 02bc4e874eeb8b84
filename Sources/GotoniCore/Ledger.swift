/// How a request ended.
public enum Outcome: UInt32, Sendable {
    case ok = 0
    case failed = 1
    case cancelled = 2
    case notSent = 3
}

/// Open tickets: what each one counts for, and which one has been silent the longest.
///
/// A ticket is a row number and the row's generation, so a finished ticket is recognised however often its row was used
/// again. The sums per server live in the server table; this file is the only one that changes them.
struct Ledger: ~Copyable {
    enum Phase: UInt8, BitwiseCopyable {
        case ended = 0
        case reserved, committed, running
    }

    struct Entry: BitwiseCopyable {
        var generation: UInt32 = 0
        var phase = Phase.ended
        var slot: Slot = 0
        /// Prompt tokens, and those of them believed cached when it was routed.
        var tokens: UInt64 = 0
        var matchedTokens: UInt64 = 0
        /// Blocks that the server held of this prompt when it was committed.
        var blocksBefore = 0
        /// The prompt's digests, in cells of the trie; none if it had no room.
        var run = Run()
        var lastSeen = Nanoseconds(0)
        /// When it was routed, and what it met; after its first token, when that came, and how many requests were there.
        var since = Nanoseconds(0)
        var situation = Situation()
        /// What it is worth to the tuner.
        var stake = Tuner.Stake()
        /// Of its answer; 0: not known.
        var outputTokens: UInt32 = 0
        /// The order of silence, or the list of free rows; row + 1.
        var newer: UInt32 = 0
        var older: UInt32 = 0

        /// What an open ticket counts for.
        var load: Load { phase == .running ? .running(tokens) : .queued(tokens, cached: matchedTokens) }
    }

    private var entries: Buffer<Entry>
    private var highWater: UInt32 = 0
    private var freeRow: UInt32 = 0
    private var newest: UInt32 = 0
    private(set) var oldest: UInt32 = 0
    private(set) var open = 0

    init(limit: Int) throws(RouterError) { entries = try Buffer(count: limit) }

    subscript(row: UInt32) -> Entry {
        @inline(__always) unsafeAddress { UnsafePointer(entries.base + Int(row)) }
        @inline(__always) nonmutating unsafeMutableAddress { entries.base + Int(row) }
    }

    /// The row of an open ticket; nil if it has ended. Throws if it was never issued.
    func row(_ ticket: Ticket) throws(RouterError) -> UInt32? {
        let item = UInt32(truncatingIfNeeded: ticket.rawValue)
        let generation = UInt32(truncatingIfNeeded: ticket.rawValue >> 32)
        guard item > 0, item <= highWater, generation > 0 else { throw .ticket }
        let entry = self[item - 1]
        guard generation <= entry.generation else { throw .ticket }
        return generation == entry.generation && entry.phase != .ended ? item - 1 : nil
    }

    func openRow(_ ticket: Ticket) throws(RouterError) -> UInt32 {
        guard let row = try row(ticket) else { throw .ticketEnded }
        return row
    }

    var isFull: Bool { open >= entries.count }

    /// Opens a ticket in phase reserved and counts it as queued on its server. The ledger must not be full.
    mutating func reserve(
        _ slot: Slot, tokens: UInt64, matched: UInt64, run: Run, situation: Situation, stake: Tuner.Stake,
        now: Nanoseconds, servers: inout ServerTable
    ) -> Ticket {
        let item: UInt32
        if freeRow != 0 {
            item = freeRow
            freeRow = self[item - 1].older
        } else {
            highWater += 1
            item = highWater
        }
        // Generation 0 is never issued; a row wraps after four billion uses.
        var generation = self[item - 1].generation &+ 1
        if generation == 0 { generation = 1 }
        self[item - 1] = Entry(
            generation: generation, phase: .reserved, slot: slot, tokens: tokens, matchedTokens: matched, run: run,
            lastSeen: now, since: now, situation: situation, stake: stake)
        enterOrder(item)
        open += 1
        servers.update(slot) {
            if $0.own.owedTokens == 0 { $0.workingSince = Nanoseconds(now.rawValue &+ ($0.rtt ?? 0)) }
            $0.own = $0.own + .queued(tokens, cached: matched)
        }
        return Ticket(UInt64(generation) << 32 | UInt64(item))
    }

    /// Moves a ticket that is queued to running.
    mutating func run(_ row: UInt32, servers: inout ServerTable) {
        let before = self[row].load
        self[row].phase = .running
        let after = self[row].load
        let seen = self[row].lastSeen
        servers.update(self[row].slot) {
            $0.own = $0.own + after - before
            $0.workingSince = seen
        }
    }

    /// Ends a ticket and takes it off its server's sums. Gives back its run, which the caller frees.
    mutating func end(_ row: UInt32, servers: inout ServerTable) -> Run {
        let entry = self[row]
        servers.update(entry.slot) { $0.own = $0.own - entry.load }
        leaveOrder(row + 1)
        self[row].phase = .ended
        self[row].run = Run()
        self[row].older = freeRow
        freeRow = row + 1
        open -= 1
        return entry.run
    }

    /// Notes a sign of life.
    mutating func touch(_ row: UInt32, now: Nanoseconds) {
        self[row].lastSeen = now
        guard newest != row + 1 else { return }
        leaveOrder(row + 1)
        enterOrder(row + 1)
    }

    /// The open row that comes after `row` in the order of silence, or the longest silent for nil; nil at the end.
    func nextOpen(after row: UInt32?) -> UInt32? {
        let item = row.map { self[$0].newer } ?? oldest
        return item == 0 ? nil : item - 1
    }

    private mutating func enterOrder(_ item: UInt32) {
        self[item - 1].newer = 0
        self[item - 1].older = newest
        if newest != 0 { self[newest - 1].newer = item } else { oldest = item }
        newest = item
    }

    private mutating func leaveOrder(_ item: UInt32) {
        let (newer, older) = (self[item - 1].newer, self[item - 1].older)
        if newer != 0 { self[newer - 1].older = older } else { newest = older }
        if older != 0 { self[older - 1].newer = newer } else { oldest = newer }
    }
}
