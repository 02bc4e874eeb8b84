public import GotoniCore

/// What became of one request.
public struct RequestResult: Equatable, Sendable {
    public enum Outcome: String, Sendable {
        case ok
        /// No attempt gave an answer; or it broke off, or the engine refused it.
        case failed
    }

    /// When its client wanted to send it. All times are from here.
    public var scheduled: Nanoseconds
    public var outcome = Outcome.failed
    /// The server of the last attempt, nil if there was none.
    public var server: Int?
    public var attempts = 0
    /// Nanoseconds to the first and to the last token, at the client.
    public var firstToken: UInt64 = 0
    public var lastToken: UInt64 = 0
    public var cachedTokens = 0
    /// Believed cached by the router that chose the server.
    public var matchedTokens = 0
}

/// The outcome of one run: a workload in a scenario under a policy.
public struct RunResult: Sendable {
    public var policy: PolicySpec
    public var requests: [RequestResult]
    public var work: [EngineWork]
    /// When the last request ended.
    public var end: Nanoseconds
    /// Of the first balancer's tuner.
    public var tuner: TunerStatus
    /// Nil: there were not several proxies.
    public var sharing: SharingWork?
    /// Events of the simulation; for its benchmark.
    public var events: Int
}

/// What proxies have told each other.
public struct SharingWork: Codable, Equatable, Sendable {
    /// Prompts told, blocks of them, and prompts that somebody has heard, each listener counted.
    public var promptsTold = 0
    public var blocksTold = 0
    public var promptsHeard = 0
    /// Requests passed on to another region; of those the ones for a beginning that no server there had, or less of it by two
    /// marks of the digest and more.
    public var passedOn = 0
    public var disappointed = 0
    /// Bytes of one region's digest, one filter of two.
    public var digestBytes = 0
}
