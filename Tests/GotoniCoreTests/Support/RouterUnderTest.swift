@testable import GotoniCore

/// A `Router` driven by tokens, with a clock that the test moves.
final class RouterUnderTest {
    var router: Router
    var prompt: PromptDigests
    var now = Nanoseconds(1)

    init(_ configuration: Configuration = RouterUnderTest.small(), servers: Int = 0, maxRequests: UInt32? = nil) throws
    {
        router = try Router(configuration)
        prompt = try PromptDigests()
        for server in 0..<servers {
            try router.add(ServerConfiguration(id: ServerID(UInt64(server + 1)), maxRequests: maxRequests), now: now)
        }
    }

    static func small(blockTokens: Int = 1, seed: UInt64 = 0, budget: UInt64 = 4 << 20) -> Configuration {
        var configuration = Configuration()
        configuration.blockTokens = blockTokens
        configuration.seed = seed
        configuration.memoryBudgetBytes = budget
        configuration.maxServers = 1_000
        configuration.maxTickets = 10_000
        return configuration
    }

    func wait(milliseconds: Double) { now = Nanoseconds(now.rawValue + UInt64(milliseconds * 1_000_000)) }

    func route(
        _ tokens: [UInt32], session: UInt64 = 0, excluding: [UInt64] = [], namespace: UInt64 = 0
    ) throws -> Decision {
        try prompt.compute(tokens.span, blockTokens: router.configuration.blockTokens, seed: namespace)
        let excluded = excluding.map { ServerID($0) }
        return try router.route(prompt, Request(sessionKey: session), excluding: excluded.span, now: now)
    }

    func explain(_ tokens: [UInt32], session: UInt64 = 0, excluding: [UInt64] = []) throws
        -> (rows: [Candidate], decision: Decision?)
    {
        try prompt.compute(tokens.span, blockTokens: router.configuration.blockTokens, seed: 0)
        var rows: [Candidate] = []
        let excluded = excluding.map { ServerID($0) }
        let decision = try? router.explain(
            prompt, Request(sessionKey: session), excluding: excluded.span, now: now
        ) { rows.append($0) }
        return (rows, decision)
    }

    /// Routes, commits and finishes: teaches the trie.
    func serve(_ tokens: [UInt32]) throws -> UInt64 {
        let decision = try route(tokens)
        try router.finish(decision.ticket!, .ok, now: now)
        return decision.server.rawValue
    }

    func insert(_ tokens: [UInt32], on server: UInt64) throws {
        try prompt.compute(tokens.span, blockTokens: router.configuration.blockTokens, seed: 0)
        try router.insert(prompt, on: ServerID(server), now: now)
    }

    func match(_ tokens: [UInt32]) throws -> [UInt64: Int] {
        try prompt.compute(tokens.span, blockTokens: router.configuration.blockTokens, seed: 0)
        var result: [UInt64: Int] = [:]
        router.match(prompt) { result[$0.rawValue] = $1 }
        return result
    }

    func observeRTT(_ server: UInt64, milliseconds: Double) throws {
        try router.observeRTT(ServerID(server), UInt64(milliseconds * 1_000_000), now: now)
    }

    /// Loads a server with `requests` requests of `tokens` tokens each, before or after their first token.
    func load(_ server: UInt64, requests: Int = 1, tokens: Int, running: Bool = false) throws {
        let others = (1...UInt64(router.serverCount)).filter { $0 != server }
        for request in 0..<requests {
            let prompt = (0..<tokens).map { UInt32($0 + 1_000_000 + request * 100_000) }
            let decision = try route(prompt, excluding: others)
            if running { try router.firstToken(decision.ticket!, now: now) }
        }
    }

    func own(_ server: UInt64) throws -> Load { router.servers[try router.servers.slot(ServerID(server))].own }
}
