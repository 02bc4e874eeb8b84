/// Two arms compared round by round: each round gives one difference of their mean scores.
///
/// A request belongs to the round in which it was *sent*, and a round counts when the last of its requests has ended; else
/// slow answers would be missing from it.
struct Rounds: BitwiseCopyable {
    enum Pattern: UInt8, BitwiseCopyable {
        /// Every session has its arm: sensitive, for both meet the same servers at the same time; but what one arm does to
        /// the servers happens to both.
        case sideBySide
        /// All requests have the same arm for a while, then the other: a switchback. It sees what an arm does to everybody.
        case byTurns
    }

    /// Where a request was counted.
    struct Place: BitwiseCopyable {
        var round: UInt32 = 0
        /// Not one of those that still meet what the other arm has left behind.
        var isCounted = false
    }

    struct Outcome: BitwiseCopyable {
        /// Trial less control.
        var difference: Double
        /// Requests that the trial served.
        var trials: Double
    }

    struct Round: BitwiseCopyable {
        /// Requests on trial, counted or not.
        var trials: UInt32 = 0
        /// Counted ones by arm.
        var sent: InlineArray<2, UInt32> = InlineArray(repeating: 0)
        var ended: InlineArray<2, UInt32> = InlineArray(repeating: 0)
        var sum: InlineArray<2, Double> = InlineArray(repeating: 0)
    }

    /// A turn has a part that is not counted, which meets what the turn before has left behind, and one that is. Each has at
    /// least so many requests, and takes so long, and as long as an answer. A round side by side is one part.
    private static let partRequests: UInt32 = 40
    private static let partTime = Nanoseconds(milliseconds: 2_000)
    /// Of a thousand sessions side by side, on trial.
    private static let share: UInt64 = 250
    /// Rounds that may wait for their last answers.
    private static let most: UInt32 = 32

    private var pattern = Pattern.sideBySide
    private var ring = InlineArray<32, Round>(repeating: Round())
    /// The oldest round that counts, and the one that is being filled.
    private var oldest: UInt32 = 0
    private var newest: UInt32 = 0
    /// Of the newest: which part, when that began (nil: not yet), and its requests so far.
    private var part = 0
    private var partBegan: Nanoseconds?
    private var partCount: UInt32 = 0

    /// What is under way counts no more.
    mutating func begin(_ pattern: Pattern) {
        self.pattern = pattern
        oldest = newest &+ 1
        open(oldest)
    }

    private mutating func open(_ round: UInt32) {
        newest = round
        ring[Int(round % Self.most)] = Round()
        (part, partBegan, partCount) = (0, nil, 0)
    }

    /// Of a request that is sent now; `key` is that of its session.
    func arm(_ key: UInt64) -> Tuner.Arm {
        switch pattern {
        case .sideBySide:
            return key.multipliedFullWidth(by: 1_000).high < Self.share ? .trial : .control
        case .byTurns:
            // Now the one begins, now the other: a load that rises favours neither.
            return (part < 2) == (newest % 2 == 0) ? .trial : .control
        }
    }

    /// `answer`: milliseconds that one takes.
    mutating func enter(_ arm: Tuner.Arm, now: Nanoseconds, answer: Double) -> Place {
        let index = Int(newest % Self.most)
        let place = Place(round: newest, isCounted: pattern == .sideBySide || part % 2 == 1)
        if arm == .trial { ring[index].trials += 1 }
        if place.isCounted { ring[index].sent[Int(arm.rawValue)] += 1 }
        partCount += 1
        let began = partBegan ?? now
        partBegan = began
        let isShort = partCount < (pattern == .sideBySide ? 2 : 1) * Self.partRequests
        let least = pattern == .sideBySide ? Self.partTime : max(Self.partTime, Nanoseconds(milliseconds: answer))
        if isShort || now.since(began) < least { return place }
        if pattern == .byTurns, part < 3 {
            (part, partBegan, partCount) = (part + 1, nil, 0)
        } else {
            // Too many wait: the oldest is given up.
            if newest &+ 1 &- oldest >= Self.most { oldest &+= 1 }
            open(newest &+ 1)
        }
        return place
    }

    /// A request has ended with a score; nil: it was never sent.
    mutating func leave(_ place: Place, _ arm: Tuner.Arm, _ score: Double?) {
        guard place.isCounted, newest &- place.round <= newest &- oldest else { return }
        let index = Int(place.round % Self.most)
        guard let score else {
            ring[index].sent[Int(arm.rawValue)] -= 1
            return
        }
        ring[index].ended[Int(arm.rawValue)] += 1
        ring[index].sum[Int(arm.rawValue)] += score
    }

    /// The oldest round, if it is complete. One in which an arm served nobody gives no difference.
    mutating func next() -> Outcome? {
        while oldest != newest {
            let round = ring[Int(oldest % Self.most)]
            guard round.ended[0] == round.sent[0], round.ended[1] == round.sent[1] else { return nil }
            oldest &+= 1
            guard round.sent[0] > 0, round.sent[1] > 0 else { continue }
            return Outcome(
                difference: round.sum[1] / Double(round.sent[1]) - round.sum[0] / Double(round.sent[0]),
                trials: Double(round.trials))
        }
        return nil
    }
}

/// How many tokens have lately come, beside how many usually do.
struct Arrivals: BitwiseCopyable {
    private var recent = 0.0
    private var usual = 0.0
    private var count = 0.0
    private var last = Nanoseconds(0)

    private static let lately = 5_000.0
    private static let memory = 1_000.0

    /// From 0 to 1, before these; half is as usual.
    mutating func add(_ tokens: Double, now: Nanoseconds) -> Double {
        recent *= max(0, 1 - now.since(last).milliseconds / Self.lately)
        last = now
        let share = recent / max(recent + usual, 1)
        count = min(count + 1, Self.memory)
        usual += (recent - usual) / count
        recent += tokens
        return share
    }
}
