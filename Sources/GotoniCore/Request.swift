/// What a decision needs to know of a request besides its prompt's digests.
public struct Request: Sendable, BitwiseCopyable {
    /// For the policy session-affinity; 0: no session.
    public var sessionKey: UInt64

    public init(sessionKey: UInt64 = 0) { self.sessionKey = sessionKey }
}

/// The outcome of routing one request.
public struct Decision: Sendable, BitwiseCopyable {
    /// The receipt; nil from `explain`.
    public var ticket: Ticket?
    public var server: ServerID
    public var promptTokens: Int
    /// Of these, believed cached on the server.
    public var matchedTokens: Int
    /// GORGO cost of the chosen server, whatever the policy.
    public var cost: GorgoCost
    /// What is expected there, whatever the policy.
    public var prediction: Prediction
    public var policy: PolicyID
    public var reason: Reason
    /// The tuner decided with weights that are on trial.
    public var isTrial: Bool
    /// How many servers could have been chosen.
    public var eligible: Int
}
