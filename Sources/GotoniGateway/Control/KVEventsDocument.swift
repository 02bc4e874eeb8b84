import GotoniCore
import GotoniEngines

/// How it stands with an engine's KV events.
struct KVEventsDocument: Encodable {
    /// Null: not known yet.
    var address: OrNull<String>
    var connected: Bool
    /// All that the engine has cached since it began, or was emptied, is known: then nothing else bounds what is believed.
    var complete: Bool
    var lastMessageMsAgo: OrNull<Double>
    /// Messages that were applied, and that were known or will come again.
    var applied: UInt64
    var ignored: UInt64
    /// Times that some were missing, that these could not be had again, and that another engine was found.
    var gaps: UInt64
    var losses: UInt64
    var restarts: UInt64
    /// Messages that could not be read, events that the router could not take, and why the last of these.
    var unreadable: UInt64
    var refused: UInt64
    var lastReason: OrNull<String>
    /// Blocks of the engine.
    var blocksStored: UInt64
    var blocksRemoved: UInt64
    /// What is wrong now.
    var warning: OrNull<String>

    /// Nil: none are to come from this server.
    init?(_ state: Server.State, _ info: ServerInfo?, now: Nanoseconds) {
        guard let figures = state.kvEvents else { return nil }
        let (counts, account) = (figures.counts, figures.account)
        address = OrNull(figures.address.isEmpty ? nil : figures.address)
        (connected, complete) = (figures.isConnected, figures.isComplete)
        lastMessageMsAgo = OrNull(account.lastMessage.map { rounded(now.since($0).milliseconds) })
        (applied, ignored) = (counts.applied, counts.ignored)
        (gaps, losses, restarts) = (counts.gaps, counts.losses, counts.restarts)
        (unreadable, refused, lastReason) = (account.unreadable, account.refused, OrNull(account.reason))
        (blocksStored, blocksRemoved) = (info?.events.stored ?? 0, info?.events.removed ?? 0)
        warning = OrNull(state.kvEventWarning(now: now))
    }
}
