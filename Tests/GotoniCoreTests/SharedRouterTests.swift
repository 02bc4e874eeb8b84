import Foundation
import TestSupport
import Testing

@testable import GotoniCore

/// Real threads. Under ThreadSanitizer these are the race tests.
@Suite struct SharedRouterTests {
    static let threads = 8

    private func onThreads(_ body: @escaping @Sendable (Int) -> Void) {
        let group = DispatchGroup()
        for index in 0..<Self.threads {
            group.enter()
            Thread.detachNewThread {
                body(index)
                group.leave()
            }
        }
        group.wait()
    }

    @Test func eightThreadsLeaveAllSumsAtZero() throws {
        let router = try SharedRouter(RouterUnderTest.small())
        try router.withRouter { (router) throws(RouterError) in
            for id in UInt64(1)...6 {
                try router.add(ServerConfiguration(id: ServerID(id), kvCapacityTokens: 500), now: Nanoseconds(1))
            }
        }
        let requests = Seeds.scaled(20_000)
        onThreads { thread in
            var random = SplitMix64(seed: UInt64(thread))
            var prompts = Prompts(blockTokens: 1)
            let excluded: [ServerID] = []
            for step in 0..<requests {
                let now = Nanoseconds(UInt64(step) * 1_000_000)
                let prompt = prompts.next(&random)
                guard let ticket = try? router.route(prompt.span, excluding: excluded.span, now: now).ticket else {
                    continue
                }
                try? router.withRouter { (router) throws(RouterError) in
                    if random.chance(50) { try router.firstToken(ticket, now: now) }
                    if random.chance(5) { try router.observeRTT(ServerID(UInt64(random.pick(1...6))), 1_000, now: now) }
                    try router.finish(ticket, Outcome(rawValue: UInt32(random.next(below: 4)))!, now: now)
                }
            }
        }
        try router.withRouter { (router) throws(RouterError) in
            #expect(router.statistics().openTickets == 0)
            #expect(router.statistics().routed == UInt64(Self.threads * requests))
            #expect(try router.violation() == nil)
        }
    }

    /// The control: the same work on a router without its lock. `make test` runs it alone under ThreadSanitizer and
    /// fails if no race is reported; elsewhere it does nothing, for it would be undefined.
    @Test(.enabled(if: ProcessInfo.processInfo.environment["GOTONI_RACE_CONTROL"] != nil))
    func withoutTheLockARaceIsReported() throws {
        let unlocked = Unlocked(try RouterUnderTest(servers: 2))
        onThreads { _ in
            for value in UInt64(0)..<200 { unlocked.test.router.advance(to: Nanoseconds(value)) }
        }
    }

    private final class Unlocked: @unchecked Sendable {
        let test: RouterUnderTest
        init(_ test: RouterUnderTest) { self.test = test }
    }
}
