import Testing

@testable import GotoniCore

@Suite struct TuningTests {
    @Test(arguments: Knob.allCases) func defaultsAreInsideTheirBounds(_ knob: Knob) throws {
        let router = try Router(RouterUnderTest.small())
        #expect(knob.info.bounds.contains(knob.info.defaultValue))
        #expect(router.value(of: knob) == knob.info.defaultValue)
        let name = knob.info.name.withUTF8Buffer { Array($0) }
        #expect(try Knob(name: name.span) == knob)
    }

    @Test(arguments: Knob.allCases) func whatIsOutsideIsRefusedAndChangesNothing(_ knob: Knob) throws {
        let test = try RouterUnderTest()
        let bounds = knob.info.bounds
        for wrong in [.nan, -.infinity, .infinity, bounds.lowerBound - 0.001, bounds.upperBound * 1.001 + 1] {
            #expect(throws: RouterError.range) { try test.router.set(knob, to: wrong) }
        }
        #expect(test.router.value(of: knob) == knob.info.defaultValue)
        for right in [bounds.lowerBound, bounds.upperBound] { try test.router.set(knob, to: right) }
    }

    /// Largest weights and loads saturate; no sum overflows.
    @Test func extremeCostsSaturate() throws {
        let test = try RouterUnderTest(servers: 1)
        for knob in [Knob.msPerToken, .rttWeight, .queuedWeight, .runningCostFactor] {
            try test.router.set(knob, to: knob.info.bounds.upperBound)
        }
        try test.router.observeRTT(ServerID(1), Router.longestRTT, now: test.now)
        var metrics = EngineMetrics()
        metrics.queuedTokens = EngineMetrics.most
        metrics.runningTokens = EngineMetrics.most
        try test.router.observeMetrics(ServerID(1), metrics, now: test.now)
        #expect(try test.route([1]).cost.total == .max - 1)
    }

    @Test func configurationBoundsAreChecked() {
        func refused(_ change: (inout Configuration) -> Void) -> Bool {
            var configuration = RouterUnderTest.small()
            change(&configuration)
            do throws(RouterError) {
                _ = try Router(configuration)
                return false
            } catch { return error == .range }
        }
        #expect(refused { $0.blockTokens = 0 } && refused { $0.blockTokens = 1_025 })
        #expect(refused { $0.memoryBudgetBytes = 1 } && refused { $0.memoryBudgetBytes = .max })
        #expect(refused { $0.maxServers = 65_536 } && refused { $0.maxTickets = 0 })
        #expect(refused { $0.maxPromptTokens = 1 << 31 } && refused { $0.defaultKVCapacityTokens = 0 })
    }
}
