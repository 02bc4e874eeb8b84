import GotoniCore

/// What the tuner of a group has found, in the group's bucket under `tuner`:
///
///     {"proxy": "9f1c", "phase": "on", "limits": {"ttft_ms": 2000, "itl_ms": 100},
///      "home": {"rtt_weight": 1}, "weights": {"rtt_weight": 2}}
struct SharedTuner: Codable, Equatable, Sendable {
    enum Phase: String, Codable, Sendable { case on, frozen, off }
    struct Limits: Codable, Equatable, Sendable {
        var ttft_ms: Double
        var itl_ms: Double
    }

    /// Who tunes: its name in /proxy/status.
    var proxy: String
    var phase: Phase
    var limits: Limits
    /// The weights that are tuned, as they were set and as the incumbent has them. None: it is off.
    var home: [String: Double] = [:]
    var weights: [String: Double] = [:]

    /// A proxy that follows another's has none of its own.
    init(_ status: TunerStatus, by proxy: String) {
        self.proxy = proxy
        limits = Limits(ttft_ms: status.settings.firstTokenLimit, itl_ms: status.settings.interTokenLimit)
        switch status.phase {
        case .off, .following: phase = .off
        case .frozen: phase = .frozen
        case .warming, .comparing, .confirming, .checking, .resting: phase = .on
        }
        guard phase != .off else { return }
        for index in 0..<status.weightCount {
            let weight = status.weights[index]
            home["\(weight.knob.info.name)"] = weight.home
            weights["\(weight.knob.info.name)"] = weight.incumbent
        }
    }

    /// `router` serves with these weights if they were found from those that are set there: other ones are on their way there,
    /// or to the proxy that tunes. Errors: unknownKnob, untunable, range; its tuner then is off.
    func lead(_ router: inout Router) throws(RouterError) {
        guard phase != .off else {
            if router.tunerStatus().phase == .following { router.stopTuner() }
            return
        }
        do throws(RouterError) {
            guard let home = try? ControlRoutes.knobs(home), let weights = try? ControlRoutes.knobs(weights) else {
                throw .unknownKnob
            }
            for (knob, value) in home where router.value(of: knob) != value { throw .untunable }
            var settings = TunerSettings()
            (settings.firstTokenLimit, settings.interTokenLimit) = (limits.ttft_ms, limits.itl_ms)
            let found = weights.map { TunedWeight($0, $1) }
            try router.followTuner(settings, found.span)
        } catch {
            router.stopTuner()
            throw error
        }
    }
}

/// What ends trials wherever they are made, and so is obeyed at every proxy of a group.
enum TunerBrake: Sendable {
    case freeze, rollback

    func pull(_ router: inout Router) {
        switch self {
        case .freeze: router.freezeTuner()
        case .rollback: router.rollBackTuner()
        }
    }
}

/// Who tunes in a group, as one of its proxies sees it: a value without I/O.
///
/// The proxy that an operator has told to start writes the group's tuner, each time only if nobody else has written since it
/// looked (compare-and-set); whoever finds another's there follows that one. So there is one, also when two are started at once.
/// When it dies what it has found stays in force, and nobody takes over until an operator starts another.
struct GroupTuner: Equatable {
    let proxy: String
    /// What the bucket has, and the number of that change; nil: nothing, or nothing that can be read.
    private(set) var held: SharedTuner?
    private(set) var revision: UInt64 = 0
    /// A brake was pulled here: that goes over whatever others have written, once.
    private var takesOver = false

    init(proxy: String) { self.proxy = proxy }

    /// Another bucket, perhaps, whose changes are numbered anew.
    mutating func begin() { (held, revision) = (nil, 0) }

    /// The bucket has this. False: it is older than what is known.
    mutating func hear(_ told: SharedTuner?, revision: UInt64) -> Bool {
        guard revision > self.revision else { return false }
        (held, self.revision) = (told, revision)
        return true
    }

    mutating func takeOver() { takesOver = true }

    /// Whom to follow; nil: nobody else.
    var leader: SharedTuner? { takesOver || held?.proxy == proxy ? nil : held }

    /// What is to be written after `revision`, when the tuner is as in `status`; nil: nothing.
    mutating func news(_ status: TunerStatus) -> SharedTuner? {
        let own = SharedTuner(status, by: proxy)
        if own != held, own.phase != .off || held?.proxy == proxy { return own }
        takesOver = false
        return nil
    }

    mutating func wrote(_ told: SharedTuner, revision: UInt64) {
        (held, self.revision, takesOver) = (told, revision, false)
    }
}
