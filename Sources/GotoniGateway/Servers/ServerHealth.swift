import GotoniCore

/// Whether a server gets requests and how many at once, from what its requests and its probes experience.
///
///     unknown ──answers──▶ up ◀──answers again, slow start── ejected
///                           └──failures in a row, or probes fail──▶┘
///
/// A state machine without clock; times are arguments. Not thread-safe by itself.
struct ServerHealth: Equatable, Sendable {
    struct Settings: Equatable, Sendable {
        /// Failures in a row, of requests or of probes, until ejection.
        var failures = 5
        var probeFailures = 3
        /// First ejection; each further one is twice as long, at most `longestEjection`.
        var ejection = Nanoseconds(milliseconds: 5_000)
        var longestEjection = Nanoseconds(milliseconds: 60_000)
        /// From one request at a time to the limit.
        var slowStart = Nanoseconds(milliseconds: 10_000)
    }

    enum State: String, Equatable, Sendable {
        /// Has never answered.
        case unknown
        case up
        /// Failed; gets nothing until the ejection is over and a probe was answered.
        case ejected
        /// An operator's word: finishes what it has.
        case draining
    }

    enum Change: Equatable, Sendable {
        case none
        case nowUp
        /// `isDead`: nobody is listening there, so its cache is gone.
        case nowEjected(isDead: Bool)
    }

    private(set) var state = State.unknown
    private(set) var consecutiveFailures = 0
    private(set) var consecutiveProbeFailures = 0
    private(set) var ejections = 0
    /// Nil: it is not ejected.
    private(set) var ejectedAt: Nanoseconds?
    private(set) var ejectedUntil = Nanoseconds(0)
    /// The limit grows from `rampFrom` at `rampStart`; nil: it is in force in full.
    private(set) var ramp: Ramp?

    struct Ramp: Equatable, Sendable {
        var start: Nanoseconds
        var from: Int
    }

    /// Gets requests and answers probes. The last ones are never ejected, so `up` alone does not say that.
    func isAvailable(_ settings: Settings) -> Bool {
        state == .up && consecutiveProbeFailures < settings.probeFailures
    }

    /// Most requests at once now, of `limit` when all is well. AIMD: overload cuts it, time brings it back.
    func limit(_ limit: Int, now: Nanoseconds, _ settings: Settings) -> Int {
        guard let ramp else { return limit }
        let share = Double(now.since(ramp.start).rawValue) / Double(max(1, settings.slowStart.rawValue))
        guard share < 1 else { return limit }
        return min(limit, max(1, ramp.from + Int(Double(limit - ramp.from) * share)))
    }

    /// A request was answered in full, or a probe was.
    mutating func answered(isProbe: Bool, now: Nanoseconds, _ settings: Settings) -> Change {
        consecutiveProbeFailures = isProbe ? 0 : consecutiveProbeFailures
        if !isProbe {
            consecutiveFailures = 0
            if state == .up, ramp == nil { ejections = 0 }
        }
        switch state {
        case .unknown:
            state = .up
            return .nowUp
        case .ejected where now >= ejectedUntil:
            state = .up
            ejectedAt = nil
            consecutiveFailures = 0
            ramp = Ramp(start: now, from: 1)
            return .nowUp
        case .ejected, .up, .draining: return .none
        }
    }

    /// A request failed there. `mayEject`: enough others are up.
    mutating func failed(isDead: Bool, mayEject: Bool, now: Nanoseconds, _ settings: Settings) -> Change {
        consecutiveFailures += 1
        guard state == .up, consecutiveFailures >= (isDead ? min(2, settings.failures) : settings.failures), mayEject
        else { return .none }
        return eject(isDead: isDead, now: now, settings)
    }

    mutating func probeFailed(isDead: Bool, mayEject: Bool, now: Nanoseconds, _ settings: Settings) -> Change {
        consecutiveProbeFailures += 1
        guard state == .up, consecutiveProbeFailures >= settings.probeFailures, mayEject else { return .none }
        return eject(isDead: isDead, now: now, settings)
    }

    /// It should have said something by now. It is back with its next word.
    mutating func fellSilent(now: Nanoseconds) -> Change {
        guard state == .up else { return .none }
        (state, ejectedAt, ejectedUntil) = (.ejected, now, now)
        return .nowEjected(isDead: false)
    }

    /// It said that it is overloaded while `inFlight` requests of ours were there.
    mutating func overloaded(inFlight: Int, now: Nanoseconds) {
        ramp = Ramp(start: now, from: max(1, inFlight * 7 / 10))
    }

    mutating func rampEnded(now: Nanoseconds, _ settings: Settings) -> Bool {
        guard let ramp, now.since(ramp.start) >= settings.slowStart else { return false }
        self.ramp = nil
        return true
    }

    mutating func drain() {
        state = .draining
        ejectedAt = nil
    }
    /// It is up once it has answered.
    mutating func undrain() { if state == .draining { state = .unknown } }

    private mutating func eject(isDead: Bool, now: Nanoseconds, _ settings: Settings) -> Change {
        state = .ejected
        ejectedAt = now
        let doublings = min(ejections, 16)
        let length = min(settings.longestEjection.rawValue, settings.ejection.rawValue << UInt64(doublings))
        ejectedUntil = Nanoseconds(now.rawValue + length)
        ejections += 1
        return .nowEjected(isDead: isDead)
    }
}
