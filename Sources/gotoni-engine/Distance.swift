import GotoniCore

/// How far away the engine pretends to be.
///
/// A request is at the engine half a round trip after its last byte came in, and the time its body takes at the upload
/// rate; the first request of a connection needs one round trip more, for TCP's handshake, which over loopback took
/// none. Every write of an answer leaves half a round trip after the engine made it. Each request has the wire to
/// itself: transfers do not slow each other, and answers are not limited.
struct Distance {
    /// Nanoseconds: the round trip, and what chance adds to it at most, evenly distributed, half of it each way.
    var roundTrip: UInt64 = 0
    var jitter: UInt64 = 0
    /// Megabits a second; nil is no limit.
    var uploadRate: Double?
    private var chance: SplitMix64

    init(seed: UInt64) { chance = SplitMix64(seed: seed) }

    /// Nanoseconds of one way.
    mutating func leg() -> UInt64 {
        guard jitter >= 2 else { return roundTrip / 2 }
        return roundTrip / 2 + chance.next() % (jitter / 2)
    }

    /// Nanoseconds from the last byte of a request here until it is at the engine.
    mutating func wayIn(bodyBytes: Int, isFirstOfConnection: Bool) -> UInt64 {
        let upload = uploadRate.map { UInt64(Double(bodyBytes) * 8_000 / $0) } ?? 0
        return leg() + upload + (isFirstOfConnection ? roundTrip : 0)
    }
}
