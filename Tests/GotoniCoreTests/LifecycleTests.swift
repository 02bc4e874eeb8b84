import TestSupport
import Testing

@testable import GotoniCore

@Suite struct LifecycleTests {
    @Test func aRequestCountsAsQueuedThenRunningThenNotAtAll() throws {
        let test = try RouterUnderTest(servers: 1)
        let ticket = try test.route(Array(0..<100)).ticket!
        #expect(try test.own(1).queuedRequests == 1 && test.own(1).queuedTokens == 100)
        try test.router.commit(ticket, now: test.now)
        #expect(try test.own(1).queuedTokens == 100)
        try test.router.firstToken(ticket, now: test.now)
        #expect(try test.own(1).queuedTokens == 0 && test.own(1).runningTokens == 100)
        try test.router.finish(ticket, .ok, now: test.now)
        #expect(try test.own(1) == Load())
    }

    @Test func finishingTwiceIsHarmlessAndLaterCallsSayEnded() throws {
        let test = try RouterUnderTest(servers: 1)
        let ticket = try test.route([1]).ticket!
        for _ in 0..<3 { try test.router.finish(ticket, .ok, now: test.now) }
        #expect(test.router.statistics().finishedOK == 1)
        #expect(throws: RouterError.ticketEnded) { try test.router.commit(ticket, now: test.now) }
        #expect(throws: RouterError.ticketEnded) { try test.router.progress(ticket, now: test.now) }
    }

    @Test func aTicketNeverIssuedIsAnError() throws {
        let test = try RouterUnderTest(servers: 1)
        let ticket = try test.route([1]).ticket!
        let wrong: [UInt64] = [0, 1, .max, ticket.rawValue + 1, ticket.rawValue + 1 << 32]
        for raw in wrong {
            #expect(throws: RouterError.ticket) { try test.router.finish(Ticket(raw), .ok, now: test.now) }
        }
    }

    @Test func commitMakesThePromptExpectedBeforeTheAnswer() throws {
        let test = try RouterUnderTest(servers: 2)
        let decision = try test.route(tokens("a new prompt"))
        #expect(try test.match(tokens("a new prompt")).isEmpty, "reserved is not sent")
        try test.router.commit(decision.ticket!, now: test.now)
        #expect(try test.match(tokens("a new prompt")) == [decision.server.rawValue: 12])
    }

    /// Committing with the prompt at hand does what committing with the digests kept for the ticket does.
    @Test(arguments: Seeds.sequence(200)) func commitsAreTheSame(_ seed: UInt64) throws {
        let routers = [try RouterUnderTest(servers: 3), try RouterUnderTest(servers: 3)]
        var random = SplitMix64(seed: seed)
        for server in 1...3 {
            let (id, capacity) = (ServerID(UInt64(server)), UInt64(random.pick(1...40)))
            for test in routers {
                try test.router.update(ServerConfiguration(id: id, kvCapacityTokens: capacity), now: test.now)
            }
        }
        for _ in 0..<60 {
            let prompt = (0..<random.pick(0...20)).map { _ in UInt32(random.next(below: 2)) }
            let outcome = Outcome(rawValue: UInt32(random.next(below: 4)))!
            let isDown = random.chance(10)
            for (test, isAtHand) in zip(routers, [true, false]) {
                let decision = try test.route(prompt)
                let ticket = try #require(decision.ticket)
                if isDown { try test.router.mark(decision.server, .down, now: test.now) }
                if isAtHand {
                    try test.router.commit(ticket, test.prompt, now: test.now)
                    try test.router.commit(ticket, test.prompt, now: test.now)
                } else {
                    try test.router.commit(ticket, now: test.now)
                }
                try test.router.finish(ticket, outcome, now: test.now)
                if isDown { try test.router.mark(decision.server, .up, now: test.now) }
                #expect(try test.router.violation() == nil, "seed \(seed)")
            }
            #expect(try routers[0].match(prompt) == routers[1].match(prompt), "seed \(seed)")
        }
        let statistics = routers.map { $0.router.statistics() }
        #expect(statistics[0].committed == 60 && statistics[1].committed == 60)
        #expect(routers[0].router.prefixStatistics().nodes == routers[1].router.prefixStatistics().nodes)
    }

    @Test(arguments: [Outcome.failed, .cancelled, .notSent])
    func whatCameToNothingIsWithdrawn(_ outcome: Outcome) throws {
        let test = try RouterUnderTest(servers: 1)
        _ = try test.serve(tokens("system "))
        let ticket = try test.route(tokens("system prompt")).ticket!
        try test.router.commit(ticket, now: test.now)
        try test.router.finish(ticket, outcome, now: test.now)
        #expect(try test.match(tokens("system prompt")) == [1: 7], "what was there before stays")
    }

    /// One of several requests behind a system prompt fails: the others' system prompt stays.
    @Test func aFailureLeavesWhatOthersProved() throws {
        let test = try RouterUnderTest(servers: 1)
        let failing = try test.route(tokens("system prompt: one")).ticket!
        try test.router.commit(failing, now: test.now)
        _ = try test.serve(tokens("system prompt: two"))
        try test.router.finish(failing, .cancelled, now: test.now)
        #expect(try test.match(tokens("system prompt: two")) == [1: 18])
        #expect(try test.match(tokens("system prompt: one")) == [1: 15])
    }

    @Test func aFailureLeavesItsContinuations() throws {
        let test = try RouterUnderTest(servers: 1)
        let failing = try test.route(tokens("turn one")).ticket!
        try test.router.commit(failing, now: test.now)
        _ = try test.serve(tokens("turn one, turn two"))
        try test.router.finish(failing, .failed, now: test.now)
        #expect(try test.match(tokens("turn one, turn two")) == [1: 18])
    }

    @Test func whatWasCommittedWhileDownIsNotWithdrawn() throws {
        let test = try RouterUnderTest(servers: 1)
        let ticket = try test.route(tokens("prompt")).ticket!
        try test.router.mark(ServerID(1), .down, now: test.now)
        try test.router.commit(ticket, now: test.now)
        try test.router.mark(ServerID(1), .up, now: test.now)
        try test.insert(tokens("prompt"), on: 1)
        try test.router.finish(ticket, .failed, now: test.now)
        #expect(try test.match(tokens("prompt")) == [1: 6])
    }

    @Test func aTicketThatExpiresBeforeItsFirstTokenFailed() throws {
        let test = try RouterUnderTest(servers: 1)
        try test.router.commit(try test.route(tokens("prompt")).ticket!, now: test.now)
        test.wait(milliseconds: 600_001)
        #expect(try test.router.info(ServerID(1), now: test.now).heldTokens == 0)
        #expect(test.router.statistics().expired == 1)
    }

    /// The failure takes along what another open request with the same prompt relies on; that one's end brings it back.
    @Test func anotherRequestsSuccessBringsAWithdrawnPromptBack() throws {
        let test = try RouterUnderTest(servers: 1)
        let failing = try test.route(tokens("prompt")).ticket!
        try test.router.commit(failing, now: test.now)
        let other = try test.route(tokens("prompt")).ticket!
        try test.router.firstToken(other, now: test.now)
        try test.router.finish(failing, .failed, now: test.now)
        try test.router.finish(other, .ok, now: test.now)
        #expect(try test.match(tokens("prompt")) == [1: 6])
    }

    @Test func afterTheFirstTokenAFailureWithdrawsNothing() throws {
        let test = try RouterUnderTest(servers: 1)
        let ticket = try test.route(tokens("prompt")).ticket!
        try test.router.firstToken(ticket, now: test.now)
        try test.router.finish(ticket, .failed, now: test.now)
        #expect(try test.match(tokens("prompt")) == [1: 6])
    }

    @Test func silenceEndsATicketAndAgeDoesNot() throws {
        let test = try RouterUnderTest(servers: 1)
        try test.router.set(.ticketSilenceMs, to: 1_000)
        let silent = try test.route([1]).ticket!
        let streaming = try test.route([2]).ticket!
        for _ in 0..<10 {
            test.wait(milliseconds: 900)
            try test.router.progress(streaming, now: test.now)
        }
        #expect(test.router.statistics().expired == 1)
        #expect(throws: RouterError.ticketEnded) { try test.router.progress(silent, now: test.now) }
        try test.router.finish(silent, .ok, now: test.now)
        #expect(try test.own(1).requests == 1)
    }

    @Test func removingAServerEndsItsTickets() throws {
        let test = try RouterUnderTest(servers: 2)
        try test.load(1, requests: 3, tokens: 10)
        let ticket = try test.route([9], excluding: [2]).ticket!
        try test.router.remove(ServerID(1), now: test.now)
        #expect(test.router.statistics().orphaned == 4 && test.router.statistics().openTickets == 0)
        try test.router.finish(ticket, .ok, now: test.now)
        try test.router.add(ServerConfiguration(id: ServerID(1)), now: test.now)
        #expect(try test.own(1) == Load(), "an id that comes back starts clean")
        #expect(try test.router.violation() == nil)
    }

    @Test func cachedTokensTrimTheClaimAndItsContinuations() throws {
        let test = try RouterUnderTest(servers: 1)
        _ = try test.serve(tokens("system prompt, turn one"))
        _ = try test.serve(tokens("system prompt, turn two"))
        let decision = try test.route(tokens("system prompt, turn one, more"))
        #expect(decision.matchedTokens == 23)
        try test.router.firstToken(decision.ticket!, now: test.now)
        try test.router.observeCachedTokens(decision.ticket!, 6, now: test.now)
        try test.router.finish(decision.ticket!, .ok, now: test.now)
        #expect(try test.match(tokens("system prompt, turn one, more")) == [1: 29], "it has just been computed there")
        #expect(
            try test.match(tokens("system prompt, turn two")) == [1: 20], "its own branch was evicted with the rest")
        let info = try test.router.info(ServerID(1), now: test.now)
        #expect(info.parity.predictedTokens == 23 && info.parity.reportedTokens == 6 && info.parity.reports == 1)
    }

    @Test func aReportWithinABlockIsAgreement() throws {
        let test = try RouterUnderTest(servers: 1)
        _ = try test.serve(tokens("abcdefgh"))
        _ = try test.serve(tokens("abcdefXY"))
        let ticket = try test.route(tokens("abcdefgh")).ticket!
        // An engine must compute the last token of an exact repeat.
        try test.router.observeCachedTokens(ticket, 7, now: test.now)
        #expect(try test.match(tokens("abcdefXY")) == [1: 8])
        #expect(throws: RouterError.range) { try test.router.observeCachedTokens(ticket, 9, now: test.now) }
    }

    @Test func ticketsAreBounded() throws {
        var configuration = RouterUnderTest.small()
        configuration.maxTickets = 3
        let test = try RouterUnderTest(configuration, servers: 1)
        let tickets = try (0..<3).map { _ in try test.route([1]).ticket! }
        #expect(throws: RouterError.capacity) { try test.route([1]) }
        try test.router.finish(tickets[1], .ok, now: test.now)
        _ = try test.route([1])
    }

    /// A million requests with random cancels, double finishes, servers that come and go, and time that jumps: in the
    /// end all sums are zero.
    @Test func chaosEndsAtZero() throws {
        let seed = Seeds.sequence(1)[0]
        var random = SplitMix64(seed: seed)
        let test = try RouterUnderTest(servers: 10)
        try test.router.set(.ticketSilenceMs, to: 60_000)
        var open: [Ticket] = []
        var ended: [Ticket] = []
        var routed = 0
        let goal = Seeds.scaled(1_000_000)
        while routed < goal {
            switch random.next(below: 100) {
            case ..<45:
                let prompt = (0..<random.pick(0...20)).map { _ in UInt32(random.next(below: 3)) }
                guard let ticket = try? test.route(prompt).ticket else { break }
                open.append(ticket)
                routed += 1
                if random.chance(20) { try? test.router.commit(ticket, test.prompt, now: test.now) }
            case ..<95 where !open.isEmpty:
                try step(test, &random, &open, &ended)
            case ..<98 where !ended.isEmpty:
                try test.router.finish(ended[random.next(below: ended.count)], .ok, now: test.now)
            default:
                churn(test, &random)
            }
            if routed % 50_000 == 0, let broken = try test.router.violation() {
                Issue.record("GOTONI_TEST_SEED=\(seed) after \(routed): \(broken)")
                return
            }
        }
        for ticket in open + ended { try test.router.finish(ticket, .ok, now: test.now) }
        let statistics = test.router.statistics()
        #expect(statistics.openTickets == 0)
        for slot in 0..<test.router.servers.highWater { #expect(test.router.servers[Slot(slot)].own == Load()) }
        let finished =
            statistics.finishedOK + statistics.finishedFailed + statistics.finishedCancelled
            + statistics.finishedNotSent
        #expect(finished + statistics.expired + statistics.orphaned == UInt64(routed))
        #expect(try test.router.violation() == nil)
    }

    private func step(
        _ test: RouterUnderTest, _ random: inout SplitMix64, _ open: inout [Ticket], _ ended: inout [Ticket]
    ) throws {
        let index = random.next(below: open.count)
        let ticket = open[index]
        switch random.next(below: 4) {
        case 0: try? test.router.commit(ticket, now: test.now)
        case 1: try? test.router.firstToken(ticket, now: test.now)
        default:
            let outcome = Outcome(rawValue: UInt32(random.next(below: 4)))!
            try test.router.finish(ticket, outcome, now: test.now)
            open[index] = open[open.count - 1]
            open.removeLast()
            if ended.count < 1_000 { ended.append(ticket) } else { ended[random.next(below: 1_000)] = ticket }
        }
    }

    private func churn(_ test: RouterUnderTest, _ random: inout SplitMix64) {
        let id = ServerID(UInt64(random.pick(1...20)))
        switch random.next(below: 4) {
        case 0: try? test.router.remove(id, now: test.now)
        case 1: try? test.router.mark(id, ServerState(rawValue: UInt8(random.next(below: 3)))!, now: test.now)
        case 2: test.wait(milliseconds: Double(random.next(below: 2_000)))
        default:
            let capacity = UInt64(random.pick(1...300))
            try? test.router.add(ServerConfiguration(id: id, maxRequests: 5, kvCapacityTokens: capacity), now: test.now)
        }
    }
}
