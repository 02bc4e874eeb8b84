import GotoniCore
import TestSupport
import Testing

@testable import GotoniGateway

@Suite struct ServerHealthTests {
    private static let settings = ServerHealth.Settings()
    private var settings: ServerHealth.Settings { Self.settings }
    private func seconds(_ value: Double) -> Nanoseconds { Nanoseconds(milliseconds: value * 1000) }

    private func up() -> ServerHealth {
        var health = ServerHealth()
        _ = health.answered(isProbe: true, now: seconds(0), settings)
        return health
    }

    private func ejected(at time: Double = 0) -> ServerHealth {
        var health = up()
        for _ in 0..<5 { _ = health.failed(isDead: false, mayEject: true, now: seconds(time), settings) }
        return health
    }

    @Test func whoAnswersIsUp() {
        for isProbe in [true, false] {
            var health = ServerHealth()
            #expect(health.state == .unknown)
            #expect(health.failed(isDead: true, mayEject: true, now: seconds(0), settings) == .none)
            #expect(health.probeFailed(isDead: true, mayEject: true, now: seconds(0), settings) == .none)
            #expect(health.state == .unknown)
            #expect(health.answered(isProbe: isProbe, now: seconds(0), settings) == .nowUp)
            #expect(health.state == .up && health.ramp == nil)
            #expect(health.answered(isProbe: isProbe, now: seconds(0), settings) == .none)
            #expect(health.limit(10, now: seconds(0), settings) == 10)
        }
    }

    @Test func fiveFailuresInARowEject() {
        var health = up()
        for _ in 0..<4 { #expect(health.failed(isDead: false, mayEject: true, now: seconds(1), settings) == .none) }
        #expect(health.failed(isDead: false, mayEject: true, now: seconds(1), settings) == .nowEjected(isDead: false))
        #expect(health.state == .ejected && health.ejectedUntil == seconds(6) && health.ejections == 1)
    }

    @Test func aSuccessBetweenStartsAnew() {
        var health = up()
        for _ in 0..<3 {
            for _ in 0..<4 { #expect(health.failed(isDead: false, mayEject: true, now: seconds(1), settings) == .none) }
            _ = health.answered(isProbe: false, now: seconds(1), settings)
            #expect(health.consecutiveFailures == 0)
        }
        #expect(health.state == .up)
    }

    /// A probe is cheap: that it is answered says nothing about requests.
    @Test func anAnsweredProbeDoesNotExcuseFailedRequests() {
        var health = up()
        for _ in 0..<4 {
            _ = health.failed(isDead: false, mayEject: true, now: seconds(1), settings)
            _ = health.answered(isProbe: true, now: seconds(1), settings)
        }
        #expect(health.failed(isDead: false, mayEject: true, now: seconds(1), settings) == .nowEjected(isDead: false))
    }

    @Test func threeProbesInARowEject() {
        var health = up()
        for _ in 0..<2 {
            #expect(health.probeFailed(isDead: false, mayEject: true, now: seconds(1), settings) == .none)
        }
        _ = health.answered(isProbe: true, now: seconds(1), settings)
        #expect(health.consecutiveProbeFailures == 0)
        for _ in 0..<2 { #expect(health.probeFailed(isDead: true, mayEject: true, now: seconds(1), settings) == .none) }
        #expect(
            health.probeFailed(isDead: true, mayEject: true, now: seconds(1), settings) == .nowEjected(isDead: true))
    }

    @Test func theDeadGoFaster() {
        var health = up()
        #expect(health.failed(isDead: true, mayEject: true, now: seconds(1), settings) == .none)
        #expect(health.failed(isDead: true, mayEject: true, now: seconds(1), settings) == .nowEjected(isDead: true))
        var strict = settings
        strict.failures = 1
        health = up()
        #expect(health.failed(isDead: true, mayEject: true, now: seconds(1), strict) == .nowEjected(isDead: true))
    }

    @Test func theFloorKeepsIt() {
        var health = up()
        for _ in 0..<20 {
            #expect(health.failed(isDead: true, mayEject: false, now: seconds(1), settings) == .none)
            #expect(health.probeFailed(isDead: true, mayEject: false, now: seconds(1), settings) == .none)
        }
        #expect(health.state == .up)
        // As soon as others are there it goes.
        #expect(health.failed(isDead: false, mayEject: true, now: seconds(1), settings) == .nowEjected(isDead: false))
    }

    @Test func ejectionsDoubleUpToTheBound() {
        var health = up()
        var now = 0.0
        for expected in [5.0, 10, 20, 40, 60, 60, 60] {
            while health.state == .up { _ = health.failed(isDead: false, mayEject: true, now: seconds(now), settings) }
            #expect(health.ejectedUntil == seconds(now + expected))
            now += expected
            #expect(health.answered(isProbe: true, now: seconds(now), settings) == .nowUp)
        }
        // Well again for a while: the next one is short.
        now += 10
        #expect(health.rampEnded(now: seconds(now), settings) == true)
        _ = health.answered(isProbe: false, now: seconds(now), settings)
        for _ in 0..<5 { _ = health.failed(isDead: false, mayEject: true, now: seconds(now), settings) }
        #expect(health.ejectedUntil == seconds(now + 5))
    }

    @Test func manyEjectionsDoNotOverflow() {
        var health = up()
        for round in 0..<100 {
            let now = seconds(Double(round) * 100)
            while health.state == .up { _ = health.failed(isDead: true, mayEject: true, now: now, settings) }
            #expect(health.ejectedUntil.since(now) <= seconds(60))
            _ = health.answered(isProbe: true, now: seconds(Double(round) * 100 + 99), settings)
        }
    }

    @Test func successUnderEjectionIsNoReturn() {
        for isProbe in [true, false] {
            var health = ejected()
            #expect(health.answered(isProbe: isProbe, now: seconds(4.999), settings) == .none)
            #expect(health.state == .ejected)
            #expect(health.answered(isProbe: isProbe, now: seconds(5), settings) == .nowUp)
            #expect(health.state == .up && health.ramp == ServerHealth.Ramp(start: seconds(5), from: 1))
        }
    }

    /// Who is silent is out at once, whatever the floor says, and back with the next word.
    @Test func theSilentComeBackWithTheirNextWord() {
        var health = up()
        #expect(health.fellSilent(now: seconds(3)) == .nowEjected(isDead: false))
        #expect(health.fellSilent(now: seconds(4)) == .none && health.ejectedAt == seconds(3))
        #expect(health.answered(isProbe: true, now: seconds(3), settings) == .nowUp)
        #expect(health.ejectedAt == nil && health.ejections == 0)
    }

    @Test func slowStart() {
        var health = ejected()
        _ = health.answered(isProbe: true, now: seconds(10), settings)
        for (after, limit) in [(0.0, 1), (1.0, 1), (1.2, 2), (5.0, 5), (9.99, 9), (10.0, 10), (11.0, 10)] {
            #expect(health.limit(10, now: seconds(10 + after), settings) == limit, "after \(after) s")
        }
        #expect(health.limit(1, now: seconds(10), settings) == 1)
        let early = health.rampEnded(now: seconds(19.9), settings)
        #expect(!early && health.ramp != nil)
        #expect(health.rampEnded(now: seconds(20), settings) && health.ramp == nil)
        let again = health.rampEnded(now: seconds(30), settings)
        #expect(!again)
    }

    @Test func overloadCutsAndTimeBringsBack() {
        var health = up()
        health.overloaded(inFlight: 10, now: seconds(0))
        #expect(health.state == .up && health.consecutiveFailures == 0)
        for (now, limit) in [(0.0, 7), (5.0, 8), (9.999, 9), (10, 10)] {
            #expect(health.limit(10, now: seconds(now), settings) == limit, "at \(now) s")
        }
        health.overloaded(inFlight: 7, now: seconds(1))
        #expect(health.limit(10, now: seconds(1), settings) == 4)
        health.overloaded(inFlight: 1, now: seconds(1))
        #expect(health.limit(10, now: seconds(1), settings) == 1)
        health.overloaded(inFlight: 0, now: seconds(1))
        #expect(health.limit(10, now: seconds(1), settings) == 1)
        // More in flight than the limit: the limit is what counts.
        health.overloaded(inFlight: 1000, now: seconds(1))
        #expect(health.limit(10, now: seconds(1), settings) == 10)
    }

    @Test func drainingIsTheOperatorsWord() {
        var health = up()
        health.drain()
        #expect(health.answered(isProbe: true, now: seconds(0), settings) == .none)
        for _ in 0..<10 { #expect(health.failed(isDead: true, mayEject: true, now: seconds(0), settings) == .none) }
        for _ in 0..<10 {
            #expect(health.probeFailed(isDead: true, mayEject: true, now: seconds(0), settings) == .none)
        }
        #expect(health.state == .draining)
        health.undrain()
        #expect(health.state == .unknown)
        #expect(health.answered(isProbe: true, now: seconds(0), settings) == .nowUp)
        // Nothing to undo elsewhere.
        health.undrain()
        #expect(health.state == .up)
        var gone = ejected()
        gone.undrain()
        #expect(gone.state == .ejected)
    }

    @Test(arguments: Seeds.sequence(1000)) func theLimitIsAlwaysAtLeastOne(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var settings = ServerHealth.Settings()
        settings.failures = random.pick(1...6)
        settings.probeFailures = random.pick(1...4)
        settings.slowStart = Nanoseconds(UInt64(random.pick(0...20_000)) * 1_000_000)
        var health = ServerHealth()
        var now = Nanoseconds(0)
        for _ in 0..<200 {
            now = Nanoseconds(now.rawValue + UInt64(random.pick(0...5_000)) * 1_000_000)
            let before = health
            var change = ServerHealth.Change.none
            switch random.pick(0...6) {
            case 0, 1: change = health.answered(isProbe: random.chance(50), now: now, settings)
            case 2: change = health.failed(isDead: random.chance(50), mayEject: random.chance(80), now: now, settings)
            case 3:
                change = health.probeFailed(isDead: random.chance(50), mayEject: random.chance(80), now: now, settings)
            case 4: health.overloaded(inFlight: random.pick(0...50), now: now)
            case 5: _ = health.rampEnded(now: now, settings)
            default: if random.chance(50) { health.drain() } else { health.undrain() }
            }
            let limit = random.pick(1...40)
            #expect((1...limit).contains(health.limit(limit, now: now, settings)), "seed \(seed)")
            // What is told is what happened.
            switch change {
            case .nowUp: #expect(health.state == .up && before.state != .up, "seed \(seed)")
            case .nowEjected: #expect(health.state == .ejected && before.state == .up, "seed \(seed)")
            case .none: #expect(health.state != .ejected || before.state == .ejected, "seed \(seed)")
            }
            if before.state == .ejected, health.state == .up { #expect(now >= before.ejectedUntil, "seed \(seed)") }
        }
    }
}
