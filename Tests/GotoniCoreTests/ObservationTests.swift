import Testing

@testable import GotoniCore

/// Engine metrics: what others put on a server, and what is assumed while nothing is known.
@Suite struct ObservationTests {
    private func observe(_ test: RouterUnderTest, _ id: UInt64, _ change: (inout EngineMetrics) -> Void) throws {
        var metrics = EngineMetrics()
        change(&metrics)
        try test.router.observeMetrics(ServerID(id), metrics, now: test.now)
    }

    @Test func onlyWhatIsBeyondOursIsForeign() throws {
        let test = try RouterUnderTest(servers: 1)
        try test.load(1, requests: 2, tokens: 100, running: true)
        try observe(test, 1) {
            $0.runningRequests = 5
            $0.queuedRequests = 0
        }
        let load = try test.explain([1]).rows[0].load
        #expect(load.runningRequests == 5 && load.runningTokens == 200 + 3 * 500, "sizes unknown: 500 tokens each")
        try observe(test, 1) {
            $0.runningRequests = 5
            $0.runningTokens = 900
        }
        #expect(try test.explain([1]).rows[0].load.runningTokens == 900)
        try observe(test, 1) { $0.runningRequests = 0 }
        #expect(try test.explain([1]).rows[0].load.runningRequests == 2, "ours are on their way")
    }

    /// An engine calls a request running while it prefills; ours is queued until its first token. It is one request.
    @Test func ourOwnPrefillingRequestIsNotForeign() throws {
        let test = try RouterUnderTest(servers: 1)
        try test.load(1, tokens: 300)
        try observe(test, 1) {
            $0.queuedRequests = 0
            $0.runningRequests = 1
        }
        let load = try test.explain([1]).rows[0].load
        #expect(load.requests == 1 && load.tokens == 300)
        try observe(test, 1) {
            $0.queuedRequests = 0
            $0.runningRequests = 2
            $0.queuedTokens = 0
            $0.runningTokens = 500
        }
        #expect(try test.explain([1]).rows[0].load.tokens == 500)
    }

    @Test func aFigureThatIsNotReportedStaysWhatItWas() throws {
        let test = try RouterUnderTest(servers: 1)
        try observe(test, 1) {
            $0.queuedRequests = 5
            $0.runningRequests = 7
        }
        try observe(test, 1) { $0.queuedRequests = 4 }
        let load = try test.explain([1]).rows[0].load
        #expect(load.queuedRequests == 4 && load.runningRequests == 7)
    }

    @Test func enormousLoadsDoNotWrap() throws {
        let test = try RouterUnderTest(servers: 2)
        try test.router.set(.tokensPerRequestPrior, to: 16_777_216)
        try observe(test, 1) { $0.queuedRequests = EngineMetrics.most }
        try observe(test, 2) { $0.queuedRequests = 1 }
        #expect(try test.route([1]).server == ServerID(2))
    }

    @Test func oldMetricsAreUnknownAgain() throws {
        let test = try RouterUnderTest(servers: 1)
        try observe(test, 1) { $0.queuedRequests = 10 }
        test.wait(milliseconds: 5_000)
        #expect(try test.explain([1]).rows[0].metricsKnown)
        test.wait(milliseconds: 1)
        let row = try test.explain([1]).rows[0]
        #expect(!row.metricsKnown && row.load.queuedRequests == 0)
    }

    /// Metrics and what other routers say of themselves count the same requests: what they say, and what metrics show beyond it,
    /// each while it is fresh.
    @Test func othersCountAsTheySayAndStrangersAsMetricsShow() throws {
        let test = try RouterUnderTest(servers: 2)
        try test.load(1, requests: 2, tokens: 100)
        var others = Load()
        (others.queuedRequests, others.queuedTokens, others.owedTokens, others.runningRequests) = (3, 900, 400, 1)
        try test.router.observeOthers(ServerID(1), others, now: test.now)
        func load() throws -> Load { try test.explain([1]).rows[0].load }
        #expect(try load().queuedRequests == 2 + 3 && load().owedTokens == 200 + 400)
        try observe(test, 1) {
            $0.queuedRequests = 3
            $0.runningRequests = 5
        }
        // Two of the five that wait are being prefilled.
        #expect(try load().queuedRequests == 2 + 3 && load().runningRequests == 1 + 2, "two strangers run")
        test.wait(milliseconds: 3_000)
        others.queuedRequests = 7
        try test.router.observeOthers(ServerID(1), others, now: test.now)
        #expect(try load().queuedRequests == 2 + 7 && load().runningRequests == 1 + 2)
        test.wait(milliseconds: 2_001)
        try test.router.observeOthers(ServerID(1), others, now: test.now)
        #expect(try load().queuedRequests == 2 + 7 && load().runningRequests == 1, "metrics are stale, others not")
        test.wait(milliseconds: 5_001)
        #expect(try load().requests == 2)
        others.owedTokens = others.queuedTokens + 1
        #expect(throws: RouterError.range) { try test.router.observeOthers(ServerID(1), others, now: test.now) }
        #expect(throws: RouterError.unknownServer) { try test.router.observeOthers(ServerID(9), Load(), now: test.now) }
    }

    /// Who begins to say what metrics have shown, or says no more what they show, is counted once.
    @Test func othersWhoBeginOrCeaseToSpeakCountOnce() throws {
        let test = try RouterUnderTest(servers: 1)
        func running() throws -> UInt64 { try test.explain([1]).rows[0].load.runningRequests }
        try observe(test, 1) { $0.runningRequests = 4 }
        #expect(try running() == 4)
        var others = Load()
        (others.runningRequests, others.runningTokens) = (4, 100)
        try test.router.observeOthers(ServerID(1), others, now: test.now)
        #expect(try running() == 4)
        try observe(test, 1) { $0.runningRequests = 6 }
        #expect(try running() == 6)
        test.wait(milliseconds: 5_001)
        try observe(test, 1) { $0.runningRequests = 6 }
        #expect(try running() == 6)
    }

    /// One server without metrics is priced like the average of the others; nobody is drawn at random.
    @Test func missingMetricsArePricedByThePrior() throws {
        let test = try RouterUnderTest(servers: 3)
        try observe(test, 1) { $0.queuedRequests = 2 }
        try observe(test, 2) { $0.queuedRequests = 8 }
        let (rows, decision) = try test.explain([1])
        #expect(rows.map(\.load.queuedRequests) == [2, 8, 5])
        #expect(decision?.server == ServerID(1))
    }

    @Test func aRestartedEngineHasAnEmptyCache() throws {
        let test = try RouterUnderTest(servers: 1)
        try observe(test, 1) { $0.incarnation = 100 }
        _ = try test.serve(tokens("prompt"))
        try observe(test, 1) { $0.incarnation = 100 }
        #expect(try test.match(tokens("prompt")) == [1: 6])
        try observe(test, 1) { $0.incarnation = 101 }
        #expect(try test.match(tokens("prompt")).isEmpty)
    }

    @Test func reportedCapacityIsTaken() throws {
        let test = try RouterUnderTest(servers: 1)
        _ = try test.serve(tokens("a long prompt"))
        try observe(test, 1) { $0.kvCapacityTokens = 6 }
        #expect(try test.match(tokens("a long prompt")) == [1: 6])
    }

    @Test func absurdFiguresAreRefused() throws {
        let test = try RouterUnderTest(servers: 1)
        #expect(throws: RouterError.range) { try observe(test, 1) { $0.queuedTokens = .max } }
        #expect(throws: RouterError.range) { try observe(test, 1) { $0.kvCapacityTokens = 0 } }
        #expect(throws: RouterError.range) { try test.router.observeRTT(ServerID(1), .max, now: test.now) }
        #expect(throws: RouterError.unknownServer) { try observe(test, 7) { $0.queuedTokens = 1 } }
    }

    @Test func aServerThatIsMarkedDownForgets() throws {
        let test = try RouterUnderTest(servers: 1)
        _ = try test.serve(tokens("prompt"))
        try test.router.mark(ServerID(1), .draining, now: test.now)
        #expect(try test.match(tokens("prompt")) == [1: 6])
        try test.router.mark(ServerID(1), .up, now: test.now)
        let open = try test.route(tokens("another")).ticket!
        try test.router.mark(ServerID(1), .down, now: test.now)
        #expect(try test.match(tokens("prompt")).isEmpty)
        try test.router.finish(open, .ok, now: test.now)
        #expect(try test.match(tokens("another")).isEmpty, "what was answered before the restart is gone with it")
    }

    @Test func timeDoesNotRunBackwards() throws {
        let test = try RouterUnderTest(servers: 1)
        test.router.advance(to: Nanoseconds(1_000))
        test.router.advance(to: Nanoseconds(10))
        #expect(test.router.now == Nanoseconds(1_000))
    }
}
