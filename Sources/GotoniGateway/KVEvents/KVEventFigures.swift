import GotoniCore
import GotoniEngines

/// What became of a server's KV events on their way to the router.
struct KVEventAccount: Sendable, Equatable {
    /// Messages that could not be read, and events that the router could not take.
    var unreadable: UInt64 = 0
    var refused: UInt64 = 0
    /// Why the last of these.
    var reason: String?
    /// Nothing could be done with the last message: why.
    var problem: String?
    var lastMessage: Nanoseconds?
}

/// How it stands with a server's KV events.
struct KVEventFigures: Sendable {
    /// Where they come from; empty: not known yet.
    var address = ""
    var isConnected = false
    /// Nothing is missing, so what comes next can be applied.
    var isLive = false
    /// See `KVEventStream.isComplete`.
    var isComplete = false
    var counts = KVEventStream.Counts()
    var account = KVEventAccount()

    /// What the router believes of this server follows the engine's word.
    var isInForce: Bool { isConnected && isLive && account.problem == nil }

    /// For so long an engine that has something to compute says nothing before that is strange.
    static let longestSilence = Nanoseconds(milliseconds: 10_000)
    /// Less may not fill a block of the engine.
    static let tokensThatAreNews = 256
    /// How long a prompt whose tokens were estimated counts.
    static let inexactWindow = Nanoseconds(milliseconds: 60_000)
}

/// From where the router knows what a server has cached.
enum Knowledge: String, Sendable, CaseIterable {
    /// The engine says what it stores and evicts.
    case events = "kv_events"
    /// It says with each answer what it found.
    case feedback = "cached_tokens"
    /// What was sent there, least recently used first out.
    case model
}

extension Server.State {
    func knowledge(_ info: ServerInfo?) -> Knowledge {
        if kvEvents?.isInForce == true { return .events }
        return info?.parity.reports ?? 0 > 0 ? .feedback : .model
    }

    /// Of the KV cache in tokens, for the router; nil: unknown. An engine that tells every block it evicts needs no bound,
    /// but the tokens that are expected there must be the engine's own, or it never evicts them.
    func cacheCapacity(now: Nanoseconds) -> UInt64? {
        if let kvEvents, kvEvents.isInForce, kvEvents.isComplete, !hasInexactPrompts(now: now) { return .max }
        return (report?.kvCapacityTokens ?? node?.kvCapacityTokens).flatMap { $0 > 0 ? UInt64($0) : nil }
    }

    func hasInexactPrompts(now: Nanoseconds) -> Bool {
        lastInexact.map { now.since($0) < KVEventFigures.inexactWindow } ?? false
    }

    /// A request goes there.
    mutating func notePrompt(tokens: Int, matched: Int, isExact: Bool, now: Nanoseconds) {
        guard let kvEvents else { return }
        if !isExact { lastInexact = now }
        guard tokens - matched >= KVEventFigures.tokensThatAreNews else { return }
        // The first since the engine's last word.
        if awaitsEvents.map({ kvEvents.account.lastMessage ?? Nanoseconds(0) > $0 }) ?? true { awaitsEvents = now }
    }

    /// It has computed prompts, and said nothing about their blocks.
    func isSilent(now: Nanoseconds) -> Bool {
        guard let kvEvents, let awaitsEvents else { return false }
        return kvEvents.account.lastMessage ?? Nanoseconds(0) < awaitsEvents
            && now.since(awaitsEvents) >= KVEventFigures.longestSilence
    }

    /// What is wrong with this server's events, in one sentence; nil: nothing, or there are to be none.
    func kvEventWarning(now: Nanoseconds) -> String? {
        guard let kvEvents else { return nil }
        if kvEvents.address.isEmpty {
            return kvEvents.account.problem ?? "the model's name is not known: /v1/models has not told it"
        }
        if !kvEvents.isConnected { return "there is no connection to \(kvEvents.address)" }
        if let problem = kvEvents.account.problem { return problem }
        if isSilent(now: now) { return "the engine has had prompts to compute and said nothing about its cache" }
        if hasInexactPrompts(now: now) {
            return "tokens of some prompts were estimated: events name the engine's own, so those find nothing"
        }
        return nil
    }
}
