import Glibc
import GotoniCore
import NIOCore
import TestSupport
import Testing

@testable import GotoniGateway

@Suite struct FailurePolicyTests {
    /// Before the first byte: what is done while there are retries left, what afterwards, and what it says of the server.
    struct Row: CustomTestStringConvertible {
        var failure: Failure
        var early: Remedy
        var last: Remedy
        var blame: Blame
        var testDescription: String { "\(failure)" }
        init(_ failure: Failure, _ early: Remedy, _ last: Remedy, _ blame: Blame) {
            (self.failure, self.early, self.last, self.blame) = (failure, early, last, blame)
        }
    }

    static let table: [Row] = [
        Row(.connect, .another, .giveUp, .dead),
        Row(.connectTimeout, .another, .giveUp, .failed),
        Row(.shortage, .another, .giveUp, .none),
        Row(.closedEarly, .another, .giveUp, .failed),
        Row(.stale, .fresh, .fresh, .none),
        Row(.firstByteTimeout, .another, .giveUp, .failed),
        Row(.status(400), .passOn, .passOn, .none),
        Row(.status(401), .passOn, .passOn, .none),
        Row(.status(403), .passOn, .passOn, .none),
        Row(.status(404), .passOn, .passOn, .none),
        Row(.status(408), .passOn, .passOn, .none),
        Row(.status(409), .passOn, .passOn, .none),
        Row(.status(413), .passOn, .passOn, .none),
        Row(.status(422), .passOn, .passOn, .none),
        Row(.status(429), .another, .passOn, .overloaded),
        Row(.status(499), .passOn, .passOn, .none),
        Row(.status(500), .another, .passOn, .failed),
        Row(.status(501), .passOn, .passOn, .none),
        Row(.status(502), .another, .passOn, .failed),
        Row(.status(503), .another, .passOn, .overloaded),
        Row(.status(504), .another, .passOn, .failed),
        Row(.status(529), .another, .passOn, .overloaded),
        Row(.status(599), .another, .passOn, .failed),
        Row(.status(999), .another, .passOn, .failed),
        Row(.cutOff, .another, .giveUp, .failed),
        Row(.idleTimeout, .another, .giveUp, .failed),
    ]

    @Test(arguments: table, 0...4) func isAsWritten(_ row: Row, retries: Int) {
        let policy = FailurePolicy(retries: retries)
        for retried in 0...retries + 1 {
            let before = policy.decide(row.failure, .beforeFirstByte, retried: retried)
            #expect(before.remedy == (retried < retries ? row.early : row.last))
            #expect(before.blame == row.blame)
            // Behind the first byte there is nothing but breaking off.
            let streaming = policy.decide(row.failure, .streaming, retried: retried)
            #expect(streaming.remedy == .breakOff)
            #expect(streaming.blame == row.blame)
        }
    }

    /// RFC 9110, section 9.2.2: what may have been done is not done again.
    @Test(arguments: table) func whatMayNotBeRepeatedGoesElsewhereOnlyUnsent(_ row: Row) {
        let (remedy, blame) = FailurePolicy().decide(row.failure, .beforeFirstByte, retried: 0, isRepeatable: false)
        let wasNotSent = [.connect, .connectTimeout, .shortage].contains(row.failure)
        #expect(wasNotSent ? remedy == .another : remedy == .giveUp || remedy == .passOn)
        #expect(blame == row.blame)
    }

    @Test(arguments: [
        (ECONNREFUSED, Failure.connect), (ETIMEDOUT, .connectTimeout), (EHOSTUNREACH, .connectTimeout),
        (EMFILE, .shortage), (ENFILE, .shortage), (EADDRNOTAVAIL, .shortage),
    ]) func onlyWhoRefusesIsDead(_ code: CInt, _ failure: Failure) {
        #expect(Failure(connecting: IOError(errnoCode: code, reason: "connect")) == failure)
        #expect(Failure(connecting: ChannelError.connectTimeout(.seconds(1))) == .connectTimeout)
    }

    @Test func twoRetriesAreTheDefault() { #expect(FailurePolicy().retries == 2) }

    /// Whatever a row of servers does: at most `retries` others are tried.
    @Test(arguments: Seeds.sequence(500)) func attemptsAreBounded(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let policy = FailurePolicy(retries: random.pick(0...5))
        var (attempts, retried) = (1, 0)
        while true {
            let failure: Failure =
                random.chance(30)
                ? .status(random.pick(400...999)) : Self.table[random.pick(0...Self.table.count - 1)].failure
            let remedy = policy.decide(failure, .beforeFirstByte, retried: retried).remedy
            if remedy == .fresh { continue }
            guard remedy == .another else { break }
            (attempts, retried) = (attempts + 1, retried + 1)
        }
        #expect(attempts <= policy.retries + 1, "seed \(seed)")
    }

    @Test func everyClientErrorIsNeutral() {
        for status in 400..<500 where status != 429 {
            #expect(FailurePolicy.blame(.status(status)) == .none)
            #expect(FailurePolicy().decide(.status(status), .beforeFirstByte, retried: 0).remedy == .passOn)
        }
    }
}
