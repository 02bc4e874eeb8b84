import GotoniCore

/// When the requests of a workload that wait for no answer are sent.
public enum ArrivalPlan: Equatable, Sendable {
    /// At their own times, times this: 2 is half as fast.
    case scaled(Double)
    /// At random, with this mean rate; or evenly. Where requests continue others, it is conversations that come.
    case poisson(perSecond: Double)
    case constant(perSecond: Double)

    public func check() throws(SimulationError) {
        let (number, what) =
            switch self {
            case .scaled(let scale): (scale, "the time scale")
            case .poisson(let rate), .constant(let rate): (rate, "the rate")
            }
        guard (1e-6...1e6).contains(number) else {
            throw SimulationError("\(what) must be between 0.000001 and 1,000,000")
        }
    }
}

extension Workload {
    /// Whether some requests wait for the answers to others: then it is conversations that arrive.
    public var hasConversations: Bool {
        requests.contains { if case .after = $0.arrival { true } else { false } }
    }

    /// Replaces the arrivals; the times between an answer and what follows it stay, for they belong to the user.
    public mutating func arrive(_ plan: ArrivalPlan, seed: UInt64) {
        var chance = SplitMix64.stream(seed, 0xA441)
        var next = 0.0
        for index in requests.indices {
            guard case .at(let time) = requests[index].arrival else { continue }
            switch plan {
            case .scaled(let scale):
                requests[index].arrival = .at(Nanoseconds(seconds: time.seconds * scale))
                continue
            case .poisson(let rate): next += chance.exponential() / rate
            case .constant(let rate): next += 1 / rate
            }
            requests[index].arrival = .at(Nanoseconds(seconds: next))
        }
    }
}
