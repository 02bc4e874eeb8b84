/// Looks for better weights of the cost while requests are served, without serving them worse.
///
/// What it seeks is goodput: the share of requests whose first token and time between tokens keep within limits, with a soft
/// edge, so that a miss by a little counts a little; what fails is a miss. It takes no reward for first tokens that others
/// pay for with slow answers.
///
/// It starts from *home*, the weights that the operator set, and tries one step after the other:
///
/// 1. *comparing*: a quarter of the sessions is served with a candidate's weights, beside the incumbent's. What does badly
///    there goes no further. But it says little of what is better: a session may win at the cost of others, or give way to them.
/// 2. *confirming*: so all are served by turns with the candidate's weights and with the incumbent's. What is better then is
///    better for all, and is the next incumbent.
/// 3. *checking*: after every second comparison, and as soon as goodput falls, the incumbent must stand up to home in the same
///    way, for the world changes.
///
/// Each is a sequential test over differences between rounds of requests (`SequentialTest`, `Rounds`), of scores less the part
/// that a request's difficulty explains (a control variate): the tokens of its prompt that no server holds, and how many of
/// those have lately come with others; neither depends on the arm that it gets. What loses is banned with its surroundings
/// for a while, and what loses much is ended after three rounds. And trials may cost in all no more than one request in two
/// hundred: when they have, it rests.
///
/// A value without clock; chance comes from its seed.
struct Tuner: BitwiseCopyable {
    /// Factors on the weights that are tuned; home is all ones.
    typealias Point = InlineArray<4, Double>
    static var home: Point { InlineArray(repeating: 1) }

    enum Arm: UInt8, BitwiseCopyable { case control = 0, trial = 1 }

    /// What a request is worth to the tuner. All zeros: nothing.
    struct Stake: BitwiseCopyable {
        fileprivate(set) var arm = Arm.control
        fileprivate var isScored = false
        fileprivate var fresh: Float = 0
        fileprivate var rush: Float = 0
        fileprivate var place = Rounds.Place()
        /// Of its first token, milliseconds after it was routed; 0: there was none yet.
        var firstToken: Float = 0
    }

    private(set) var phase = TunerPhase.off
    private(set) var settings = TunerSettings()
    /// Bit i: weight i is tuned.
    private(set) var dimensions: UInt32 = 0
    private(set) var incumbent = Self.home
    private(set) var candidate = Self.home
    private(set) var test = SequentialTest()
    private(set) var counts = TunerCounts()
    /// Mean score of the last requests.
    private(set) var goodput = 0.0
    /// What trials have cost, in requests that would have been good.
    private(set) var spent = 0.0
    /// The same of the test that runs.
    private var cost = 0.0
    /// Changes whenever an arm has other weights.
    private(set) var revision: UInt32 = 0

    private var rounds = Rounds()
    private var random = SplitMix64(seed: 0)
    private var scores = Regression<6>()
    private var explained: InlineArray<6, Double> = InlineArray(repeating: 0)
    private var arrivals = Arrivals()
    /// Mean time from being routed to the end, milliseconds.
    private var answer = 0.0
    private var direction = Self.home
    private var reach = Self.firstReach
    private var quarantine = InlineArray<8, Ban>(repeating: Ban())
    private var nextBan = 0
    private var restLeft: UInt32 = 0
    /// Comparisons since the incumbent last stood up to home, and the goodput of then.
    private var unchecked = 0
    private var level = 0.0

    /// By which factor a weight changes: the trust region. It grows after steps that are right, and shrinks after others.
    private static let firstReach = 2.0
    private static let reaches = 1.3...4.0
    private static let farthest = 16.0
    /// Points so near to a banned one are banned, by ratio, for so many comparisons.
    private static let banRatio = 1.25
    private static let banLength: UInt32 = 12
    private static let warmRequests = 200.0
    private static let restRequests: UInt32 = 2_000
    private static let mostRounds: UInt32 = 30
    private static let comparedRounds: UInt32 = 5
    /// A candidate whose own sessions lose so much is not tried on all.
    private static let ownLoss = -0.08
    /// Goodput may fall by so much before the incumbent is checked.
    private static let fall = 0.05
    private static let longestAnswer = 10_000.0
    private static let budgetShare = 0.005
    private static let firstBudget = 10.0
    /// Requests of the mean score.
    private static let memory = 1_000.0

    struct Ban: BitwiseCopyable {
        var point = Tuner.home
        var left: UInt32 = 0
    }

    init() {}

    var isOn: Bool { phase != .off }

    // MARK: Requests

    /// Who serves a request that is sent now. `session`: 0 for none.
    func arm(session: UInt64) -> Arm {
        switch phase {
        case .comparing, .confirming, .checking:
            // Another candidate gets other sessions: nobody is always the one on trial.
            return rounds.arm(Key.mix(session == 0 ? counts.requests : session, counts.proposed))
        case .off, .warming, .resting, .frozen, .following: return .control
        }
    }

    /// The factors that decide for an arm.
    func point(_ arm: Arm) -> Point {
        switch (phase, arm) {
        case (.checking, .control): Self.home
        case (.comparing, .trial), (.confirming, .trial): candidate
        default: incumbent
        }
    }

    /// A request is sent. `fresh`: tokens of its prompt that no server holds.
    mutating func enter(_ arm: Arm, fresh: Double, now: Nanoseconds) -> Stake {
        guard isOn else { return Stake() }
        counts.requests += 1
        var stake = Stake()
        stake.arm = arm
        stake.isScored = true
        stake.fresh = Float(fresh / (fresh + 4_000))
        stake.rush = Float(arrivals.add(fresh + 100, now: now))
        switch phase {
        case .comparing, .confirming, .checking: stake.place = rounds.enter(arm, now: now, answer: answer)
        case .off, .warming, .resting, .frozen, .following: break
        }
        return stake
    }

    /// A request has ended. `interToken`: mean milliseconds between tokens, if known; `waited`: since it
    /// was routed, or since its first token if there was one.
    mutating func leave(_ stake: Stake, _ outcome: Outcome, interToken: Double?, waited: Double) {
        guard stake.isScored, isOn else { return }
        guard outcome != .notSent else {
            rounds.leave(stake.place, stake.arm, nil)
            return step()
        }
        let beforeFirst = Double(stake.firstToken)
        let firstToken = beforeFirst > 0 ? beforeFirst : waited
        let pace = max(firstToken / settings.firstTokenLimit, (interToken ?? 0) / settings.interTokenLimit)
        let score = outcome == .failed ? 0 : 1 / (1 + pace * pace * pace * pace)
        counts.ended += 1
        answer += (min(beforeFirst + waited, Self.longestAnswer) - answer) / min(Double(counts.ended), Self.memory)
        goodput += (score - goodput) / min(Double(counts.ended), Self.memory)
        guard phase != .frozen, phase != .following else { return }
        let (f, r) = (Double(stake.fresh), Double(stake.rush))
        let features: InlineArray<6, Double> = [1, f, f * f, r, r * r, f * r]
        var expected = 0.0
        for i in 0..<6 { expected += explained[i] * features[i] }
        scores.observe(features, score, predicted: expected)
        rounds.leave(stake.place, stake.arm, score - expected)
        step()
    }

    // MARK: Orders

    /// Begins at home, or goes on from where it stands. `dimensions`: which weights to tune, others than before begin at home.
    mutating func start(_ settings: TunerSettings, dimensions: UInt32, seed: UInt64) {
        if phase == .off || dimensions != self.dimensions {
            self = Tuner()
            random = SplitMix64(seed: seed)
        }
        self.settings = settings
        self.dimensions = dimensions
        // Other limits are other scores.
        (scores, explained) = (Regression(), InlineArray(repeating: 0))
        begin(.warming)
    }

    /// The incumbent is another tuner's: `point`, within the bounds of this one. Nothing is tried, until a start goes on from it.
    mutating func follow(_ point: Point, _ settings: TunerSettings, dimensions: UInt32, seed: UInt64) {
        if phase != .following || dimensions != self.dimensions {
            self = Tuner()
            random = SplitMix64(seed: seed)
        }
        self.settings = settings
        self.dimensions = dimensions
        for i in 0..<4 { incumbent[i] = min(max(point[i], 1 / Self.farthest), Self.farthest) }
        candidate = incumbent
        begin(.following)
    }

    /// The incumbent serves all, whatever comes.
    mutating func freeze() { if isOn { begin(.frozen) } }

    /// Home, at once, and no further trials; what was in force is banned.
    mutating func rollback() {
        guard isOn else { return }
        ban(incumbent)
        goHome()
        begin(.frozen)
    }

    // MARK: Steps

    private mutating func step() {
        switch phase {
        case .off, .frozen, .following: return
        case .warming: if scores.weight >= Self.warmRequests { propose() }
        case .resting:
            restLeft -= min(restLeft, 1)
            if restLeft == 0 { propose() }
        case .comparing where hasFallen, .confirming where hasFallen: check()
        case .comparing, .confirming, .checking:
            // A step begins new rounds, and there are no more outcomes.
            while let outcome = rounds.next() { count(outcome) }
        }
    }

    private mutating func count(_ outcome: Rounds.Outcome) {
        cost -= outcome.difference * outcome.trials
        test.add(outcome.difference)
        if test.isDisaster {
            counts.rolledBack += 1
            return lost()
        }
        switch phase {
        case .comparing where test.count >= Self.comparedRounds: test.mean < Self.ownLoss ? lost() : begin(.confirming)
        case .confirming:
            if let verdict = test.verdict {
                verdict == .better ? won() : lost()
            } else if test.isHopeless || test.count >= Self.mostRounds || isBroke {
                undecided()
            }
        case .checking:
            if let verdict = test.verdict {
                verdict == .better ? won() : lost()
            } else if test.isFutile || test.count >= Self.mostRounds {
                undecided()
            }
        case .off, .warming, .comparing, .resting, .frozen, .following: return
        }
    }

    private mutating func won() {
        switch phase {
        case .confirming:
            counts.accepted += 1
            incumbent = candidate
            level = goodput
            reach = min(reach * 1.25, Self.reaches.upperBound)
            propose(keepsDirection: true)
        default: propose()
        }
    }

    private mutating func lost() {
        if phase == .checking { return leaveIncumbent() }
        counts.rejected += 1
        ban(candidate)
        reach = max(reach * 0.9, Self.reaches.lowerBound)
        // If this way was wrong, the other may be right.
        for i in 0..<4 { direction[i] = 1 / direction[i] }
        propose(keepsDirection: phase == .comparing)
    }

    private mutating func undecided() {
        if phase == .checking { return test.mean < 0 ? leaveIncumbent() : propose() }
        counts.undecided += 1
        if phase == .confirming { ban(candidate) }
        reach = max(reach * 0.9, Self.reaches.lowerBound)
        propose()
    }

    private mutating func leaveIncumbent() {
        counts.wentHome += 1
        ban(incumbent)
        goHome()
        propose()
    }

    private mutating func goHome() { (incumbent, candidate, reach) = (Self.home, Self.home, Self.firstReach) }

    private mutating func begin(_ phase: TunerPhase) {
        (spent, cost) = (allSpent, 0)
        self.phase = phase
        test = SequentialTest()
        rounds.begin(phase == .comparing ? .sideBySide : .byTurns)
        revision &+= 1
    }

    private var hasFallen: Bool { !isHome(incumbent) && goodput < level - Self.fall }

    private mutating func check() {
        counts.proposed += 1
        (unchecked, level) = (0, goodput)
        begin(.checking)
    }

    /// The next candidate: a step from the incumbent, not into quarantine.
    private mutating func propose(keepsDirection: Bool = false) {
        explained = scores.solution(prior: InlineArray(repeating: 0), trust: InlineArray(repeating: 1e-3))
        for i in 0..<6 where !explained[i].isFinite { explained = InlineArray(repeating: 0) }
        unchecked += 1
        if !isHome(incumbent), unchecked > 2 { return check() }
        counts.proposed += 1
        guard dimensions != 0, !isBroke else {
            restLeft = Self.restRequests
            return begin(.resting)
        }
        for i in 0..<8 where quarantine[i].left > 0 { quarantine[i].left -= 1 }
        for attempt in 0..<16 {
            if !keepsDirection || attempt > 0 { drawDirection() }
            for i in 0..<4 { candidate[i] = Self.reflected(incumbent[i] * direction[i]) }
            if !isBanned(candidate) { break }
        }
        begin(.comparing)
    }

    /// Trials have cost all that they may.
    private var isBroke: Bool { allSpent > Self.firstBudget + Self.budgetShare * Double(counts.ended) }

    /// With what the test that runs has cost. What a trial gains beside others may be their loss, and counts as nothing.
    private var allSpent: Double { spent + (phase == .comparing ? max(cost, 0) : cost) }

    /// One or two weights change by a step.
    private mutating func drawDirection() {
        direction = Self.home
        for _ in 0..<(1 + random.next(below: 2)) {
            var index = random.next(below: dimensions.nonzeroBitCount)
            for i in 0..<4 where dimensions & (1 << i) != 0 {
                if index == 0 { direction[i] = random.next(below: 2) == 0 ? reach : 1 / reach }
                index -= 1
            }
        }
    }

    /// What passes a bound comes back from it as far as it went beyond.
    private static func reflected(_ factor: Double) -> Double {
        if factor > farthest { return farthest * farthest / factor }
        if factor < 1 / farthest { return 1 / (farthest * farthest * factor) }
        return factor
    }

    private func isHome(_ point: Point) -> Bool {
        for i in 0..<4 where point[i] != 1 { return false }
        return true
    }

    private func isBanned(_ point: Point) -> Bool {
        for ban in 0..<8 where quarantine[ban].left > 0 {
            var isNear = true
            for i in 0..<4 {
                let ratio = point[i] / quarantine[ban].point[i]
                if max(ratio, 1 / ratio) >= Self.banRatio { isNear = false }
            }
            if isNear { return true }
        }
        return false
    }

    private mutating func ban(_ point: Point) {
        guard !isHome(point) else { return }
        quarantine[nextBan] = Ban(point: point, left: Self.banLength)
        nextBan = (nextBan + 1) % 8
    }
}

// MARK: Snapshot

extension Tuner {
    /// What was found and learned; a test that runs is not, it begins anew.
    func write(_ out: inout ByteWriter) {
        out.put(stored)
        guard isOn else { return }
        out.put(dimensions)
        out.put(settings.firstTokenLimit)
        out.put(settings.interTokenLimit)
        put(incumbent, &out)
        let numbers: InlineArray<5, Double> = [goodput, level, allSpent, reach, answer]
        for i in 0..<5 { out.put(numbers[i]) }
        out.put(random.state)
        put(counts, &out)
        for i in 0..<8 {
            put(quarantine[i].point, &out)
            out.put(quarantine[i].left)
        }
        scores.write(&out)
    }

    /// The phase, as far as it is kept.
    private var stored: UInt32 {
        switch phase {
        case .off: 0
        case .warming, .comparing, .confirming, .checking, .resting: 1
        case .frozen: 2
        case .following: 3
        }
    }

    /// Of a router whose policy tunes `dimensions`. Errors: snapshot.
    init(_ input: inout ByteReader, dimensions: UInt32) throws(RouterError) {
        let state = try input.get(UInt32.self)
        guard state <= 3 else { throw .snapshot }
        guard state > 0 else { return }
        guard dimensions != 0, try input.get(UInt32.self) == dimensions else { throw .snapshot }
        self.dimensions = dimensions
        settings.firstTokenLimit = try input.getDouble(in: TunerSettings.bounds)
        settings.interTokenLimit = try input.getDouble(in: TunerSettings.bounds)
        incumbent = try Self.point(&input)
        goodput = try input.getDouble(in: 0...1)
        level = try input.getDouble(in: 0...1)
        spent = try input.getDouble(in: -1e15...1e15)
        reach = try input.getDouble(in: Self.reaches)
        answer = try input.getDouble(in: 0...Self.longestAnswer)
        random.state = try input.get(UInt64.self)
        counts = try Self.counts(&input)
        for i in 0..<8 {
            quarantine[i].point = try Self.point(&input)
            quarantine[i].left = try input.get(UInt32.self)
            guard quarantine[i].left <= Self.banLength else { throw .snapshot }
        }
        scores = try Regression(&input)
        candidate = incumbent
        begin(state == 1 ? .warming : state == 2 ? .frozen : .following)
    }

    private func put(_ point: Point, _ out: inout ByteWriter) { for i in 0..<4 { out.put(point[i]) } }

    private static func point(_ input: inout ByteReader) throws(RouterError) -> Point {
        var point = Self.home
        for i in 0..<4 { point[i] = try input.getDouble(in: 1 / farthest...farthest) }
        return point
    }

    private func put(_ counts: TunerCounts, _ out: inout ByteWriter) {
        let all: InlineArray<8, UInt64> = [
            counts.requests, counts.ended, counts.proposed, counts.accepted, counts.rejected, counts.undecided,
            counts.rolledBack, counts.wentHome,
        ]
        for i in 0..<8 { out.put(all[i]) }
    }

    private static func counts(_ input: inout ByteReader) throws(RouterError) -> TunerCounts {
        var all = InlineArray<8, UInt64>(repeating: 0)
        for i in 0..<8 {
            all[i] = try input.get(UInt64.self)
            // It must be possible to count on.
            guard all[i] <= .max / 2 else { throw .snapshot }
        }
        var counts = TunerCounts()
        (counts.requests, counts.ended, counts.proposed, counts.accepted) = (all[0], all[1], all[2], all[3])
        (counts.rejected, counts.undecided, counts.rolledBack, counts.wentHome) = (all[4], all[5], all[6], all[7])
        return counts
    }
}
