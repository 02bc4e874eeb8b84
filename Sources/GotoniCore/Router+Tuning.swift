extension Router {
    public mutating func setPolicy(_ policy: PolicyID) {
        self.policy = policy
        servers.setPricing(tuning, predicts: policy == .predictive)
    }

    public func value(of knob: Knob) -> Double { tuning[knob] }

    /// Errors: range (outside the knob's bounds, or not a number; nothing changes).
    public mutating func set(_ knob: Knob, to value: Double) throws(RouterError) {
        try tuning.set(knob, value)
        servers.setPricing(tuning, predicts: policy == .predictive)
    }
}
