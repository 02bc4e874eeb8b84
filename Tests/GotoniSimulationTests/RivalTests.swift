import GotoniCore
import Testing

@testable import GotoniSimulation

/// Each rival's rule by hand: what it is known for, its thresholds from both sides, ties, nothing available.
@Suite struct RivalTests {
    /// Of 1,600 tokens, 100 blocks.
    private func row(
        _ server: Int, matched: Int = 0, inFlight: Int = 0, rtt: Double = 10, waiting: Int = 0, used: Int = 0,
        prompt: Int = 1_600
    ) -> Row {
        var row = Row(
            server: server, promptTokens: prompt, matchedTokens: matched, own: Load(),
            reported: EngineLoad(), rtt: rtt, forecast: nil)
        row.own.runningRequests = UInt64(inFlight)
        row.reported.waiting = waiting
        row.reported.usedTokens = used
        row.reported.kvTokens = 100_000
        return row
    }

    private func ask(
        _ tokens: [UInt32] = Array(0..<1_600), session: UInt64 = 1, output: Int = 100, home: Int? = nil,
        seconds: Double = 0
    ) -> Ask {
        Ask(
            now: Nanoseconds(seconds: seconds), session: session, tokens: tokens, outputTokens: output, home: home)
    }

    /// The servers that it chooses over so many seeds, each from the same state; -1 is none.
    private func choices(
        _ policy: some RivalPolicy, _ rows: [Row], _ ask: Ask? = nil, seeds: UInt64 = 64
    ) -> Set<Int> {
        Set(
            (0..<seeds).map { seed in
                var (policy, chance) = (policy, SplitMix64(seed: seed))
                return policy.choose(rows, ask ?? self.ask(), &chance).map { rows[$0].server } ?? -1
            })
    }

    private func placement(_ server: Int, _ ticket: UInt64, matched: Int = 0, of tokens: Int = 1_600)
        -> Balancer.Placement
    {
        Balancer.Placement(
            server: server, ticket: Ticket(ticket), matchedTokens: matched, uncachedTokens: tokens - matched,
            routed: .zero)
    }

    // MARK: AIBrix

    @Test func aibrixTakesTheLongestMatchThenTheFewestRunning() {
        let policy = AIBrixPrefixCache()
        #expect(choices(policy, [row(0, matched: 800, inFlight: 9), row(1, matched: 320), row(2)]) == [0])
        #expect(choices(policy, [row(0, matched: 800, inFlight: 2), row(1, matched: 800, inFlight: 1)]) == [1])
        #expect(choices(policy, [row(0, matched: 800), row(1, matched: 800), row(2)]) == [0, 1])
        // 0 % of the blocks is a match too, before any server without.
        #expect(choices(policy, [row(0, matched: 16, inFlight: 1, prompt: 3_200), row(1, prompt: 3_200)]) == [0])
        // Whole percent: 150 and 151 of 300 blocks are both 50.
        let long = [row(0, matched: 2_400, prompt: 4_800), row(1, matched: 2_416, inFlight: 1, prompt: 4_800)]
        #expect(choices(policy, long) == [0])
    }

    @Test func aibrixLooksOnlyAtTheLeastLoadedAboveSixteenApart() {
        let policy = AIBrixPrefixCache()
        #expect(choices(policy, [row(0, matched: 1_600, inFlight: 16), row(1)]) == [0])
        #expect(choices(policy, [row(0, matched: 1_600, inFlight: 17), row(1), row(2)]) == [1, 2])
        // Among those the match still counts.
        #expect(choices(policy, [row(0, matched: 1_600, inFlight: 17), row(1), row(2, matched: 16)]) == [2])
        var bare = policy
        bare.imbalance = 8
        #expect(choices(bare, [row(0, matched: 1_600, inFlight: 9), row(1)]) == [1])
    }

    /// Loads 10, 0, 0, …: the largest z-score of n is (n - 1)/√n, which is 1.79 for five and 2.04 for six.
    @Test func aibrixFilterOfTwoDeviationsNeedsSixServers() {
        let policy = AIBrixPrefixCache()
        let six = [row(0, matched: 1_600, inFlight: 10), row(1, matched: 160)] + (2..<6).map { row($0) }
        #expect(choices(policy, Array(six.prefix(5))) == [0])
        // The shorter match is next.
        #expect(choices(policy, six) == [1])
    }

    @Test func aibrixWithoutAMatchTakesTheFewestRunningAtRandom() {
        let rows = [row(0, inFlight: 1), row(1), row(2)]
        #expect(choices(AIBrixPrefixCache(), rows) == [1, 2])
        #expect(choices(AIBrixPrefixCache(), [row(4, inFlight: 3)]) == [4])
    }

    // MARK: SGLang and SMG

    @Test func sglangFollowsTheMatchWhateverTheLoadAboveThreeTenths() {
        let policy = SGLangCacheAware()
        #expect(choices(policy, [row(0), row(1, matched: 496, inFlight: 64)]) == [1])
        // 480 of 1,600 are 0.3, which is not more.
        #expect(choices(policy, [row(0), row(1, matched: 480, inFlight: 1)]) == [0])
        #expect(choices(policy, [row(0), row(1, matched: 800), row(2, matched: 800)]) == [1])
    }

    @Test func sglangForgetsTheCacheWhenLoadIsUneven() {
        let policy = SGLangCacheAware()
        let at = { (a: Int, b: Int) in [self.row(0, matched: 1_600, inFlight: a), self.row(1, inFlight: b)] }
        #expect(choices(policy, at(64, 0)) == [0])
        #expect(choices(policy, at(65, 0)) == [1])
        // 65 more, but 195 is not more than 1.5 times 130.
        #expect(choices(policy, at(195, 130)) == [0])
        #expect(choices(policy, at(196, 130)) == [1])
        // Decided by the fleet, even if the owner is not the one in excess.
        #expect(choices(policy, [row(0, matched: 1_600, inFlight: 3), row(1, inFlight: 80), row(2)]) == [2])
        #expect(choices(policy, [row(0, inFlight: 1), row(1), row(2)]) == [1])
    }

    @Test func smgSharesAmongHoldersAndSpillsFromTheHotOne() {
        let policy = SMGCacheAware()
        let holders = [row(0, matched: 800, inFlight: 3), row(1, matched: 800, inFlight: 2), row(2)]
        #expect(choices(policy, holders) == [1])
        #expect(choices(policy, [row(0, matched: 800), row(1, matched: 800), row(2)]) == [0, 1])
        // Mean (x + 0)/2: above 1.5 times that always, above it and 64 from 129 on.
        #expect(choices(policy, [row(0, matched: 800, inFlight: 128), row(1)]) == [0])
        #expect(choices(policy, [row(0, matched: 800, inFlight: 129), row(1)]) == [1])
        // Mean 148 and 149: 213 is above both and 64, but not above 1.5 times the mean.
        #expect(choices(policy, [row(0, matched: 800, inFlight: 213), row(1, inFlight: 83)]) == [0])
        #expect(choices(policy, [row(0, matched: 800, inFlight: 230), row(1, inFlight: 76)]) == [1])
        // Another server in excess does not matter.
        #expect(choices(policy, [row(0, matched: 1_600, inFlight: 3), row(1, inFlight: 80), row(2)]) == [0])
        #expect(choices(policy, [row(0, matched: 480, inFlight: 1), row(1)]) == [1])
    }

    @Test func smgLooksAtEightHoldersAndBreaksTiesByWhatWasPlaced() {
        var policy = SMGCacheAware()
        let nine = (0..<9).map { row($0, matched: 1_600, inFlight: $0 == 8 ? 0 : 1) }
        #expect(!choices(policy, nine).contains(8))
        #expect(choices(policy, [row(0), row(1), row(2)]) == [0])
        policy.placed(placement(0, 1), [], now: .zero)
        #expect(choices(policy, [row(0), row(1), row(2)]) == [1])
        policy.placed(placement(1, 2), [], now: .zero)
        policy.placed(placement(2, 3), [], now: .zero)
        #expect(choices(policy, [row(0), row(1), row(2)]) == [0])
    }

    // MARK: Dynamo

    @Test func dynamoIdleTakesTheLongestMatchAndTiesAtRandom() {
        #expect(choices(DynamoKV(), [row(0), row(1, matched: 160), row(2, matched: 16)]) == [1])
        #expect(choices(DynamoKV(), [row(0, matched: 160), row(1, matched: 160), row(2)]) == [0, 1])
    }

    /// One token to prefill there weighs as one not cached here.
    @Test func dynamoWeighsBacklogAgainstOverlap() {
        var rows = [row(0, matched: 1_600), row(1)]
        rows[0].own.owedTokens = 1_599
        #expect(choices(DynamoKV(), rows) == [0])
        rows[0].own.owedTokens = 1_600
        #expect(choices(DynamoKV(), rows) == [0, 1])
        rows[0].own.owedTokens = 1_601
        #expect(choices(DynamoKV(), rows) == [1])
        var heedless = DynamoKV()
        heedless.overlap = 0
        #expect(choices(heedless, rows) == [0, 1])
    }

    @Test func dynamoCountsDistinctBlocksInUseUntilTheEnd() {
        var policy = DynamoKV()
        let other: [UInt32] = Array(5_000..<5_160)
        policy.placed(placement(0, 1), other, now: .zero)
        policy.placed(placement(0, 2), other, now: .zero)
        // 10 blocks in use on 0, however many use them: 10 blocks cached there weigh the same.
        #expect(choices(policy, [row(0), row(1)]) == [1])
        #expect(choices(policy, [row(0, matched: 160), row(1)]) == [0, 1])
        policy.ended(placement(0, 1), now: .zero)
        #expect(choices(policy, [row(0), row(1)]) == [1])
        // The blocks that this prompt shares with them cost nothing more.
        #expect(choices(policy, [row(0), row(1)], ask(other)) == [0, 1])
        policy.ended(placement(0, 2), now: .zero)
        policy.ended(placement(0, 2), now: .zero)
        #expect(choices(policy, [row(0), row(1)]) == [0, 1])
    }

    @Test func dynamoTemperatureDraws() {
        var policy = DynamoKV()
        let rows = [row(0, matched: 1_600), row(1)]
        policy.temperature = 0.01
        #expect(choices(policy, rows) == [0])
        policy.temperature = 1
        var chance = SplitMix64(seed: 1)
        let far = (0..<10_000).filter { _ in policy.choose(rows, ask(), &chance) == 1 }.count
        // exp(-1) against 1: 26.9 %.
        #expect((2_500...2_880).contains(far))
        #expect(choices(policy, [row(0), row(1)]) == [0, 1])
    }

    // MARK: llm-d

    @Test func llmdAddsThreeScores() {
        // 3 · 1 + 2 · 0 against 2 · 1: the full match wins over the longest queue.
        #expect(choices(LLMD(), [row(0, matched: 1_600, waiting: 50), row(1)]) == [0])
        // 3 · 0.66 is less than 2, 3 · 0.67 is more.
        #expect(choices(LLMD(), [row(0, matched: 1_056, waiting: 1), row(1)]) == [1])
        #expect(choices(LLMD(), [row(0, matched: 1_072, waiting: 1), row(1)]) == [0])
        // KV usage 0.5 costs 1, a third of the match gains 1 nearly.
        #expect(choices(LLMD(), [row(0, matched: 528, used: 50_000), row(1)]) == [1])
        #expect(choices(LLMD(), [row(0, matched: 544, used: 50_000), row(1)]) == [0])
        #expect(choices(LLMD(), [row(0), row(1), row(2, waiting: 1)]) == [0, 1])
    }

    @Test func llmdSeesOnly4096TokensAndNotWhatItHasSent() {
        let long = [
            row(0, matched: 4_096, prompt: 20_000), row(1, matched: 19_984, prompt: 20_000), row(2, prompt: 20_000),
        ]
        #expect(choices(LLMD(), long) == [0, 1])
        #expect(choices(LLMD(), [row(0, matched: 16, inFlight: 500), row(1)]) == [0])
        // Less than a block has no share to match.
        #expect(choices(LLMD(), [row(0, prompt: 15), row(1, prompt: 15)]) == [0, 1])
    }

    // MARK: Consistent hashing

    @Test func chwblKeepsASessionAndSpreadsSessions() {
        var counts = Array(repeating: 0, count: 4)
        for session in 0..<4_000 {
            let chosen = choices(ConsistentHashing(), (0..<4).map { row($0) }, ask(session: UInt64(session)), seeds: 2)
            #expect(chosen.count == 1)
            counts[chosen.first ?? 0] += 1
        }
        // 256 points a server: each has a quarter, give or take the 6 % that the points vary by.
        #expect(counts.allSatisfy { (750...1_250).contains($0) })
    }

    @Test func chwblMovesOnlyTheSessionsOfAServerThatLeft() {
        let all = (0..<4).map { row($0) }
        for session in 0..<200 as Range<UInt64> {
            let before = choices(ConsistentHashing(), all, ask(session: session), seeds: 1)
            let after = choices(ConsistentHashing(), all.filter { $0.server != 2 }, ask(session: session), seeds: 1)
            #expect(before == [2] ? after != [2] : after == before)
        }
    }

    @Test func chwblPassesAServerAboveItsShare() {
        let home = choices(ConsistentHashing(), (0..<4).map { row($0) }).first ?? 0
        let at = { (mine: Int, others: Int) in
            (0..<4).map { self.row($0, inFlight: $0 == home ? mine : others) }
        }
        // 7 + 3 · 5 = 22 in flight and the new one: at most 1.25 · 23/4 = 7.19 each; without it 6.88. With 8: 7.5.
        #expect(choices(ConsistentHashing(), at(7, 5)) == [home])
        #expect(choices(ConsistentHashing(), at(8, 5)) != [home])
        // Alone with a request: 1.25 · 2/4 = 0.63.
        #expect(choices(ConsistentHashing(), at(1, 0)) != [home])
        #expect(choices(ConsistentHashing(), [row(7, inFlight: 900)]) == [7])
    }

    @Test func chwblByFirstTokensPutsASharedSystemPromptInOnePlace() {
        var policy = ConsistentHashing()
        policy.key = .firstTokens
        let system: [UInt32] = Array(0..<25)
        let rows = (0..<4).map { row($0) }
        let places = { (prefix: [UInt32]) in
            Set((0..<50).flatMap { self.choices(policy, rows, self.ask(prefix + [1_000 + $0]), seeds: 1) })
        }
        #expect(places(system).count == 1)
        #expect(places(Array(system.dropLast())).count == 4)
    }

    // MARK: Preble

    @Test func prebleExploitsWhenMoreIsCachedThanNot() {
        var policy = PrebleE2()
        // 1,600 tokens missed on server 1 make it the dearer one, at 200 ms and 45 answers of 6 ms.
        policy.placed(placement(1, 1), [], now: .zero)
        #expect(choices(policy, [row(0), row(1, matched: 816)]) == [1])
        #expect(choices(policy, [row(0), row(1, matched: 800)]) == [0])
        // Only the longest match is exploited, and the cheaper of two.
        #expect(choices(policy, [row(0, matched: 816), row(1, matched: 832)]) == [1])
        #expect(choices(policy, [row(0, matched: 832), row(1, matched: 832)]) == [0])
        #expect(choices(policy, [row(2), row(3)]) == [2])
    }

    @Test func preblePricesLoadOfThreeMinutes() {
        var policy = PrebleE2()
        policy.placed(placement(0, 1), [], now: .zero)
        // L = 0.125 · 1,600 + 6 · 45 = 470 ms; P of the other 200 ms, of this 102 (784 cached): 572 against 200.
        #expect(choices(policy, [row(0, matched: 784), row(1)], ask(seconds: 180)) == [1])
        #expect(choices(policy, [row(0, matched: 784), row(1)], ask(seconds: 180.1)) == [0])
    }

    @Test func prebleLearnsHowLongAnswersAre() {
        var policy = PrebleE2()
        var chance = SplitMix64(seed: 1)
        let rows = [row(0), row(1)]
        for (server, output) in [(0, 400), (1, 10)] {
            _ = policy.choose(rows, ask(output: output), &chance)
            policy.placed(placement(server, UInt64(server)), [], now: .zero)
        }
        // Nobody knows yet.
        #expect(choices(policy, rows) == [0])
        policy.ended(placement(0, 0), now: .zero)
        policy.ended(placement(1, 1), now: .zero)
        #expect(choices(policy, rows) == [1])
    }

    @Test func preblePricesWhatWouldBeEvictedByItsUse() {
        var policy = PrebleE2()
        for (server, ticket) in [(0, UInt64(1)), (1, 2)] {
            policy.placed(placement(server, ticket, matched: 800), [], now: .zero)
        }
        var rows = [row(0), row(1)]
        rows[0].heldTokens = 98_400
        #expect(choices(policy, rows) == [0])
        rows[0].heldTokens = 98_401
        #expect(choices(policy, rows) == [1])
        rows[0].heldTokens = 0
        rows[0].reported.usedTokens = 100_000
        #expect(choices(policy, rows) == [1])
    }

    @Test func prebleRebalancesAboveOneAndAHalf() {
        // 100 placements on two servers, none missed anything: L is their number.
        let after = { (first: Int) in
            var policy = PrebleE2()
            for ticket in 0..<100 {
                let server = ticket < first ? 0 : 1
                policy.placed(self.placement(server, UInt64(ticket), matched: 1_600), [], now: .zero)
            }
            return self.choices(policy, [self.row(0, matched: 1_600), self.row(1)])
        }
        #expect(after(60) == [0])
        #expect(after(61) == [1])
        var early = PrebleE2()
        early.placed(placement(0, 1), [], now: .zero)
        #expect(choices(early, [row(0, matched: 1_600), row(1)]) == [0])
    }

    @Test func prebleKeepsABoundedHistory() {
        var policy = PrebleE2()
        // The first is forgotten when 65,536 came after it, within the 3 minutes.
        policy.placed(placement(0, 0), [], now: .zero)
        for ticket in 1..<UInt64(1 << 16) { policy.placed(placement(1, ticket), [], now: .zero) }
        #expect(choices(policy, [row(0), row(2)]) == [2])
        policy.placed(placement(1, 1 << 16), [], now: .zero)
        #expect(choices(policy, [row(0), row(2)]) == [0])
    }

    // MARK: SkyWalker

    @Test func skywalkerPrefersItsRegionWhateverTheMatch() {
        let policy = SkyWalker()
        #expect(choices(policy, [row(0, rtt: 0), row(1, matched: 1_600, rtt: 100)]) == [0])
        #expect(choices(policy, [row(0, rtt: 0, waiting: 1), row(1, matched: 16, rtt: 100), row(2, rtt: 50)]) == [1])
        #expect(choices(policy, [row(0, rtt: 0), row(1, matched: 16, inFlight: 90, rtt: 1), row(2, rtt: 1.1)]) == [1])
        #expect(choices(policy, [row(0, rtt: 0), row(1, matched: 16, rtt: 1.1)]) == [0])
    }

    @Test func skywalkerHoldsWhenAllHaveWaitingRequests() {
        var policy = SkyWalker()
        let rows = [row(0, matched: 1_600, rtt: 0, waiting: 1), row(1, rtt: 100, waiting: 3)]
        #expect(choices(policy, rows) == [-1])
        policy.tau = 2
        #expect(choices(policy, rows) == [-1])
        policy.tau = 3
        #expect(choices(policy, rows) == [1])
    }

    @Test func skywalkerTiesByInFlightAndItsThreshold() {
        var policy = SkyWalker()
        let rows = [row(0, matched: 800, inFlight: 2), row(1, matched: 800, inFlight: 1), row(2)]
        #expect(choices(policy, rows) == [1])
        #expect(choices(policy, [row(0, inFlight: 1), row(1), row(2)]) == [1, 2])
        policy.threshold = 0.5
        #expect(choices(policy, rows) == [2])
        #expect(choices(policy, [row(0, matched: 816, inFlight: 2), row(1)]) == [0])
    }

    // MARK: GORGO v1

    @Test func gorgoV1ServesAtHomeWhileThereIsRoom() {
        let policy = GorgoV1()
        let at = { (inFlight: Int, used: Int) in
            [self.row(0, matched: 1_600, rtt: 1), self.row(1, inFlight: inFlight, rtt: 0, used: used)]
        }
        // The cost is not asked.
        #expect(choices(policy, at(4, 94_999), ask(home: 1)) == [1])
        #expect(choices(policy, at(5, 0), ask(home: 1)) == [0])
        #expect(choices(policy, at(0, 95_000), ask(home: 1)) == [0])
        // Two servers of a region are both at 0 ms: home is told, not guessed.
        #expect(choices(policy, [row(0, rtt: 0), row(1, rtt: 0)], ask(home: 1)) == [1])
        // Under a central proxy the nearest.
        #expect(choices(policy, [row(0, rtt: 37), row(1, rtt: 12)]) == [1])
    }

    @Test func gorgoV1ForwardsIfStrictlyCheaperAndElseHolds() {
        let policy = GorgoV1()
        var home = row(0, inFlight: 5, rtt: 0)
        // 0.094 · (0.5 · 1,000 + 500) = 94 ms; both miss the whole prompt.
        home.own.runningTokens = 1_000
        home.own.queuedTokens = 500
        #expect(choices(policy, [home, row(1, rtt: 93.9)], ask(home: 0)) == [1])
        #expect(choices(policy, [home, row(1, rtt: 94.1)], ask(home: 0)) == [-1])
        // Nothing but the match: 150.4 ms against 100 ms and the 75.2 of the other half. No queue of the peer's counts.
        let bare = row(0, inFlight: 5, rtt: 0)
        #expect(choices(policy, [bare, row(1, matched: 800, rtt: 75.1, waiting: 900)], ask(home: 0)) == [1])
        #expect(choices(policy, [bare, row(1, matched: 800, rtt: 75.3)], ask(home: 0)) == [-1])
        #expect(choices(policy, [bare, row(1, rtt: 0)], ask(home: 0)) == [-1])
        // Alone and full; the engine down.
        #expect(choices(policy, [bare], ask(home: 0)) == [-1])
        #expect(choices(policy, [row(1, rtt: 90), row(2, rtt: 80)], ask(home: 0)) == [2])
    }

    // MARK: GORGO v3

    @Test func gorgoV3ChargesForEveryTokenInFlight() {
        let policy = GorgoV3()
        var busy = row(0, matched: 1_600, rtt: 10)
        // 2.76 + 0 + 0.5 · 3,000 against 2.76 + 1,600; its running and its cached tokens count as the others do.
        busy.own.runningTokens = 1_000
        busy.own.queuedTokens = 2_000
        #expect(choices(policy, [busy, row(1, rtt: 10)]) == [0])
        busy.own.queuedTokens = 2_300
        #expect(choices(policy, [busy, row(1, rtt: 10)]) == [1])
        // 100 ms are 27.6 tokens.
        #expect(choices(policy, [row(0, matched: 32, rtt: 110), row(1, rtt: 10)]) == [0])
        #expect(choices(policy, [row(0, matched: 16, rtt: 110), row(1, rtt: 10)]) == [1])
    }

    // MARK: Simple session affinity

    @Test func simpleSessionAffinityIsByTheFirst256Tokens() {
        let rows = (0..<3).map { row($0) }
        let places = { (prefix: Int) in
            Set(
                (0..<50).flatMap { (last: UInt32) in
                    let prompt = Array(0..<UInt32(prefix)) + [1_000 + last]
                    return self.choices(SimpleSessionAffinity(), rows, self.ask(prompt), seeds: 1)
                })
        }
        #expect(places(256).count == 1)
        #expect(places(255) == [0, 1, 2])
    }

    // MARK: All

    private static let names = [
        "gorgo-v1", "gorgo-v3", "simple-session-affinity", "aibrix-prefix-cache", "sglang-cache-aware",
        "smg-cache-aware",
        "dynamo-kv", "llm-d", "chwbl", "preble-e2", "skywalker",
    ]

    @Test func parametersReachTheirPolicies() throws {
        func rival<Policy>(_ text: String, _ type: Policy.Type) throws -> Policy? {
            guard case .rival(let policy) = try PolicySpec(text).rule(for: .neutral) else { return nil }
            return policy as? Policy
        }
        let aibrix = try rival("aibrix-prefix-cache:abs=8:k=1", AIBrixPrefixCache.self)
        #expect(aibrix?.imbalance == 8 && aibrix?.deviations == 1)
        let sglang = try rival("sglang-cache-aware:threshold=0.5:abs=32:rel=1.1", SGLangCacheAware.self)
        #expect(sglang?.threshold == 0.5 && sglang?.absolute == 32 && sglang?.relative == 1.1)
        let smg = try rival("smg-cache-aware:threshold=0.5:abs=32:rel=1.1", SMGCacheAware.self)
        #expect(smg?.threshold == 0.5 && smg?.absolute == 32 && smg?.relative == 1.1)
        let dynamo = try rival("dynamo-kv:overlap=2:temperature=0.5", DynamoKV.self)
        #expect(dynamo?.overlap == 2 && dynamo?.temperature == 0.5)
        let llmd = try rival("llm-d:prefix=1:queue=4:kv=5", LLMD.self)
        #expect(llmd?.prefix == 1 && llmd?.queue == 4 && llmd?.kv == 5)
        let chwbl = try rival("chwbl:load=2:points=100:key=1", ConsistentHashing.self)
        #expect(chwbl?.load == 2 && chwbl?.points == 100 && chwbl?.key == .firstTokens)
        let preble = try rival("preble-e2:prefill_ms=0.1:decode_ms=7:balance=2", PrebleE2.self)
        #expect(preble?.prefill == 0.1 && preble?.decode == 7 && preble?.balance == 2)
        let skywalker = try rival("skywalker:threshold=0.5:tau=10", SkyWalker.self)
        #expect(skywalker?.threshold == 0.5 && skywalker?.tau == 10)
        let gorgo = try rival("gorgo-v1@nodes:ms_per_token=0.5:q=1:running_threshold=9", GorgoV1.self)
        #expect(gorgo?.msPerToken == 0.5 && gorgo?.runningShare == 1 && gorgo?.runningThreshold == 9)
        let third = try rival("gorgo-v3:w_rtt=1:w_queue=0.25", GorgoV3.self)
        #expect(third?.rttWeight == 1 && third?.queueWeight == 0.25)
        #expect(try rival("simple-session-affinity", SimpleSessionAffinity.self) != nil)
    }

    @Test(arguments: names) func unknownParametersAreErrors(_ name: String) {
        #expect(throws: SimulationError.self) { try PolicySpec("\(name):no_such=1") }
    }

    /// 120 requests of 12 sessions behind one system prompt, in both forms: all are served, and again the same.
    @Test(arguments: names) func everyRivalServesAndRepeats(_ name: String) throws {
        var workload = Workload(name: "test")
        let system = workload.addBlock(name: 1)
        let own = (0..<12).map { workload.addBlock(name: UInt64(2 + $0)) }
        for request in 0..<120 {
            let session = request * 7 % 12
            workload.add(
                [Segment(block: system, tokens: 320), Segment(block: own[session], tokens: 640)], outputTokens: 20,
                arrival: .at(Nanoseconds(milliseconds: Double(request) * 5)), user: session, session: session)
        }
        var scenario = Scenario(network: .physical, engine: .neutral, perRegion: 2)
        scenario.maxConcurrent = 8
        for topology in ["", "@nodes"] {
            let first = try Simulation.run(workload, scenario, PolicySpec(name + topology))
            #expect(first.requests.allSatisfy { $0.outcome == .ok })
            let second = try Simulation.run(workload, scenario, PolicySpec(name + topology))
            #expect(first.requests == second.requests)
        }
    }
}
