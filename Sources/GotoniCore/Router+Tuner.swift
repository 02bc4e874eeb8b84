// The tuner's place in the router: which weights it may turn, and which weights decide for a request.

/// The weights that a tuner turns, in the order of its factors.
typealias TunedKnobs = InlineArray<4, Knob?>

extension PolicyID {
    /// A common factor on all of a cost changes nothing, so one is left out: gorgo's time of a token, and predictive's first
    /// token.
    var tunedKnobs: TunedKnobs {
        switch self {
        case .gorgo: [.rttWeight, .queuedWeight, .runningCostFactor, .evictionWeight]
        case .predictive: [.decodeWeight, .othersWeight, .evictionWeight, nil]
        case .prefixTree, .leastLoad, .leastRequest, .sessionAffinity, .powerOfTwo, .roundRobin, .random:
            InlineArray(repeating: nil)
        }
    }
}

extension Router {
    /// Begins to look for better weights, from those that are set, or goes on after `freezeTuner` and from `followTuner`.
    /// Errors: range; untunable (the policy in force has no weights, or all are 0).
    public mutating func startTuner(_ settings: TunerSettings) throws(RouterError) {
        try settings.check()
        let dimensions = tunedDimensions
        guard dimensions != 0 else { throw .untunable }
        tuner.start(settings, dimensions: dimensions, seed: tunerSeed)
        reprice()
    }

    private var tunerSeed: UInt64 { Key.mix(configuration.seed, 0x7475_6E65) }

    /// Serves with what another router's tuner has found, phase `following`, until the tuner is told otherwise or a weight or the
    /// policy is set. What is set here stays home, a weight that is not named is as there, and each keeps within the tuner's
    /// own bounds around it. Errors: range (also a weight that is not above 0); untunable (a weight that is not tuned here).
    public mutating func followTuner(_ settings: TunerSettings, _ weights: Span<TunedWeight>) throws(RouterError) {
        try settings.check()
        let (knobs, dimensions) = (policy.tunedKnobs, tunedDimensions)
        guard dimensions != 0 else { throw .untunable }
        var point = Tuner.home
        for index in weights.indices {
            let weight = weights[index]
            guard weight.value > 0, weight.value.isFinite else { throw .range }
            var isTuned = false
            for i in 0..<4 where dimensions & (1 << i) != 0 && knobs[i] == weight.knob {
                point[i] = weight.value / tuning[weight.knob]
                isTuned = true
            }
            guard isTuned else { throw .untunable }
        }
        tuner.follow(point, settings, dimensions: dimensions, seed: tunerSeed)
        reprice()
    }

    /// The weights that are set serve again, and the tuner is off: it forgets what it has found and learned.
    public mutating func stopTuner() {
        tuner = Tuner()
        reprice()
    }

    /// The weights stay as they are now, until the tuner is started again. Without a tuner nothing happens.
    public mutating func freezeTuner() {
        tuner.freeze()
        reprice()
    }

    /// The weights that are set serve again, and the tuner is frozen. Without a tuner nothing happens.
    public mutating func rollBackTuner() {
        tuner.rollback()
        reprice()
    }

    public func tunerStatus() -> TunerStatus {
        let none = TunerStatus.Weight(knob: .rttWeight, home: 0, incumbent: 0, trial: 0)
        var status = TunerStatus(
            phase: tuner.phase, settings: tuner.settings, counts: tuner.counts, goodput: tuner.goodput,
            spent: tuner.spent, rounds: tuner.test.count, difference: tuner.test.mean,
            weights: InlineArray(repeating: none), weightCount: 0)
        let knobs = policy.tunedKnobs
        let incumbent = tuning.scaled(knobs, by: tuner.incumbent)
        let trial = tuning.scaled(knobs, by: tuner.point(.trial))
        for i in 0..<4 where tuner.dimensions & (1 << i) != 0 {
            guard let knob = knobs[i] else { continue }
            status.weights[status.weightCount] = TunerStatus.Weight(
                knob: knob, home: tuning[knob], incumbent: incumbent[knob], trial: trial[knob])
            status.weightCount += 1
        }
        return status
    }

    /// Weights that are 0 stay it: they were switched off.
    var tunedDimensions: UInt32 {
        let knobs = policy.tunedKnobs
        var dimensions: UInt32 = 0
        for i in 0..<4 {
            if let knob = knobs[i], tuning[knob] > 0 { dimensions |= 1 << i }
        }
        return dimensions
    }

    func tunes(_ knob: Knob) -> Bool {
        let knobs = policy.tunedKnobs
        for i in 0..<4 where knobs[i] == knob { return true }
        return false
    }

    /// The policy or its weights were set: a tuner that was on begins at home anew, or is off where there is nothing to tune,
    /// or where it followed another's.
    mutating func restartTuner() {
        guard tuner.isOn else { return }
        let (settings, phase, dimensions) = (tuner.settings, tuner.phase, tunedDimensions)
        tuner = Tuner()
        guard dimensions != 0, phase != .following else { return }
        tuner.start(settings, dimensions: dimensions, seed: Key.mix(configuration.seed, counters.routed))
        if phase == .frozen { tuner.freeze() }
    }

    /// Brings the weights of both arms in force.
    mutating func reprice() {
        let knobs = policy.tunedKnobs
        arms = Arms(
            control: tuning.scaled(knobs, by: tuner.point(.control)),
            trial: tuning.scaled(knobs, by: tuner.point(.trial)), knobs)
        servers.setPricing(arms.control, predicts: policy == .predictive)
    }

    /// A ticket's request has ended, one way or the other.
    mutating func settle(_ entry: Ledger.Entry, _ outcome: Outcome) {
        guard tuner.isOn else { return }
        let elapsed = now.since(entry.since).milliseconds
        var interToken: Double?
        if entry.phase == .running, entry.outputTokens > 1 { interToken = elapsed / Double(entry.outputTokens - 1) }
        let revision = tuner.revision
        tuner.leave(entry.stake, outcome, interToken: interToken, waited: elapsed)
        if tuner.revision != revision { reprice() }
    }
}

/// What decides for either arm.
struct Arms: BitwiseCopyable {
    /// Standing costs are priced with these.
    let control: Tuning
    let trial: Tuning
    /// A cost on trial is at least so much of the standing cost: the least ratio of weights.
    let leastShare: Double

    init(_ tuning: Tuning) { (control, trial, leastShare) = (tuning, tuning, 1) }

    init(control: Tuning, trial: Tuning, _ knobs: TunedKnobs) {
        (self.control, self.trial) = (control, trial)
        var least = 1.0
        for i in 0..<4 {
            if let knob = knobs[i], control[knob] > 0 { least = min(least, trial[knob] / control[knob]) }
        }
        leastShare = least
    }
}
