import GotoniCore

/// The policy of another router, restated from its source or its paper: a choice from what that router would know.
///
/// Each is a file of its own that names its source. The simulation gives it the same ledger, probes and prefix index
/// that our own policies have, so what is compared is the rule.
protocol RivalPolicy {
    /// How it learns what servers have cached.
    var index: PrefixIndex { get }
    /// Only the oracle does: no router could.
    var needsForecast: Bool { get }
    /// The row to use, by its place in `rows`, which is not empty; nil to hold the request back until a request ends or a
    /// probe returns.
    mutating func choose(_ rows: [Row], _ ask: Ask, _ chance: inout SplitMix64) -> Int?
    /// A request was placed: the one it chose a row for, or one that another node forwarded to this one.
    mutating func placed(_ placement: Balancer.Placement, _ tokens: [UInt32], now: Nanoseconds)
    /// It ended there, in whatever way.
    mutating func ended(_ placement: Balancer.Placement, now: Nanoseconds)
}

extension RivalPolicy {
    var needsForecast: Bool { false }
    mutating func placed(_ placement: Balancer.Placement, _ tokens: [UInt32], now: Nanoseconds) {}
    mutating func ended(_ placement: Balancer.Placement, now: Nanoseconds) {}
}

enum PrefixIndex {
    /// From its own decisions, bounded by the servers' KV capacity, least recently used first.
    case bounded
    /// From its own decisions, and never forgotten but with the server.
    case unbounded
    /// From the engines' KV events.
    case events

    /// Tokens of a block of every index here.
    static let blockTokens = 16
}

/// The request to place.
struct Ask {
    var now: Nanoseconds
    var session: UInt64
    var tokens: [UInt32]
    /// A router does not know this; the oracle does.
    var outputTokens: Int
    /// The server that the balancer stands at; nil for the central proxy.
    var home: Int?
}

/// What a router knows of one server that could take the request.
struct Row {
    /// Place in the fleet, the same in every call.
    var server: Int
    var promptTokens: Int
    /// By its index, in whole blocks.
    var matchedTokens: Int
    /// By its index, of all prompts, each prefix once.
    var heldTokens = 0
    /// Requests it sent there that have not ended, and their prompt tokens, before and after their first token.
    var own: Load
    /// As of the last probe.
    var reported: EngineLoad
    /// Milliseconds, by its filter.
    var rtt: Double
    /// What would happen there, if the policy asks for it.
    var forecast: Forecast?

    /// What most rivals call load: requests that this router sent there and that have not ended.
    var inFlight: Int { Int(own.requests) }
}

/// The consequences of placing a request on a server now, if nobody else came.
struct Forecast {
    /// Seconds from now to the first token and to the last, at the balancer.
    var firstToken: Double
    var last: Double
    /// Seconds by which the requests already there would be delayed, summed over them.
    var delayOfOthers: Double
}

extension Collection {
    /// The index of the smallest key, among equals each with the same chance; nil if there is none.
    func smallest<Key: Comparable>(_ chance: inout SplitMix64, _ key: (Element) -> Key) -> Index? {
        var best: (index: Index, key: Key)?
        var equals = 1
        for index in indices {
            let candidate = key(self[index])
            if let known = best, candidate >= known.key {
                guard candidate == known.key else { continue }
                equals += 1
                if chance.next(below: equals) == 0 { best = (index, candidate) }
            } else {
                best = (index, candidate)
                equals = 1
            }
        }
        return best?.index
    }
}
