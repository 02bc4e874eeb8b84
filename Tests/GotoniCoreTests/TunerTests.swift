import TestSupport
import Testing

@testable import GotoniCore

/// The test over differences, and the rounds that they come from.
@Suite struct SequentialTestTests {
    /// About normal, mean 0, deviation 1.
    private func noise(_ chance: inout SplitMix64) -> Double {
        (0..<12).reduce(-6.0) { sum, _ in sum + Double(chance.next() >> 11) / 9_007_199_254_740_992 }
    }

    private func verdict(mean: Double, seed: UInt64) -> SequentialTest.Verdict? {
        var chance = SplitMix64(seed: seed)
        var test = SequentialTest()
        for _ in 0..<30 {
            test.add(mean + 0.1 * noise(&chance))
            if let verdict = test.verdict { return verdict }
        }
        return nil
    }

    /// Looked at after each of 30 differences it errs in two of a hundred at most, and finds what is as large as the noise.
    @Test func itMayBeLookedAtAnyTime() {
        let seeds = Seeds.sequence(1_000)
        let alarms = seeds.count { verdict(mean: 0, seed: $0) != nil }
        #expect(alarms * 100 <= 3 * seeds.count, "\(alarms) false alarms of \(seeds.count)")
        for (mean, right) in [(0.1, SequentialTest.Verdict.better), (-0.1, .worse)] {
            let found = seeds.count { verdict(mean: mean, seed: $0) == right }
            #expect(found * 100 >= 90 * seeds.count, "\(found) of \(seeds.count) at \(mean)")
        }
    }

    @Test func aLargeLossIsADisasterAtOnce() {
        var test = SequentialTest()
        for difference in [-0.5, -0.5, 0.1, -0.2, -0.3] { test.add(difference) }
        #expect(!test.isDisaster)
        test.add(-0.11)
        #expect(test.isDisaster && test.verdict == nil)
    }

    /// However late answers come, and in whatever order: a round gives the difference of the means of those that were sent in it,
    /// and not before its last one has ended.
    @Test(arguments: [Rounds.Pattern.sideBySide, .byTurns])
    func aRoundCountsWhatWasSentInIt(_ pattern: Rounds.Pattern) {
        for seed in Seeds.sequence(50) {
            var chance = SplitMix64(seed: seed)
            var rounds = Rounds()
            rounds.begin(pattern)
            var waiting: [(place: Rounds.Place, arm: Tuner.Arm, score: Double)] = []
            var expected: [UInt32: [Tuner.Arm: [Double]]] = [:]
            var outcomes: [Rounds.Outcome] = []
            var now = Nanoseconds(0)
            for _ in 0..<2_000 {
                now = Nanoseconds(now.rawValue + UInt64(chance.next(below: 100_000_000)))
                let arm = rounds.arm(chance.next())
                let place = rounds.enter(arm, now: now, answer: 500)
                waiting.append((place, arm, Double(chance.next(below: 1_000)) / 1_000))
                while waiting.count > 200 {
                    let (place, arm, score) = waiting.remove(at: chance.next(below: waiting.count))
                    // Some are never sent.
                    let isSent = chance.next(below: 20) > 0
                    if place.isCounted, isSent { expected[place.round, default: [:]][arm, default: []].append(score) }
                    rounds.leave(place, arm, isSent ? score : nil)
                    while let outcome = rounds.next() { outcomes.append(outcome) }
                }
            }
            // What is left ends as well, in any order.
            while !waiting.isEmpty {
                let (place, arm, score) = waiting.remove(at: chance.next(below: waiting.count))
                if place.isCounted { expected[place.round, default: [:]][arm, default: []].append(score) }
                rounds.leave(place, arm, score)
                while let outcome = rounds.next() { outcomes.append(outcome) }
            }
            let means = expected.sorted { $0.key < $1.key }.map { round in
                [Tuner.Arm.trial, .control].map { arm in
                    let scores = round.value[arm] ?? []
                    return scores.reduce(0, +) / Double(scores.count)
                }
            }
            #expect(outcomes.count >= 3, "seed \(seed)")
            for (outcome, mean) in zip(outcomes, means) {
                #expect((outcome.difference - (mean[0] - mean[1])).magnitude < 1e-9, "seed \(seed)")
            }
        }
    }
}

/// The tuner in worlds in which it is known what is better.
@Suite struct TunerTests {
    /// Serves requests, twenty a second, half a second each; `pace` says how slow one is, in first-token limits.
    private struct World {
        var tuner = Tuner()
        var chance: SplitMix64
        var now = Nanoseconds(0)
        private var underWay: [(ends: Nanoseconds, stake: Tuner.Stake, pace: Double)] = []
        /// Scores that were got, and those that home would have got.
        var got = 0.0
        var home = 0.0

        init(seed: UInt64) {
            chance = SplitMix64(seed: seed)
            tuner.start(TunerSettings(), dimensions: 0b1111, seed: seed)
        }

        mutating func serve(_ requests: Int, pace: (Tuner.Point, _ share: Double) -> Double) {
            for _ in 0..<requests {
                now = Nanoseconds(now.rawValue + 50_000_000)
                while let first = underWay.first, first.ends <= now {
                    var stake = first.stake
                    stake.firstToken = Float(first.pace * tuner.settings.firstTokenLimit)
                    tuner.leave(stake, .ok, interToken: nil, waited: 0)
                    underWay.removeFirst()
                }
                let arm = tuner.arm(session: chance.next() | 1)
                // How many are served as this one, for worlds in which that matters.
                let share = tuner.phase == .comparing ? (arm == .trial ? 0.25 : 0.75) : 1
                let stake = tuner.enter(arm, fresh: 1_000, now: now)
                let noise = 0.6 + 0.8 * Double(chance.next() >> 11) / 9_007_199_254_740_992
                let mine = noise * pace(tuner.point(arm), share)
                func score(_ pace: Double) -> Double { 1 / (1 + pace * pace * pace * pace) }
                got += score(mine)
                home += score(noise * pace(Tuner.home, 1))
                underWay.append((Nanoseconds(now.rawValue + 500_000_000), stake, mine))
            }
        }
    }

    private func distance(_ factor: Double, _ best: Double) -> Double { max(factor / best, best / factor) - 1 }

    /// Weight 0 should be four times what it is, the others are right: it finds that, and serves better while it looks.
    @Test func itFindsBetterWeights() {
        for seed in Seeds.sequence(20) {
            var world = World(seed: seed)
            let pace = { (point: Tuner.Point, _: Double) in
                0.7 + 0.15 * self.distance(point[0], 4) + 0.1 * self.distance(point[1], 1)
            }
            world.serve(40_000, pace: pace)
            let found = pace(world.tuner.incumbent, 1)
            #expect(found < 0.95, "seed \(seed): \(found) instead of \(pace(Tuner.home, 1))")
            #expect(world.got > 1.1 * world.home, "seed \(seed)")
        }
    }

    /// Where home is best, looking for more costs no more than two requests in a hundred.
    @Test func whereNothingIsBetterLittleIsLost() {
        for seed in Seeds.sequence(20) {
            var world = World(seed: seed)
            world.serve(20_000) { point, _ in
                0.8 + 0.2 * (0..<4).map { self.distance(point[$0], 1) }.reduce(0, +)
            }
            #expect(world.got > 0.98 * world.home, "seed \(seed): \(world.got / world.home)")
            #expect(world.tuner.counts.rejected > 0, "seed \(seed)")
        }
    }

    /// A trap: a larger weight 0 is better for those who have it as long as they are few, and worse for all if all have it.
    @Test func whatWinsAtTheCostOfOthersIsNotTaken() {
        for seed in Seeds.sequence(20) {
            var world = World(seed: seed)
            world.serve(20_000) { point, share in
                let greed = max(point[0] - 1, 0)
                return 0.8 - 0.3 * min(greed, 1) * (1 - share) + 0.3 * greed * (share == 1 ? 1 : 0)
            }
            #expect(world.tuner.incumbent[0] <= 1, "seed \(seed)")
            #expect(world.got > 0.98 * world.home, "seed \(seed): \(world.got / world.home)")
        }
    }

    /// What was right becomes wrong: the incumbent is found out and home serves again.
    @Test func itGoesHomeWhenTheWorldChanges() {
        for seed in Seeds.sequence(20) {
            var world = World(seed: seed)
            world.serve(60_000) { point, _ in 0.7 + 0.15 * self.distance(point[0], 4) }
            guard world.tuner.incumbent[0] > 1.25 else {
                Issue.record("seed \(seed): nothing was found")
                continue
            }
            (world.got, world.home) = (0, 0)
            world.serve(30_000) { point, _ in 0.7 + 0.15 * self.distance(point[0], 1) }
            #expect(distance(world.tuner.incumbent[0], 1) < 0.7, "seed \(seed): \(world.tuner.incumbent[0])")
            #expect(world.got > 0.95 * world.home, "seed \(seed): \(world.got / world.home)")
        }
    }

    @Test func frozenItTriesNothingAndRolledBackItIsHome() {
        var world = World(seed: 1)
        world.serve(60_000) { point, _ in 0.7 + 0.15 * self.distance(point[0], 4) }
        world.tuner.freeze()
        let (incumbent, counts) = (world.tuner.incumbent, world.tuner.counts)
        #expect(incumbent[0] > 1.25)
        world.serve(5_000) { point, _ in 0.7 + 0.15 * self.distance(point[0], 4) }
        #expect(world.tuner.incumbent[0] == incumbent[0] && world.tuner.counts.proposed == counts.proposed)
        #expect(world.tuner.arm(session: 7) == .control && world.tuner.point(.control)[0] == incumbent[0])
        world.tuner.rollback()
        #expect(world.tuner.phase == .frozen && (0..<4).allSatisfy { world.tuner.point(.control)[$0] == 1 })
    }
}

/// The tuner in its router.
@Suite struct RouterTunerTests {
    /// 400 requests, each answered at once: the tuner then compares.
    private func comparing(_ test: RouterUnderTest) throws {
        try test.router.startTuner(TunerSettings())
        for session in UInt64(1)...400 {
            let decision = try test.route([1, 2, 3], session: session)
            try test.router.firstToken(decision.ticket!, now: test.now)
            try test.router.finish(decision.ticket!, .ok, now: test.now)
            test.wait(milliseconds: 10)
        }
        #expect(test.router.tunerStatus().phase == .comparing)
    }

    /// Groups of servers are passed over by costs with other weights: that never hides the cheapest.
    @Test(arguments: [PolicyID.gorgo, .predictive])
    func whatIsOnTrialFindsItsCheapestToo(_ policy: PolicyID) throws {
        for seed in Seeds.sequence(20) {
            let test = try RouterUnderTest(servers: 300)
            test.router.setPolicy(policy)
            try comparing(test)
            var chance = SplitMix64(seed: seed)
            for id in UInt64(1)...300 {
                try test.observeRTT(id, milliseconds: Double(chance.pick(0...300)))
                var metrics = EngineMetrics()
                metrics.queuedRequests = UInt64(chance.pick(0...4))
                metrics.queuedTokens = UInt64(chance.pick(0...4_000))
                metrics.runningRequests = UInt64(chance.pick(0...8))
                if chance.chance(80) { try test.router.observeMetrics(ServerID(id), metrics, now: test.now) }
                if chance.chance(30) { try test.insert(Array(0..<UInt32(chance.pick(1...400))), on: id) }
            }
            var trials = 0
            for session in UInt64(1)...60 {
                let prompt: [UInt32] = Array(0..<UInt32(chance.pick(0...500)))
                let (rows, decision) = try test.explain(prompt, session: session)
                guard let decision else { continue }
                trials += decision.isTrial ? 1 : 0
                let costs = rows.map { policy == .gorgo ? $0.cost.total : $0.prediction.cost }
                let cost = policy == .gorgo ? decision.cost.total : decision.prediction.cost
                #expect(cost == costs.min(), "seed \(seed), session \(session), trial \(decision.isTrial)")
            }
            #expect((5...30).contains(trials), "seed \(seed): \(trials)")
            #expect(try test.router.violation() == nil, "seed \(seed)")
        }
    }

    /// A session keeps its arm while a candidate is on trial.
    @Test func aSessionIsServedByOneArm() throws {
        let test = try RouterUnderTest(servers: 3)
        try comparing(test)
        for session in UInt64(1)...30 {
            let arms = try (0..<3).map { _ in try test.explain([1, 2, 3], session: session).decision?.isTrial }
            #expect(Set(arms).count == 1)
        }
    }

    /// Frozen at home it changes no decision: the control that every figure of a tuner needs.
    @Test func frozenItDecidesAsWithout() throws {
        for seed in Seeds.sequence(5) {
            func decisions(tuned: Bool) throws -> [UInt64] {
                let test = try RouterUnderTest(RouterUnderTest.small(seed: seed), servers: 5)
                test.router.setPolicy(.predictive)
                if tuned {
                    try test.router.startTuner(TunerSettings())
                    test.router.freezeTuner()
                }
                var chance = SplitMix64(seed: seed)
                return try (0..<500).map { _ in
                    test.wait(milliseconds: Double(chance.pick(1...50)))
                    let decision = try test.route(Array(0..<UInt32(chance.pick(1...300))), session: chance.next())
                    if chance.chance(60) { try test.router.firstToken(decision.ticket!, now: test.now) }
                    if chance.chance(50) { try test.router.finish(decision.ticket!, .ok, now: test.now) }
                    return decision.server.rawValue
                }
            }
            #expect(try decisions(tuned: true) == decisions(tuned: false), "seed \(seed)")
        }
    }

    /// Whoever turns a weight by hand, or takes another policy, wants what was set: the tuner begins there.
    @Test func whatIsSetByHandIsHome() throws {
        let test = try RouterUnderTest(servers: 3)
        try comparing(test)
        try test.router.set(.rttWindowMs, to: 1_000)
        #expect(test.router.tunerStatus().phase == .comparing, "that is no weight")
        try test.router.set(.rttWeight, to: 2)
        var status = test.router.tunerStatus()
        #expect(status.phase == .warming && status.weights[0].home == 2 && status.weights[0].incumbent == 2)
        test.router.setPolicy(.predictive)
        status = test.router.tunerStatus()
        #expect(status.phase == .warming && status.weightCount == 3 && status.weights[0].knob == .decodeWeight)
        test.router.setPolicy(.random)
        #expect(test.router.tunerStatus().phase == .off)
        #expect(throws: RouterError.untunable) { try test.router.startTuner(TunerSettings()) }
    }

    private func follow(_ test: RouterUnderTest, _ weights: [TunedWeight]) throws {
        try test.router.followTuner(TunerSettings(), weights.span)
    }

    private func weights(_ test: RouterUnderTest) -> [TunerStatus.Weight] {
        let status = test.router.tunerStatus()
        return (0..<status.weightCount).map { status.weights[$0] }
    }

    /// What another has found decides here as it does there, and home stays what was set.
    @Test func whatIsFollowedDecidesAsIfItWereSet() throws {
        for seed in Seeds.sequence(10) {
            let (following, other) = (try RouterUnderTest(servers: 5), try RouterUnderTest(servers: 5))
            try follow(following, [TunedWeight(.rttWeight, 3), TunedWeight(.queuedWeight, 0.25)])
            try other.router.set(.rttWeight, to: 3)
            try other.router.set(.queuedWeight, to: 0.25)
            var chance = SplitMix64(seed: seed)
            for _ in 0..<200 {
                let (prompt, session) = (Array(0..<UInt32(chance.pick(1...300))), chance.next())
                let rtt = Double(chance.pick(0...50))
                let decisions = try [following, other].map { test in
                    test.wait(milliseconds: 5)
                    try test.observeRTT(session % 5 + 1, milliseconds: rtt)
                    return try test.route(prompt, session: session)
                }
                #expect(decisions[0].server == decisions[1].server && decisions[0].cost == decisions[1].cost)
                #expect(!decisions[0].isTrial, "seed \(seed)")
            }
            #expect(following.router.value(of: .rttWeight) == 1)
            let status = following.router.tunerStatus()
            #expect(status.phase == .following && status.counts.requests == 200 && status.counts.proposed == 0)
            #expect(weights(following).map(\.incumbent).prefix(2) == [3, 0.25])
            #expect(try following.router.violation() == nil)
        }
    }

    @Test func whatIsFollowedKeepsWithinTheTunersBounds() throws {
        let test = try RouterUnderTest(servers: 2)
        let home = test.router.value(of: .queuedWeight)
        try follow(test, [TunedWeight(.rttWeight, 1e300), TunedWeight(.queuedWeight, 1e-300)])
        #expect(weights(test)[0].incumbent == min(16, Knob.rttWeight.info.bounds.upperBound))
        #expect(weights(test)[1].incumbent == home / 16)
        let before = weights(test)
        for wrong in [0, -1, Double.nan, .infinity] {
            #expect(throws: RouterError.range) { try follow(test, [TunedWeight(.rttWeight, wrong)]) }
        }
        for knob in [Knob.msPerToken, .decodeWeight] {
            #expect(throws: RouterError.untunable) { try follow(test, [TunedWeight(knob, 1)]) }
        }
        #expect(weights(test).map(\.incumbent) == before.map(\.incumbent), "what is refused changes nothing")
        try test.router.set(.rttWeight, to: 0)
        #expect(throws: RouterError.untunable, "it was switched off") {
            try follow(test, [TunedWeight(.rttWeight, 1)])
        }
        test.router.setPolicy(.random)
        #expect(throws: RouterError.untunable) { try follow(test, []) }
    }

    /// Following ends with a weight or a policy that is set here, and on order; a start goes on from what was followed.
    @Test func followingEndsOnOrderAndAStartGoesOnFromIt() throws {
        let test = try RouterUnderTest(servers: 2)
        func following() throws {
            test.router.setPolicy(.gorgo)
            try follow(test, [TunedWeight(.rttWeight, 2 * test.router.value(of: .rttWeight))])
            #expect(test.router.tunerStatus().phase == .following)
        }
        let phase = { test.router.tunerStatus().phase }
        try following()
        try test.router.set(.rttWindowMs, to: 1_000)
        #expect(phase() == .following, "that is no weight")
        try test.router.set(.rttWeight, to: 1.5)
        #expect(phase() == .off)
        try following()
        test.router.setPolicy(.predictive)
        #expect(phase() == .off)
        try following()
        test.router.stopTuner()
        #expect(phase() == .off && test.router.tunerStatus().weightCount == 0)
        try following()
        test.router.rollBackTuner()
        #expect(phase() == .frozen && weights(test)[0].incumbent == 1.5)
        try following()
        try test.router.startTuner(TunerSettings())
        #expect(phase() == .warming && weights(test)[0].incumbent == 3)
        try comparing(test)
        #expect(weights(test)[0].incumbent == 3)
        try following()
        #expect(weights(test).allSatisfy { $0.trial == $0.incumbent }, "and gives way to another's")
    }

    /// Whatever becomes of tickets, the tuner counts each once and no round waits for what will never end.
    @Test func everyTicketIsSettledOnce() throws {
        for seed in Seeds.sequence(20) {
            let test = try RouterUnderTest(servers: 4)
            var chance = SplitMix64(seed: seed)
            try test.router.set(.ticketSilenceMs, to: 5_000)
            try test.router.startTuner(TunerSettings())
            var open: [Ticket] = []
            var (sent, ended) = (UInt64(0), UInt64(0))
            for step in 0..<6_000 {
                test.wait(milliseconds: Double(chance.pick(10...40)))
                if let decision = try? test.route([1, 2, 3], session: chance.next()) {
                    open.append(decision.ticket!)
                    sent += 1
                }
                while open.count > 20 {
                    let ticket = open.remove(at: chance.next(below: open.count))
                    // Some are forgotten, and end for silence; some servers go with what they have.
                    if chance.chance(3) { continue }
                    if chance.chance(80) { try? test.router.firstToken(ticket, now: test.now) }
                    let outcome = [Outcome.ok, .ok, .ok, .failed, .cancelled, .notSent][chance.next(below: 6)]
                    try test.router.finish(ticket, outcome, now: test.now)
                    try test.router.finish(ticket, .ok, now: test.now)
                }
                if step % 500 == 499 {
                    let id = ServerID(UInt64(chance.pick(1...4)))
                    try test.router.remove(id, now: test.now)
                    try test.router.add(ServerConfiguration(id: id), now: test.now)
                }
            }
            ended = test.router.tunerStatus().counts.ended
            let open2 = UInt64(test.router.statistics().openTickets)
            #expect(test.router.tunerStatus().counts.requests == sent, "seed \(seed)")
            #expect(ended <= sent - open2 && ended > sent / 2, "seed \(seed): \(ended) of \(sent)")
            let status = test.router.tunerStatus()
            #expect(status.counts.proposed >= 2 || status.phase == .confirming, "seed \(seed): rounds come to an end")
        }
    }
}
