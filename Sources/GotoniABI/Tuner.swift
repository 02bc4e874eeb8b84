public import CGotoni
internal import GotoniCore

@c @implementation public func gotoni_tune_start(
    _ handle: OpaquePointer?, _ firstTokenLimit: Double, _ interTokenLimit: Double
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        try router.startTuner(TunerSettings(firstTokenLimit, interTokenLimit))
    }
}

/// More are not tuned by any policy.
private let mostWeights = 4

@c @implementation public func gotoni_tune_follow(
    _ handle: OpaquePointer?, _ firstTokenLimit: Double, _ interTokenLimit: Double,
    _ weights: UnsafePointer<gotoni_tuned_weight>?, _ count: Int
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        guard count >= 0, count <= mostWeights else { throw .range }
        let first = try elements(weights, count).baseAddress
        let size = try first.map { (first) throws(RouterError) in try structSize(first) } ?? 0
        var found = InlineArray<4, TunedWeight>(repeating: TunedWeight(.rttWeight, 0))
        for i in 0..<count {
            guard let rows = UnsafeRawPointer(first) else { break }
            let weight = read(rows + i * size, size: size, gotoni_tuned_weight())
            guard let knob = Knob(rawValue: weight.knob) else { throw .unknownKnob }
            found[i] = TunedWeight(knob, weight.incumbent)
        }
        let named = found.span
        try router.followTuner(TunerSettings(firstTokenLimit, interTokenLimit), named.extracting(first: count))
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

extension TunerSettings {
    init(_ firstTokenLimit: Double, _ interTokenLimit: Double) {
        self.init()
        self.firstTokenLimit = firstTokenLimit
        self.interTokenLimit = interTokenLimit
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
