extension Router {
    public mutating func setPolicy(_ policy: PolicyID) {
        guard policy != self.policy else { return }
        self.policy = policy
        restartTuner()
        reprice()
    }

    public func value(of knob: Knob) -> Double { tuning[knob] }

    /// Errors: range (outside the knob's bounds, or not a number; nothing changes).
    public mutating func set(_ knob: Knob, to value: Double) throws(RouterError) {
        let before = tuning[knob]
        try tuning.set(knob, value)
        guard value != before else { return }
        if tunes(knob) { restartTuner() }
        reprice()
    }
}
