import TestSupport
import Testing

@testable import GotoniCore

/// What requests will meet, by hand and by what answers teach.
@Suite struct PredictionTests {
    private func ms(_ nanoseconds: Int64) -> Double { Double(nanoseconds) / 1e6 }

    private func router(servers: Int = 1) throws -> RouterUnderTest {
        let test = try RouterUnderTest(servers: servers)
        test.router.setPolicy(.predictive)
        try test.router.set(.decodeWeight, to: 1)
        try test.router.set(.othersWeight, to: 0.5)
        return test
    }

    /// Nobody there, nothing learned: round trip, prefill at 0.094 ms, and the answer of 3 s. 10,000 tokens are 50 kB of JSON:
    /// 14.6 + 29.2 kB are sent in two flights, the rest in a third; so two round trips more.
    @Test func anIdleServerByHand() throws {
        let test = try router()
        try test.observeRTT(1, milliseconds: 40)
        let row = try test.explain(Array(0..<10_000)).rows[0].prediction
        #expect(row.network == 40_000_000 && ms(row.upload).rounded() == 80 && row.wait == 0)
        #expect((ms(row.prefill) - 940).magnitude < 0.01 && row.decode == 3_000_000_000 && row.others == 0)
        #expect(row.firstToken == row.network + row.upload + row.prefill && row.last == row.firstToken + row.decode)
        #expect((ms(row.cost) - 40 - 80 - 940 - 3_000).magnitude < 0.01)
        #expect(try ms(test.explain(Array(0..<2_919)).rows[0].prediction.upload) == 0)
    }

    /// Beside two that decode: the answer is longer by 100 ms for each, and they wait for its prefill and share their steps
    /// with it.
    @Test func neighboursByHand() throws {
        let test = try router()
        try test.router.set(.learning, to: 0)
        try test.observeRTT(1, milliseconds: 0)
        try test.load(1, requests: 2, tokens: 100, running: true)
        let row = try test.explain(Array(0..<1_000)).rows[0].prediction
        #expect((ms(row.decode) - 3_200).magnitude < 1)
        #expect((ms(row.others) - 2 * (94 + 100)).magnitude < 1)
        #expect((ms(row.cost) - 94 - 3_200 - 0.5 * 2 * (94 + 100)).magnitude < 1)
        try test.router.set(.othersWeight, to: 0)
        try test.router.set(.decodeWeight, to: 0)
        #expect(try (ms(test.explain(Array(0..<1_000)).rows[0].prediction.cost) - 94).magnitude < 1)
    }

    /// What waits there is worked off while time passes, and while a request is on its way; but the prompt in work is not
    /// believed done before its first token was seen.
    @Test func theBacklogIsWorkedOff() throws {
        let test = try router(servers: 2)
        try test.observeRTT(1, milliseconds: 20)
        try test.observeRTT(2, milliseconds: 0)
        func wait(_ server: Int) throws -> Double { try ms(test.explain([1]).rows[server].prediction.wait) }
        try test.load(1, requests: 2, tokens: 10_000)
        #expect(try (wait(0) - (1_880 - 20)).magnitude < 2, "sent just now: it is at work when the next arrives")
        #expect(try wait(1) == 0)
        test.wait(milliseconds: 520)
        #expect(try (wait(0) - (1_880 - 20 - 500)).magnitude < 2)
        test.wait(milliseconds: 5_000)
        #expect(try (wait(0) - (940 - 20)).magnitude < 2, "the first has not been seen to end")
    }

    /// More requests than the engine runs at one time: one must end first.
    @Test func aFullEngineHasNoPlace() throws {
        let test = try router()
        try test.observeRTT(1, milliseconds: 0)
        var metrics = EngineMetrics()
        metrics.runningLimit = 4
        try test.router.observeMetrics(ServerID(1), metrics, now: test.now)
        try test.load(1, requests: 3, tokens: 10, running: true)
        #expect(try test.explain([1]).rows[0].prediction.wait == 0)
        try test.load(1, requests: 1, tokens: 10, running: true)
        // 3 s and 100 ms for each of four, of which one ends after a quarter of that.
        #expect(try (ms(test.explain([1]).rows[0].prediction.wait) - 3_400 / 4).magnitude < 1)
        metrics.runningLimit = 0
        #expect(throws: RouterError.range) { try test.router.observeMetrics(ServerID(1), metrics, now: test.now) }
    }

    /// A server that takes three times as long as it was told, another twice as fast: both are found out.
    @Test func speedsAreLearned() throws {
        for seed in Seeds.sequence(20) {
            var random = SplitMix64(seed: seed)
            let test = try router(servers: 2)
            for server in UInt64(1)...2 { try test.observeRTT(server, milliseconds: 10) }
            let speed = [1: 0.3, 2: 0.05]
            for round in 0..<400 {
                let tokens = random.pick(100...4_000)
                let server = UInt64(1 + round % 2)
                let decision = try test.route(
                    (0..<tokens).map { UInt32(round * 10_000 + $0) }, excluding: [3 - server])
                let ticket = try #require(decision.ticket)
                test.wait(
                    milliseconds: 10 + speed[Int(server)]! * Double(tokens)
                        * (0.9 + 0.2 * Double(random.pick(0...100)) / 100))
                try test.router.firstToken(ticket, now: test.now)
                test.wait(milliseconds: 10 * Double(random.pick(50...150)))
                try test.router.finish(ticket, .ok, now: test.now)
            }
            let learned = try (1...2).map { try test.router.info(ServerID($0), now: test.now).learned }
            #expect((learned[0].prefillPerToken + learned[0].readingPerToken - 0.3).magnitude < 0.03, "seed \(seed)")
            #expect((learned[1].prefillPerToken + learned[1].readingPerToken - 0.05).magnitude < 0.02, "seed \(seed)")
            #expect((learned[0].decode - 1_000).magnitude < 150 && learned[0].predictions == 200, "seed \(seed)")
            #expect(learned[0].bias.magnitude < 30, "seed \(seed)")
        }
    }

    /// A server without answers is taken for one like the others.
    @Test func aNewServerIsLikeTheOthers() throws {
        let test = try router(servers: 1)
        try test.observeRTT(1, milliseconds: 0)
        for round in 0..<300 {
            let tokens = 500 + round * 7 % 1_500
            let ticket = try #require(try test.route((0..<tokens).map { UInt32(round * 10_000 + $0) }).ticket)
            test.wait(milliseconds: 0.5 * Double(tokens))
            try test.router.firstToken(ticket, now: test.now)
            try test.router.finish(ticket, .ok, now: test.now)
        }
        try test.router.add(ServerConfiguration(id: ServerID(2)), now: test.now)
        try test.observeRTT(2, milliseconds: 0)
        let rows = try test.explain((0..<2_000).map { UInt32(9_000_000 + $0) }).rows
        #expect((ms(rows[1].prediction.firstToken) - 1_000).magnitude < 100)
    }

    @Test func withoutLearningSpeedsStay() throws {
        let test = try router()
        try test.router.set(.learning, to: 0)
        for round in 0..<50 {
            let ticket = try #require(try test.route([UInt32(round)]).ticket)
            test.wait(milliseconds: 5_000)
            try test.router.firstToken(ticket, now: test.now)
            try test.router.finish(ticket, .ok, now: test.now)
        }
        let learned = try test.router.info(ServerID(1), now: test.now).learned
        #expect(learned.predictions == 0 && learned.prefillPerToken == 0.094 && learned.decode == 3_000)
    }

    /// A server where every term is something: a prompt that drives others out, behind two that wait.
    @Test func aFactorMultipliesItsTermOfTheCostAndNothingThatIsShown() throws {
        let test = try router()
        try test.router.set(.learning, to: 0)
        try test.router.add(ServerConfiguration(id: ServerID(2), kvCapacityTokens: 6_000), now: test.now)
        try test.observeRTT(2, milliseconds: 40)
        try test.insert(Array(5_000_000..<5_004_000), on: 2)
        try test.load(2, requests: 2, tokens: 1_000)
        func row() throws -> Prediction { try test.explain(Array(0..<3_000)).rows[1].prediction }
        let whole = try row()
        // 1,000 of the 3,000 tokens drive others out, of which half are asked for again; others count half.
        let worth: [(PredictionTerm, Double)] = [
            (.network, 40), (.upload, 40), (.wait, ms(whole.wait)), (.prefill, 282), (.decode, 3_200),
            (.others, 0.5 * 2 * (282 + 100)), (.eviction, 0.5 * 94), (.doubt, 0),
        ]
        #expect(worth.map(\.0) == PredictionTerm.allCases && whole.wait > 0)
        #expect((worth.reduce(0) { $0 + $1.1 } - ms(whole.cost)).magnitude < 0.01)
        for (term, milliseconds) in worth {
            for factor in [0, 0.5, 2, 10] {
                try test.router.set(term, factor: factor)
                var found = try row()
                let change = (factor - 1) * milliseconds
                #expect((ms(found.cost) - ms(whole.cost) - change).magnitude < 0.01, "\(term) times \(factor)")
                found.cost = whole.cost
                #expect(found == whole, "\(term) times \(factor)")
            }
            try test.router.set(term, factor: 1)
            for wrong in [-0.01, 10.01, .nan] {
                #expect(throws: RouterError.range) { try test.router.set(term, factor: wrong) }
            }
        }
        #expect(try row() == whole)
    }

    /// The groups that are passed over hold nobody cheaper: among many servers with loads, distances, matches and speeds of
    /// their own, the choice is that of looking at all.
    @Test func theLeastOfManyIsTheLeast() throws {
        for seed in Seeds.sequence(30) { try checkTheLeastOfMany(seed) { _, _ in } }
    }

    /// The same with factors on the terms: the bounds have them too.
    @Test func theLeastOfManyIsTheLeastWithAnyFactors() throws {
        for seed in Seeds.sequence(30) {
            try checkTheLeastOfMany(seed) { test, random in
                for term in PredictionTerm.allCases {
                    let factor = random.chance(20) ? 0 : Double(random.pick(0...1_000)) / 100
                    try test.router.set(term, factor: factor)
                }
            }
        }
    }

    private func checkTheLeastOfMany(
        _ seed: UInt64, _ prepare: (RouterUnderTest, inout SplitMix64) throws -> Void
    ) throws {
        var random = SplitMix64(seed: seed)
        let test = try router(servers: 300)
        try prepare(test, &random)
        for server in UInt64(1)...300 where random.chance(90) {
            try test.observeRTT(server, milliseconds: Double(random.pick(1...300)))
        }
        for round in 0..<600 {
            let prompt = (0..<random.pick(1...600)).map { UInt32(round % 40 * 1_000 + $0) }
            let (rows, expected) = try test.explain(prompt)
            let least = rows.filter { $0.verdict == .eligible }.map(\.prediction.cost).min()
            let decision = try test.route(prompt)
            #expect(decision.prediction.cost == least && decision.server == expected?.server, "seed \(seed)")
            guard let ticket = decision.ticket else { return }
            test.wait(milliseconds: Double(random.pick(0...400)))
            if random.chance(80) { try test.router.firstToken(ticket, now: test.now) }
            if random.chance(60) { try test.router.finish(ticket, .ok, now: test.now) }
        }
        #expect(try test.router.violation() == nil, "seed \(seed)")
    }
}
