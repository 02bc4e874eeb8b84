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
    /// Events of the simulation; for its benchmark.
    public var events: Int
}
