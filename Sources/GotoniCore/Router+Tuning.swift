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

    /// For the laboratory: multiplies a term of what the policy predictive compares. Not in snapshots.
    /// Errors: range (outside `PredictionTerm.factors`; nothing changes).
    package mutating func set(_ term: PredictionTerm, factor: Double) throws(RouterError) {
        try tuning.set(term, factor: factor)
        reprice()
    }
}
