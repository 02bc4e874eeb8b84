/// What a good request keeps within, in milliseconds; both from 1 to 3,600,000.
public struct TunerSettings: Equatable, Sendable, BitwiseCopyable {
    /// From when it was routed to its first token.
    public var firstTokenLimit = 2_000.0
    /// Mean time between tokens from then on, where the answer's tokens are known.
    public var interTokenLimit = 100.0

    public init() {}

    static let bounds = 1.0...3_600_000

    func check() throws(RouterError) {
        guard Self.bounds.contains(firstTokenLimit), Self.bounds.contains(interTokenLimit) else { throw .range }
    }
}

/// What the tuner is doing; see `Tuner`.
public enum TunerPhase: UInt32, Sendable, BitwiseCopyable, CaseIterable {
    case off = 0
    /// Learns what is difficult; the incumbent serves all.
    case warming = 1
    /// Candidate beside incumbent.
    case comparing = 2
    /// Candidate by turns with home.
    case confirming = 3
    /// Incumbent by turns with home.
    case checking = 4
    /// Trials have cost enough for now; the incumbent serves all.
    case resting = 5
    /// The incumbent serves all, whatever comes.
    case frozen = 6
    /// Another router's incumbent serves all; nothing is tried here.
    case following = 7

    public var name: StaticString {
        switch self {
        case .off: "off"
        case .warming: "warming"
        case .comparing: "comparing"
        case .confirming: "confirming"
        case .checking: "checking"
        case .resting: "resting"
        case .frozen: "frozen"
        case .following: "following"
        }
    }
}

public struct TunerCounts: Equatable, Sendable, BitwiseCopyable {
    /// Requests sent and ended since the start.
    public var requests: UInt64 = 0
    public var ended: UInt64 = 0
    /// Tests begun, checks of the incumbent among them.
    public var proposed: UInt64 = 0
    /// Candidates that became the incumbent, that lost, and that were neither better nor worse as far as could be seen.
    public var accepted: UInt64 = 0
    public var rejected: UInt64 = 0
    public var undecided: UInt64 = 0
    /// Tests that were ended early because of a large loss.
    public var rolledBack: UInt64 = 0
    /// Incumbents that did not stand up to home any more.
    public var wentHome: UInt64 = 0
}

/// A weight that a tuner has found.
public struct TunedWeight: Equatable, Sendable, BitwiseCopyable {
    public var knob: Knob
    public var value: Double

    public init(_ knob: Knob, _ value: Double) { (self.knob, self.value) = (knob, value) }
}

public struct TunerStatus: Sendable, BitwiseCopyable {
    /// One weight that is tuned.
    public struct Weight: Sendable, BitwiseCopyable {
        public var knob: Knob
        /// What the operator set, what the incumbent has, and what is on trial now; the latter two are alike if nothing is.
        public var home: Double
        public var incumbent: Double
        public var trial: Double
    }

    public var phase: TunerPhase
    public var settings: TunerSettings
    public var counts: TunerCounts
    /// Mean score of the last thousand requests, 0 to 1.
    public var goodput: Double
    /// What trials have cost, in requests that would have been good; below 0: gained.
    public var spent: Double
    /// Of the test that runs: rounds, and the mean by which the trial is ahead, in goodput.
    public var rounds: UInt32
    public var difference: Double
    /// The first `weightCount` of them count.
    public var weights: InlineArray<4, Weight>
    public var weightCount: Int
}
