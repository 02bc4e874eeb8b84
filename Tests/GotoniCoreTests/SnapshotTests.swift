import TestSupport
import Testing

@testable import GotoniCore

@Suite struct SnapshotTests {
    private func save(_ test: RouterUnderTest) throws -> [UInt8] {
        let size = try test.router.save(into: UnsafeMutableRawBufferPointer(start: nil, count: 0))
        var bytes = [UInt8](repeating: 0, count: size)
        let written = try bytes.withUnsafeMutableBytes { try test.router.save(into: $0) }
        #expect(written == size)
        return bytes
    }

    private func load(_ bytes: [UInt8], into test: RouterUnderTest) throws {
        try bytes.withUnsafeBytes { try test.router.load(from: $0, now: test.now) }
    }

    private func populated(seed: UInt64, requests: Int = 200) throws -> RouterUnderTest {
        var random = SplitMix64(seed: seed)
        let test = try RouterUnderTest(RouterUnderTest.small(seed: seed), servers: 12)
        for id in UInt64(1)...12 {
            let capacity = UInt64(random.pick(20...400))
            try test.router.update(
                ServerConfiguration(id: ServerID(id), maxRequests: 50, kvCapacityTokens: capacity), now: test.now)
            if id % 3 != 0 { try test.observeRTT(id, milliseconds: Double(random.pick(1...300))) }
        }
        try test.router.set(.runningCostFactor, to: 0.7)
        var prompts = Prompts(blockTokens: 1)
        for _ in 0..<requests { _ = try test.serve(prompts.next(&random)) }
        return test
    }

    @Test func decisionsGoOnAsIfNothingHadHappened() throws {
        for seed in Seeds.sequence(20) {
            let before = try populated(seed: seed)
            let after = try RouterUnderTest(RouterUnderTest.small())
            try load(try save(before), into: after)
            after.now = before.now
            var random = SplitMix64(seed: seed &+ 1_000)
            var prompts = Prompts(blockTokens: 1)
            for _ in 0..<300 {
                let prompt = prompts.next(&random)
                #expect(try before.serve(prompt) == after.serve(prompt), "seed \(seed)")
            }
            #expect(try after.router.violation() == nil)
            #expect(try save(before) == save(after), "two routers that did the same are the same bytes")
        }
    }

    @Test func everyFlippedByteIsAnError() throws {
        let test = try populated(seed: 3, requests: 40)
        let bytes = try save(test)
        let target = try populated(seed: 4, requests: 10)
        let untouched = try save(target)
        for index in bytes.indices {
            var damaged = bytes
            damaged[index] ^= 0x41
            #expect(throws: RouterError.self) { try load(damaged, into: target) }
        }
        for length in stride(from: 0, to: bytes.count, by: 7) {
            #expect(throws: RouterError.self) { try load(Array(bytes[..<length]), into: target) }
        }
        #expect(try save(target) == untouched, "on any error the router is as it was")
    }

    /// Hostile bytes carry a right checksum.
    @Test func wellSignedNonsenseIsAnError() throws {
        let test = try populated(seed: 5, requests: 40)
        let bytes = try save(test)
        let target = try RouterUnderTest(RouterUnderTest.small())
        for seed in Seeds.sequence(20_000) {
            var random = SplitMix64(seed: seed)
            var damaged = Array(bytes.dropLast(8))
            for _ in 0..<random.pick(1...4) {
                let index = random.pick(24...damaged.count - 1)
                damaged[index] = random.chance(30) ? 0xFF : UInt8(truncatingIfNeeded: random.next())
            }
            damaged += withUnsafeBytes(of: Key.of(damaged.span.bytes).littleEndian) { Array($0) }
            // Some changes are to values that may be anything: then the router must be sound.
            try? load(damaged, into: target)
            if let broken = try target.router.violation() {
                Issue.record("GOTONI_TEST_SEED=\(seed): \(broken)")
                return
            }
        }
    }

    @Test func otherBlocksAndTooSmallRoutersAreRefused() throws {
        let bytes = try save(try populated(seed: 6))
        let otherBlocks = try RouterUnderTest(RouterUnderTest.small(blockTokens: 2))
        #expect(throws: RouterError.snapshotVersion) { try load(bytes, into: otherBlocks) }
        var few = RouterUnderTest.small()
        few.maxServers = 3
        let fewServers = try RouterUnderTest(few)
        #expect(throws: RouterError.capacity) { try load(bytes, into: fewServers) }
    }

    @Test func countersGoOn() throws {
        let test = try populated(seed: 8)
        let bytes = try save(test)
        let before = test.router.statistics()
        try load(bytes, into: test)
        let after = test.router.statistics()
        #expect(before.evictedTokensCapacity > 0 && after.evictedTokensCapacity == before.evictedTokensCapacity)
        #expect(after.randomDraws == before.randomDraws && after.routed == before.routed)
    }

    @Test func openTicketsEndAndAreStillKnown() throws {
        let test = try populated(seed: 7)
        let bytes = try save(test)
        let ticket = try test.route([1, 2, 3]).ticket!
        try load(bytes, into: test)
        try test.router.finish(ticket, .ok, now: test.now)
        #expect(test.router.statistics().openTickets == 0)
        #expect(try test.router.violation() == nil)
    }
}
