import TestSupport
import Testing

@testable import GotoniCore

/// Each policy: the formula by hand, ties, nothing to choose from.
@Suite struct PolicyTests {
    // MARK: gorgo

    /// cost = 1 · 37 ms + 0.094 ms · (1,000 + 0.5 · 2,000 + 0.1 · 15,000), by hand 37 + 94 + 94 + 141. Of the 8,500
    /// tokens that wait, 6,500 are those of the prompt that runs: nobody waits for their prefill.
    @Test func gorgoCostByHand() throws {
        let test = try RouterUnderTest(servers: 1)
        try test.observeRTT(1, milliseconds: 37)
        try test.load(1, tokens: 6_500, running: true)
        try test.load(1, tokens: 8_500)
        let decision = try test.route(Array(0..<1_000))
        #expect(decision.cost.rtt == 37_000_000)
        #expect(decision.cost.prefill == 94_000_000)
        #expect(decision.cost.queued == 94_000_000)
        #expect(decision.cost.running == 141_000_000)
        #expect(decision.cost.total == 366_000_000)
    }

    /// A server of 100 tokens holds 80: a prompt of 50, 10 of them cached there, drives out 20, and half of that is charged.
    @Test func whatAPromptDrivesOutIsPartOfItsPrefill() throws {
        let test = try RouterUnderTest(servers: 2)
        for (server, capacity) in [(UInt64(1), UInt64(100)), (2, 10)] {
            let configuration = ServerConfiguration(id: ServerID(server), kvCapacityTokens: capacity)
            try test.router.update(configuration, now: test.now)
        }
        try test.insert(Array(0..<80), on: 1)
        let prompt = Array(0..<10) + Array(1_000..<1_040) as [UInt32]
        let rows = try test.explain(prompt).rows
        #expect(rows.map(\.evictedTokens) == [20, 40])
        // 0.094 ms · (40 + 0.5 · 20) and · (50 + 0.5 · 40): of the ten tokens of room the rest is driven out.
        #expect(rows.map(\.cost.prefill) == [4_700_000, 6_580_000])
        try test.router.set(.evictionWeight, to: 0)
        #expect(try test.explain(prompt).rows.map(\.cost.prefill) == [3_760_000, 4_700_000])
        #expect(try test.explain(Array(0..<80)).rows[0].evictedTokens == 0, "what is cached drives nothing out")
    }

    /// Conversations that come in turn, more than one cache can hold but not more than all: none is driven out before it is
    /// asked again. Without the price for that all go to the nearest, and nothing is ever found.
    @Test func smallCachesAreFilledInTurn() throws {
        func found(evictionWeight: Double) throws -> Int {
            let test = try RouterUnderTest(servers: 3)
            try test.router.set(.evictionWeight, to: evictionWeight)
            for server in UInt64(1)...3 {
                let configuration = ServerConfiguration(id: ServerID(server), kvCapacityTokens: 2_000)
                try test.router.update(configuration, now: test.now)
                try test.observeRTT(server, milliseconds: Double(server))
            }
            var found = 0
            for turn in 0..<4 {
                for conversation in 0..<6 {
                    let tokens = 800 + 20 * turn
                    let decision = try test.route((0..<tokens).map { UInt32(conversation * 10_000 + $0) })
                    try test.router.finish(decision.ticket!, .ok, now: test.now)
                    found += decision.matchedTokens
                }
            }
            return found
        }
        #expect(try found(evictionWeight: 0) == 0)
        #expect(try found(evictionWeight: 0.5) == 6 * (800 + 820 + 840))
    }

    /// What is owed follows the requests: their uncached tokens from route to first token, and what an engine reports beyond.
    @Test func onlyPrefillThatIsStillToBeDoneIsOwed() throws {
        let test = try RouterUnderTest(servers: 1)
        try test.insert(Array(0..<300), on: 1)
        let ticket = try test.route(Array(0..<1_000)).ticket!
        #expect(try test.own(1).queuedTokens == 1_000 && test.own(1).owedTokens == 700)
        var metrics = EngineMetrics()
        metrics.queuedTokens = 900
        try test.router.observeMetrics(ServerID(1), metrics, now: test.now)
        let load = try test.explain([1]).rows[0].load
        #expect(load.owedTokens == 900, "ours are among those that the engine reports")
        try test.router.firstToken(ticket, now: test.now)
        #expect(try test.own(1).owedTokens == 0 && test.own(1).runningTokens == 1_000)
        try test.router.finish(ticket, .ok, now: test.now)
        #expect(try test.own(1) == Load())
    }

    /// The paper's lesson: 80 % overlap far away beats the nearest and the best cached (0.5 ms/token, 1,000 tokens).
    @Test func neitherNearestNorBestCachedAlone() throws {
        let test = try RouterUnderTest(servers: 3)
        try test.router.set(.msPerToken, to: 0.5)
        for (server, rtt, cached) in [(UInt64(1), 3.0, 50), (2, 281, 600), (3, 183, 800)] {
            try test.observeRTT(server, milliseconds: rtt)
            try test.insert(Array(0..<UInt32(cached)), on: server)
        }
        let (rows, decision) = try test.explain(Array(0..<1_000))
        #expect(rows.map { $0.cost.total / 1_000_000 } == [478, 481, 283])
        #expect(decision?.server == ServerID(3))
    }

    @Test func anUnknownRoundTripIsThePriorAndNotZero() throws {
        let test = try RouterUnderTest(servers: 2)
        try test.observeRTT(1, milliseconds: 60)
        let (rows, decision) = try test.explain([1, 2, 3])
        #expect(rows[1].rtt == nil && rows[1].cost.rtt == 100_000_000)
        #expect(decision?.server == ServerID(1))
        try test.observeRTT(2, milliseconds: 0)
        #expect(try test.explain([1, 2, 3]).decision?.server == ServerID(2))
    }

    @Test func anExactRepeatIsCheapestWhereItWasServed() throws {
        let test = try RouterUnderTest(servers: 5)
        let prompt: [UInt32] = Array(0..<500)
        let server = try test.serve(prompt)
        let (rows, decision) = try test.explain(prompt)
        #expect(decision?.server.rawValue == server)
        #expect(rows.first { $0.server.rawValue == server }?.cost.prefill == 0)
    }

    @Test func moreMatchNeverCostsMore() throws {
        let test = try RouterUnderTest(servers: 1)
        let prompt: [UInt32] = Array(0..<200)
        var before = Int64.max
        for cached in stride(from: 0, through: 200, by: 7) {
            if cached > 0 { try test.insert(Array(prompt.prefix(cached)), on: 1) }
            let cost = try test.explain(prompt).decision!.cost.total
            #expect(cost <= before)
            before = cost
        }
    }

    /// Among thousands only some are priced; the choice is as if all had been: with a system prompt that everybody
    /// holds, prefixes that few hold, unequal distances and loads, some servers excluded or full.
    @Test func amongThousandsTheCheapestIsFound() throws {
        var configuration = RouterUnderTest.small()
        configuration.maxServers = 5_000
        configuration.memoryBudgetBytes = 32 << 20
        for seed in Seeds.sequence(20) {
            var random = SplitMix64(seed: seed)
            let test = try RouterUnderTest(configuration, servers: 2_500, maxRequests: 3)
            try test.router.set(.rttPriorMs, to: Double(random.pick(0...20)))
            for id in UInt64(1)...2_500 {
                if random.chance(80) { try test.observeRTT(id, milliseconds: Double(random.pick(0...30_000)) / 1_000) }
                let held = random.chance(1) ? random.pick(31...36) : random.chance(20) ? random.pick(0...29) : 30
                try test.insert(Array(0..<UInt32(held)), on: id)
                if random.chance(20) {
                    var metrics = EngineMetrics()
                    metrics.queuedTokens = UInt64(random.next(below: 500))
                    try test.router.observeMetrics(ServerID(id), metrics, now: test.now)
                }
            }
            for _ in 0..<60 {
                let prompt: [UInt32] = Array(0..<UInt32(random.pick(0...400)))
                let excluded = (0..<random.next(below: 4)).map { _ in UInt64(random.pick(1...3_000)) }
                let (rows, _) = try test.explain(prompt, excluding: excluded)
                let decision = try test.route(prompt, excluding: excluded)
                let eligible = rows.filter { $0.verdict == .eligible }
                #expect(decision.cost.total == eligible.map(\.cost.total).min(), "GOTONI_TEST_SEED=\(seed)")
                #expect(decision.eligible == eligible.count, "GOTONI_TEST_SEED=\(seed)")
                #expect(eligible.contains { $0.server == decision.server }, "GOTONI_TEST_SEED=\(seed)")
            }
            #expect(try test.router.violation() == nil, "GOTONI_TEST_SEED=\(seed)")
        }
    }

    // MARK: the others

    @Test func prefixTreeTakesTheLongestMatchThenTheLeastLoad() throws {
        let test = try RouterUnderTest(servers: 3)
        test.router.setPolicy(.prefixTree)
        try test.insert(tokens("shared long"), on: 2)
        try test.insert(tokens("shared"), on: 3)
        try test.load(2, tokens: 5_000)
        #expect(try test.route(tokens("shared long prompt")).server == ServerID(2))
        try test.insert(tokens("shared long"), on: 3)
        #expect(try test.route(tokens("shared long prompt")).server == ServerID(3), "equal match: less load")
    }

    @Test func prefixTreeWithoutAMatchSaysSo() throws {
        let test = try RouterUnderTest(servers: 2)
        test.router.setPolicy(.prefixTree)
        try test.load(1, tokens: 10)
        let decision = try test.route(tokens("nobody knows this"))
        #expect(decision.server == ServerID(2) && decision.reason == .noMatch)
    }

    @Test func leastLoadCountsTokensThenRequests() throws {
        let test = try RouterUnderTest(servers: 3)
        test.router.setPolicy(.leastLoad)
        try test.load(1, requests: 1, tokens: 300)
        try test.load(2, requests: 3, tokens: 100, running: true)
        try test.load(3, requests: 1, tokens: 301)
        #expect(try test.route([1]).server == ServerID(1))
    }

    @Test func leastRequestCountsRequests() throws {
        let test = try RouterUnderTest(servers: 2)
        test.router.setPolicy(.leastRequest)
        try test.load(1, requests: 2, tokens: 1)
        try test.load(2, requests: 1, tokens: 10_000)
        #expect(try test.route([1]).server == ServerID(2))
    }

    @Test func sessionAffinitySticksAndMovesOnlyWhatItMust() throws {
        let test = try RouterUnderTest(servers: 8)
        test.router.setPolicy(.sessionAffinity)
        var before: [UInt64: UInt64] = [:]
        for session in UInt64(1)...400 {
            before[session] = try test.route([1], session: session).server.rawValue
            #expect(try test.route([2], session: session).server.rawValue == before[session])
        }
        let shares = Dictionary(grouping: before.values) { $0 }.mapValues(\.count)
        #expect(shares.count == 8 && shares.values.allSatisfy { $0 > 20 && $0 < 90 })
        try test.router.mark(ServerID(5), .draining, now: test.now)
        for session in UInt64(1)...400 {
            let after = try test.route([1], session: session).server.rawValue
            #expect(before[session] == 5 ? after != 5 : after == before[session])
        }
    }

    @Test func sessionAffinityWithoutASessionSaysSo() throws {
        let test = try RouterUnderTest(servers: 2)
        test.router.setPolicy(.sessionAffinity)
        try test.load(2, tokens: 10)
        let decision = try test.route([1])
        #expect(decision.server == ServerID(1) && decision.reason == .noSession)
    }

    @Test func powerOfTwoNeverTakesTheMostLoaded() throws {
        let test = try RouterUnderTest(servers: 3)
        test.router.setPolicy(.powerOfTwo)
        try test.load(2, tokens: 1_000)
        for _ in 0..<100 {
            let decision = try test.route([1])
            #expect(decision.server != ServerID(2))
            try test.router.finish(decision.ticket!, .notSent, now: test.now)
        }
    }

    @Test func roundRobinTakesTurns() throws {
        let test = try RouterUnderTest(servers: 3)
        test.router.setPolicy(.roundRobin)
        #expect(try (0..<7).map { _ in try test.route([1]).server.rawValue } == [1, 2, 3, 1, 2, 3, 1])
    }

    @Test func randomIsEven() throws {
        let test = try RouterUnderTest(servers: 4)
        test.router.setPolicy(.random)
        var counts: [UInt64: Int] = [:]
        for _ in 0..<4_000 { counts[try test.serve([1]), default: 0] += 1 }
        #expect(counts.values.allSatisfy { (850...1_150).contains($0) } && counts.count == 4)
    }

    // MARK: all of them

    @Test(arguments: PolicyID.allCases) func namesGoBothWays(_ policy: PolicyID) throws {
        let name = policy.name.withUTF8Buffer { Array($0) }
        #expect(try PolicyID(name: name.span) == policy)
    }

    @Test func anUnknownNameIsAnError() throws {
        #expect(try PolicyID(name: Array("least-loaded".utf8).span) == .leastLoad)
        for name in ["", "gorg", "gorgo ", "Gorgo", "gorgoo"] {
            #expect(throws: RouterError.unknownPolicy) { try PolicyID(name: Array(name.utf8).span) }
        }
    }

    @Test(arguments: PolicyID.allCases) func onlyEligibleServersAreChosen(_ policy: PolicyID) throws {
        let test = try RouterUnderTest(servers: 4)
        test.router.setPolicy(policy)
        try test.router.mark(ServerID(1), .down, now: test.now)
        try test.router.mark(ServerID(2), .draining, now: test.now)
        for session in UInt64(0)..<50 {
            let decision = try test.route([1, 2], session: session, excluding: [3])
            #expect(decision.server == ServerID(4) && decision.eligible == 1 && decision.policy == policy)
        }
    }

    @Test(arguments: PolicyID.allCases) func noneAndSaturatedAreDifferentErrors(_ policy: PolicyID) throws {
        let test = try RouterUnderTest(servers: 2, maxRequests: 1)
        test.router.setPolicy(policy)
        _ = try test.route([1])
        _ = try test.route([1])
        #expect(throws: RouterError.saturated) { try test.route([1]) }
        #expect(throws: RouterError.noServer) { try test.route([1], excluding: [1, 2]) }
        try test.router.mark(ServerID(1), .draining, now: test.now)
        try test.router.mark(ServerID(2), .down, now: test.now)
        #expect(throws: RouterError.noServer) { try test.route([1]) }
    }

    /// Ties are broken among all equals, however many: none is left out.
    @Test(arguments: [PolicyID.gorgo, .leastLoad, .leastRequest, .powerOfTwo, .random])
    func tiesAreBrokenAmongAll(_ policy: PolicyID) throws {
        let test = try RouterUnderTest(servers: 200)
        test.router.setPolicy(policy)
        var chosen = Set<UInt64>()
        for _ in 0..<2_000 {
            let decision = try test.route([1])
            chosen.insert(decision.server.rawValue)
            try test.router.finish(decision.ticket!, .notSent, now: test.now)
        }
        #expect(chosen.count >= 195)
    }

    /// A burst of equal requests at equal cost does not all see the same idle server.
    @Test(arguments: [PolicyID.gorgo, .leastLoad, .leastRequest, .roundRobin])
    func aHerdOfEqualRequestsSpreads(_ policy: PolicyID) throws {
        let test = try RouterUnderTest(servers: 8)
        test.router.setPolicy(policy)
        var counts: [UInt64: Int] = [:]
        for _ in 0..<256 { counts[try test.route([1, 2, 3, 4]).server.rawValue, default: 0] += 1 }
        #expect(counts.count == 8 && counts.values.allSatisfy { (31...33).contains($0) })
    }

    @Test(arguments: PolicyID.allCases) func explainIsTheNextDecision(_ policy: PolicyID) throws {
        let test = try RouterUnderTest(servers: 6)
        test.router.setPolicy(policy)
        for id in UInt64(1)...4 {
            try test.observeRTT(id, milliseconds: Double(id % 3))
            var metrics = EngineMetrics()
            metrics.queuedRequests = id % 2
            if id > 1 { try test.router.observeMetrics(ServerID(id), metrics, now: test.now) }
        }
        for step in 0..<200 {
            let prompt: [UInt32] = Array(0..<UInt32(step % 9))
            let (rows, foreseen) = try test.explain(prompt, session: UInt64(step % 3))
            let taken = try test.route(prompt, session: UInt64(step % 3))
            #expect(foreseen?.server == taken.server && rows.count == 6)
            #expect(rows.first { $0.server == taken.server }?.cost == taken.cost)
            // The scan adds the cost up from parts; it must find what the whole rows say.
            if policy == .gorgo { #expect(taken.cost.total == rows.map(\.cost.total).min()) }
        }
    }
}
