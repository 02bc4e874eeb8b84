import GotoniCore

/// Whether a service is asked at all: after some failures in a row it has a pause, so that a service that is slow or gone
/// costs a request nothing but its tokens.
struct SourceHealth: Sendable {
    static let failuresBeforePause = 3
    static let pause = Nanoseconds(milliseconds: 1_000)
    /// Questions at one time; what comes beyond is not asked.
    static let mostUnderWay = 64

    private(set) var failuresInARow = 0
    private(set) var failures: UInt64 = 0
    private(set) var answers: UInt64 = 0
    private(set) var underWay = 0
    private var nextTry = Nanoseconds(0)

    /// True: ask, and say what came of it.
    mutating func mayAsk(now: Nanoseconds) -> Bool {
        guard underWay < Self.mostUnderWay else { return false }
        if failuresInARow >= Self.failuresBeforePause {
            guard now >= nextTry else { return false }
            // One tries for all.
            nextTry = now.plus(Self.pause)
        }
        underWay += 1
        return true
    }

    mutating func answered() {
        underWay -= 1
        answers += 1
        failuresInARow = 0
    }

    /// True: this begins a pause.
    mutating func failed(now: Nanoseconds) -> Bool {
        underWay -= 1
        failures += 1
        failuresInARow += 1
        nextTry = now.plus(Self.pause)
        return failuresInARow == Self.failuresBeforePause
    }

    var isAnswering: Bool { failuresInARow < Self.failuresBeforePause }
}
