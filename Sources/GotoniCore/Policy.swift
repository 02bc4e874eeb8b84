/// A way to choose a server: a function of the table of candidates.
///
/// A policy sees only eligible rows, owns no state and cannot change any; eligibility, matching, accounting and the
/// generator are the router's. So each policy is a file of a few lines, and what it saw is what `explain` shows.
protocol Policy {
    /// The slot of an eligible row of `table`, which has one.
    static func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice
}

/// The row a policy chose.
struct Choice: BitwiseCopyable {
    var slot: Int
    var reason = Reason.policy
}

/// Why the chosen server was chosen.
public enum Reason: UInt32, Sendable, BitwiseCopyable {
    /// The policy decided.
    case policy = 0
    /// prefix-tree found no prefix anywhere: least-load decided.
    case noMatch = 1
    /// session-affinity got no session key: least-load decided.
    case noSession = 2
}

/// The policies by number and name. The raw values are those of `include/gotoni.h`.
public enum PolicyID: UInt32, CaseIterable, Sendable, BitwiseCopyable {
    case gorgo = 1
    case prefixTree = 2
    case leastLoad = 3
    case leastRequest = 4
    case sessionAffinity = 5
    case powerOfTwo = 6
    case roundRobin = 7
    case random = 8
    case predictive = 9

    public var name: StaticString {
        switch self {
        case .gorgo: "gorgo"
        case .prefixTree: "prefix-tree"
        case .leastLoad: "least-load"
        case .leastRequest: "least-request"
        case .sessionAffinity: "session-affinity"
        case .powerOfTwo: "power-of-two"
        case .roundRobin: "round-robin"
        case .random: "random"
        case .predictive: "predictive"
        }
    }

    /// The policy of this name, or of the alias "least-loaded". There is no default: a typo in an experiment would be
    /// another experiment.
    public init(name: Span<UInt8>) throws(RouterError) {
        for policy in PolicyID.allCases where matches(name, policy.name) {
            self = policy
            return
        }
        guard matches(name, "least-loaded") else { throw .unknownPolicy }
        self = .leastLoad
    }

    func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice {
        switch self {
        case .gorgo: Gorgo.choose(table, &chance)
        case .prefixTree: PrefixTreePolicy.choose(table, &chance)
        case .leastLoad: LeastLoad.choose(table, &chance)
        case .leastRequest: LeastRequest.choose(table, &chance)
        case .sessionAffinity: SessionAffinity.choose(table, &chance)
        case .powerOfTwo: PowerOfTwo.choose(table, &chance)
        case .roundRobin: RoundRobin.choose(table, &chance)
        case .random: RandomPolicy.choose(table, &chance)
        case .predictive: Predictive.choose(table, &chance)
        }
    }
}
