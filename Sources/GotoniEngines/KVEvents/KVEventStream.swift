/// Which messages of an engine's KV events to apply, so that what is believed never exceeds what is cached.
///
/// Messages are numbered from 0 since the engine began. Some get lost on the way (a publisher drops what a slow
/// subscriber does not take), come twice, or late; an engine that restarts begins again at 0 with an empty cache. Engines
/// keep their last messages for replays. From all that the stream makes one order without gaps, or forgets and begins anew:
///
///     live ──gap──▶ replaying ──caught up──▶ live
///      │               └──the engine has less──▶ forget, live
///      └──connected again─▶ verifying ──the last message again──▶ replaying
///                            └──another message──▶ forget, replaying from 0
///
/// A value without socket or clock: the caller asks for replays and says when one ends or fails. Batches carry the
/// engine's time: a number that was seen before with a later time is another engine's.
public struct KVEventStream: Sendable {
    /// What to do with a message.
    public enum Verdict: Equatable, Sendable {
        case apply
        /// It is known already, or will come again in a replay.
        case ignore
        /// Forget what this server holds, then apply.
        case forgetAndApply
        /// Forget what this server holds; the message will come again in a replay.
        case forget
    }

    public struct Counts: Equatable, Sendable {
        public var applied: UInt64 = 0
        public var ignored: UInt64 = 0
        /// Times that messages were missing, and that they could not be had again.
        public var gaps: UInt64 = 0
        public var losses: UInt64 = 0
        public var restarts: UInt64 = 0

        public init() {}
    }

    private enum Phase: Equatable {
        case live
        /// `reach`: a message that had come when the replay was asked for, so one that the replay has to bring.
        case replaying(from: UInt64, reach: UInt64?)
        /// Replaying from the last message that was applied, to see whether it is the same engine.
        case verifying
    }

    private var phase = Phase.live
    /// The number of the next message; nil: whatever comes.
    private var next: UInt64?
    /// Of the last message applied.
    private var lastTime = -Double.infinity
    /// The newest message that was ignored because a replay will bring it.
    private var awaited: UInt64?
    /// Whether the engine answers replays; without them a gap is a loss.
    private let hasReplay: Bool
    private var mayReplay: Bool
    /// While verifying: whoever it is, from the beginning.
    private var isForgotten = false
    /// Where a replay should begin: ask the engine for it, then call `askedForReplay`. Nil: none is needed.
    public private(set) var wantsReplayFrom: UInt64?
    /// All that the engine has said since it began, or since its cache was last empty, has been applied: what it evicts
    /// from now on is known by name.
    public private(set) var isComplete = false
    public private(set) var counts = Counts()

    public init(hasReplay: Bool) {
        self.hasReplay = hasReplay
        mayReplay = hasReplay
    }

    /// What comes next is known: nothing is being asked for.
    public var isLive: Bool { phase == .live && next != nil }

    // MARK: What comes

    /// A message from the subscription; `time` as its batch says.
    public mutating func live(_ number: UInt64, time: Double) -> Verdict {
        // An engine's clock goes on; what is older than the last message is of another engine, or old.
        let isNext = number == next && time >= lastTime
        switch phase {
        case .live: break
        case .replaying where isNext: return apply(number, time)
        case .replaying, .verifying:
            awaited = max(awaited ?? 0, number)
            return ignore()
        }
        guard let expected = next else { return begin(number, time) }
        if isNext { return apply(number, time) }
        if number <= expected {
            guard number < expected, time > lastTime else { return ignore() }
            counts.restarts += 1
            return begin(number, time) == .apply ? .forgetAndApply : .forget
        }
        counts.gaps += 1
        guard mayReplay else { return lose(number, time) }
        awaited = number
        ask(from: expected)
        return ignore()
    }

    /// A message of a replay.
    public mutating func replayed(_ number: UInt64, time: Double) -> Verdict {
        let expected = next ?? 0
        switch phase {
        case .live: return ignore()
        case .verifying:
            guard number &+ 1 == expected, time == lastTime else {
                restarted()
                return .forget
            }
            if isForgotten { fromTheBeginning() } else { phase = .replaying(from: expected, reach: nil) }
            return ignore()
        case .replaying:
            if number < expected { return ignore() }
            // The engine no longer has what is missing, if something is.
            return number == expected ? apply(number, time) : lose(number, time)
        }
    }

    /// The replay's end. True: forget what this server holds.
    public mutating func replayEnded() -> Bool {
        let expected = next ?? 0
        switch phase {
        case .live: return false
        case .verifying:
            restarted()
            return true
        case .replaying(_, let reach):
            if let reach, reach >= expected { return giveUp() }
            if let awaited, awaited >= expected {
                // It came after the replay was asked for.
                ask(from: expected)
                return false
            }
            (phase, awaited) = (.live, nil)
            next = expected
            if expected == 0 { isComplete = true }
            return false
        }
    }

    /// No answer to a replay came. True: forget what this server holds.
    public mutating func replayFailed() -> Bool { phase == .live ? false : giveUp() }

    /// The replay that was wanted has been asked for.
    public mutating func askedForReplay() { wantsReplayFrom = nil }

    /// There is a connection. After one that was broken it may be another engine that answers. True: forget what this
    /// server holds.
    public mutating func connected() -> Bool {
        (mayReplay, awaited) = (hasReplay, nil)
        guard mayReplay else {
            guard next != nil else { return false }
            counts.losses += 1
            (next, isComplete) = (nil, false)
            return true
        }
        guard let expected = next, expected > 0 else {
            fromTheBeginning()
            return false
        }
        phase = .verifying
        wantsReplayFrom = expected - 1
        return false
    }

    /// What this server holds was forgotten without this stream's asking for it.
    public mutating func forgotten() {
        isComplete = false
        guard mayReplay else { return }
        if phase == .verifying { isForgotten = true } else { fromTheBeginning() }
    }

    /// Something of a message that was applied could not be.
    public mutating func missed() { isComplete = false }

    /// The engine has emptied its cache: what came before does not matter.
    public mutating func cleared() { isComplete = true }

    // MARK: Steps

    /// Nothing is known yet: what came before this message is asked for.
    private mutating func begin(_ number: UInt64, _ time: Double) -> Verdict {
        isComplete = false
        guard mayReplay, number > 0 else { return apply(number, time) }
        awaited = number
        fromTheBeginning()
        return ignore()
    }

    /// It is another engine.
    private mutating func restarted() {
        counts.restarts += 1
        isComplete = false
        fromTheBeginning()
    }

    private mutating func fromTheBeginning() {
        (next, isForgotten) = (0, false)
        ask(from: 0)
    }

    private mutating func apply(_ number: UInt64, _ time: Double) -> Verdict {
        counts.applied += 1
        (next, lastTime) = (number &+ 1, time)
        if number == 0 { isComplete = true }
        return .apply
    }

    private mutating func ignore() -> Verdict {
        counts.ignored += 1
        return .ignore
    }

    private mutating func lose(_ number: UInt64, _ time: Double) -> Verdict {
        counts.losses += 1
        _ = apply(number, time)
        isComplete = false
        return .forgetAndApply
    }

    private mutating func ask(from number: UInt64) {
        phase = .replaying(from: number, reach: awaited)
        wantsReplayFrom = number
    }

    /// Goes on with whatever comes next, without replays until the next connection.
    private mutating func giveUp() -> Bool {
        counts.losses += 1
        phase = .live
        isComplete = false
        (next, awaited, wantsReplayFrom, mayReplay) = (nil, nil, nil, false)
        return true
    }
}
