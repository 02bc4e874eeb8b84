import TestSupport
import Testing

@testable import GotoniCore

@Suite struct DeterminismTests {
    /// Everything a run decides, as one number.
    private func run(seed: UInt64, policy: PolicyID) throws -> UInt64 {
        var random = SplitMix64(seed: 99)
        let test = try RouterUnderTest(RouterUnderTest.small(seed: seed, budget: 1 << 16), servers: 9)
        test.router.setPolicy(policy)
        var prompts = Prompts(blockTokens: 1)
        var open: [Ticket] = []
        var trail: UInt64 = 0
        for step in 0..<2_000 {
            test.wait(milliseconds: Double(random.next(below: 50)))
            if random.chance(10) {
                try test.observeRTT(UInt64(random.pick(1...9)), milliseconds: Double(random.pick(1...400)))
            }
            let decision = try test.route(prompts.next(&random), session: UInt64(step % 17))
            trail = Key.mix(trail, decision.server.rawValue ^ UInt64(bitPattern: decision.cost.total))
            open.append(decision.ticket!)
            if open.count > 20 {
                let ticket = open.remove(at: random.next(below: open.count))
                try test.router.firstToken(ticket, now: test.now)
                try test.router.finish(ticket, .ok, now: test.now)
            }
        }
        return trail
    }

    @Test(arguments: PolicyID.allCases) func theSameSeedAndCallsGiveTheSameDecisions(_ policy: PolicyID) throws {
        #expect(try run(seed: 5, policy: policy) == run(seed: 5, policy: policy))
    }

    @Test func anotherSeedBreaksTiesOtherwise() throws {
        func firstTwenty(seed: UInt64) throws -> [UInt64] {
            let test = try RouterUnderTest(RouterUnderTest.small(seed: seed), servers: 9)
            return try (0..<20).map { _ in try test.route([1]).server.rawValue }
        }
        #expect(try firstTwenty(seed: 5) == firstTwenty(seed: 5))
        #expect(try firstTwenty(seed: 5) != firstTwenty(seed: 6))
    }
}
