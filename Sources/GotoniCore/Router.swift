/// The routing state machine: chooses a server for each request and keeps the account of what was chosen.
///
/// A value without lock, clock, socket or chance of its own: every call carries `now`, ties are broken by a generator
/// seeded in the configuration. The same configuration and calls give the same decisions, bit for bit. `SharedRouter`
/// puts one lock around it; a simulation uses it bare.
///
/// This file has the state; each operation is in the file that is named after it.
public struct Router: ~Copyable {
    public let configuration: Configuration
    /// The newest time any call brought. Time does not run backwards.
    public internal(set) var now = Nanoseconds(0)
    public internal(set) var policy = PolicyID.gorgo

    var servers: ServerTable
    var ledger: Ledger
    var trie: PrefixTrie
    var tuning = Tuning()
    var tuner = Tuner()
    /// What follows from both: the weights that decide.
    var arms: Arms
    var chance: Chance
    var counters = Counters()

    /// Room for one decision: what each server holds of the prompt, and the prompt's digests.
    var matches: Matches
    var digests: Buffer<UInt64>

    public init(_ configuration: Configuration = Configuration()) throws(RouterError) {
        try configuration.check()
        // Everything that can fail comes first: a value is either whole or not there.
        let maxServers = Int(configuration.maxServers)
        let servers = try ServerTable(limit: maxServers)
        let ledger = try Ledger(limit: Int(configuration.maxTickets))
        let trie = try PrefixTrie(
            blockTokens: configuration.blockTokens, budget: Int(configuration.memoryBudgetBytes), slots: maxServers)
        let matches = try Matches(limit: maxServers)
        let digests = try Buffer<UInt64>(count: 1024)
        self.configuration = configuration
        self.servers = servers
        self.ledger = ledger
        self.trie = trie
        self.matches = matches
        self.digests = digests
        chance = Chance(random: SplitMix64(seed: configuration.seed))
        arms = Arms(tuning)
        reprice()
    }

    /// Brings the router to `now`: ends tickets that were silent too long, and makes old metrics unknown.
    public mutating func advance(to now: Nanoseconds) {
        guard now > self.now else { return }
        self.now = now
        servers.forgetStaleMetrics(now: now, ttl: tuning.metricsTTL)
        while let row = ledger.nextOpen(after: nil), now.since(ledger[row].lastSeen) > tuning.ticketSilence {
            if ledger[row].phase == .committed { withdraw(row) }
            settle(ledger[row], .failed)
            endTicket(row)
            counters.expired += 1
        }
    }
}
