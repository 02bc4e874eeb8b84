import GotoniCore

/// A log-normal quantity: its median, and the deviation of its logarithm.
public struct LogNormal: Equatable, Sendable {
    public var median: Double
    public var sigma: Double

    public init(median: Double, sigma: Double) {
        self.median = median
        self.sigma = sigma
    }

    func draw(_ chance: inout SplitMix64) -> Double { chance.logNormal(median: median, sigma: sigma) }

    /// As a number of tokens, 1 to 131,072.
    func tokens(_ chance: inout SplitMix64) -> UInt32 {
        let drawn = draw(&chance)
        return drawn >= 1 ? UInt32(min(drawn, 131_072)) : 1
    }
}

/// Users of agents: each has conversations of several turns behind one of a few shared system prompts, thinks between
/// turns, and sends everything so far again. Lengths and times are log-normal.
public struct AgenticWorkload: Sendable {
    public var users = 100
    public var sessionsPerUser = 3
    /// Turns of a session, geometric.
    public var meanTurns = 6.0
    public var systemPrompts = 4
    public var systemPromptTokens = 2_000
    /// The first message, and the later ones (tool results among them).
    public var firstTokens = LogNormal(median: 1_200, sigma: 0.8)
    public var turnTokens = LogNormal(median: 400, sigma: 1.0)
    public var outputTokens = LogNormal(median: 150, sigma: 0.8)
    /// Seconds from an answer to the next turn, and between the sessions of a user.
    public var thinkSeconds = LogNormal(median: 4, sigma: 1.0)
    public var pauseSeconds = LogNormal(median: 20, sigma: 0.8)
    /// Seconds over which the users come, uniformly.
    public var rampSeconds = 60.0

    public init() {}

    public func make(seed: UInt64) throws(SimulationError) -> Workload {
        guard (1...1_000_000).contains(users), (1...1_000).contains(sessionsPerUser), (1...1_000).contains(meanTurns),
            (1...10_000).contains(systemPrompts), (0...1 << 20).contains(systemPromptTokens)
        else { throw SimulationError("the agentic workload needs at least one of everything, and not too many") }
        var chance = SplitMix64.stream(seed, 0xA6E7)
        var workload = Workload(name: "agentic")
        workload.salt = chance.next()
        let shared = (0..<systemPrompts).map { workload.addBlock(name: UInt64($0)) }
        var sessions = 0
        for user in 0..<users {
            let system = shared[chance.next(below: systemPrompts)]
            var arrival = Arrival.at(Nanoseconds(seconds: rampSeconds * chance.uniform()))
            for _ in 0..<sessionsPerUser {
                var context: [Segment] = []
                if systemPromptTokens > 0 { context.append(Segment(block: system, tokens: UInt32(systemPromptTokens))) }
                var message = firstTokens
                repeat {
                    let block = workload.addOwnBlock()
                    context.append(Segment(block: block, tokens: message.tokens(&chance)))
                    let answer = workload.addOwnBlock(answer: true)
                    let output = outputTokens.tokens(&chance)
                    workload.add(
                        context, outputTokens: Int(output), arrival: arrival, user: user, session: sessions,
                        answer: answer)
                    context.append(Segment(block: answer, tokens: output))
                    arrival = Self.after(workload.requests.count - 1, thinkSeconds, &chance)
                    message = turnTokens
                } while chance.uniform() > 1 / meanTurns
                arrival = Self.after(workload.requests.count - 1, pauseSeconds, &chance)
                sessions += 1
            }
        }
        try workload.check()
        return workload
    }

    private static func after(_ request: Int, _ seconds: LogNormal, _ chance: inout SplitMix64) -> Arrival {
        .after(request: request, delay: Nanoseconds(seconds: min(seconds.draw(&chance), 86_400)))
    }
}

/// Prompts that share nothing: the control in which no cache can help.
public struct NoReuseWorkload: Sendable {
    public var requests = 2_000
    public var promptTokens = LogNormal(median: 2_000, sigma: 0.8)
    public var outputTokens = LogNormal(median: 150, sigma: 0.8)
    public var requestsPerSecond = 10.0

    public init() {}

    public func make(seed: UInt64) throws(SimulationError) -> Workload {
        guard (1...10_000_000).contains(requests) else {
            throw SimulationError("there must be 1 to 10,000,000 requests")
        }
        var chance = SplitMix64.stream(seed, 0x40)
        var workload = Workload(name: "no-reuse")
        workload.salt = chance.next()
        for request in 0..<requests {
            let block = workload.addOwnBlock()
            let prompt = [Segment(block: block, tokens: promptTokens.tokens(&chance))]
            let output = Int(outputTokens.tokens(&chance))
            workload.add(prompt, outputTokens: output, arrival: .at(.zero), user: request, session: request)
        }
        workload.arrive(.poisson(perSecond: requestsPerSecond), seed: seed)
        try workload.check()
        return workload
    }
}

/// A storm on one long system prompt: most requests stand behind it, each with a message of its own; the others are a message
/// alone. Nobody comes back.
public struct SharedPrefixWorkload: Sendable {
    public var requests = 2_000
    /// Of requests, 0 to 1.
    public var sharedShare = 0.8
    public var sharedTokens = 8_000
    public var messageTokens = LogNormal(median: 300, sigma: 0.8)
    public var outputTokens = LogNormal(median: 150, sigma: 0.8)
    public var requestsPerSecond = 10.0

    public init() {}

    public func make(seed: UInt64) throws(SimulationError) -> Workload {
        guard (1...10_000_000).contains(requests), (0...1).contains(sharedShare), (1...1 << 20).contains(sharedTokens)
        else {
            throw SimulationError(
                "there must be 1 to 10,000,000 requests, and a share of 0 to 1 of them behind 1 to 1,048,576 tokens")
        }
        var chance = SplitMix64.stream(seed, 0x5709)
        var workload = Workload(name: "shared-prefix")
        workload.salt = chance.next()
        let system = Segment(block: workload.addBlock(name: 0), tokens: UInt32(sharedTokens))
        for request in 0..<requests {
            let message = Segment(block: workload.addOwnBlock(), tokens: messageTokens.tokens(&chance))
            let prompt = chance.uniform() < sharedShare ? [system, message] : [message]
            let output = Int(outputTokens.tokens(&chance))
            workload.add(prompt, outputTokens: output, arrival: .at(.zero), user: request, session: request)
        }
        workload.arrive(.poisson(perSecond: requestsPerSecond), seed: seed)
        try workload.check()
        return workload
    }
}
