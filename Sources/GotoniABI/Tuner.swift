public import CGotoni
internal import GotoniCore

@c @implementation public func gotoni_tune_start(
    _ handle: OpaquePointer?, _ firstTokenLimit: Double, _ interTokenLimit: Double
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        var settings = TunerSettings()
        settings.firstTokenLimit = firstTokenLimit
        settings.interTokenLimit = interTokenLimit
        try router.startTuner(settings)
    }
}

@c @implementation public func gotoni_tune_freeze(_ handle: OpaquePointer?) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in router.freezeTuner() }
}

@c @implementation public func gotoni_tune_rollback(_ handle: OpaquePointer?) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in router.rollBackTuner() }
}

@c @implementation public func gotoni_tune_status(
    _ handle: OpaquePointer?, _ status: UnsafeMutablePointer<gotoni_tuner_status>?
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        let target = try required(status)
        try write(gotoni_tuner_status(router.tunerStatus()), to: target)
    }
}

@c @implementation public func gotoni_tune_weights(
    _ handle: OpaquePointer?, _ weights: UnsafeMutablePointer<gotoni_tuned_weight>?, _ capacity: Int,
    _ count: UnsafeMutablePointer<Int>?
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        let count = try required(count)
        let weights = capacity == 0 ? nil : weights
        let size = try weights.map { (first) throws(RouterError) in try structSize(first) } ?? 0
        let status = router.tunerStatus()
        try fit(status.weightCount, weights, capacity, count)
        guard let rows = UnsafeMutableRawPointer(weights) else { return }
        for i in 0..<status.weightCount {
            write(gotoni_tuned_weight(status.weights[i]), to: rows + i * size, size: size)
        }
    }
}

extension gotoni_tuner_status {
    init(_ status: TunerStatus) {
        self.init()
        phase = status.phase.rawValue
        first_token_limit_ms = status.settings.firstTokenLimit
        inter_token_limit_ms = status.settings.interTokenLimit
        requests = status.counts.requests
        ended = status.counts.ended
        proposed = status.counts.proposed
        accepted = status.counts.accepted
        rejected = status.counts.rejected
        undecided = status.counts.undecided
        rolled_back = status.counts.rolledBack
        went_home = status.counts.wentHome
        goodput = status.goodput
        spent = status.spent
        rounds = UInt64(status.rounds)
        difference = status.difference
    }
}

extension gotoni_tuned_weight {
    init(_ weight: TunerStatus.Weight) {
        self.init()
        knob = weight.knob.rawValue
        home = weight.home
        incumbent = weight.incumbent
        trial = weight.trial
    }
}
