/// A router that any thread may use at any time: one lock around one `Router`.
///
/// Work that grows with a prompt, cutting it into blocks and hashing them, is done before the lock is taken, in scratch
/// memory that is kept for the next call: a steady state allocates nothing.
public final class SharedRouter: @unchecked Sendable {
    public let configuration: Configuration
    private let router: Locked<Router>
    private let scratch: Locked<ScratchPool>

    public init(_ configuration: Configuration = Configuration()) throws(RouterError) {
        self.configuration = configuration
        router = try Locked(try Router(configuration))
        scratch = try Locked(try ScratchPool())
    }

    /// Runs `body` on the router, under the lock. For everything that does not take a prompt. Do not call back into
    /// this object from inside.
    public func withRouter<Result>(
        _ body: (inout Router) throws(RouterError) -> Result
    ) throws(RouterError) -> Result {
        try router.withLock(body)
    }

    /// Digests `tokens` outside the lock, then runs `body` under it.
    /// Errors: range (the prompt is longer than configured), memory, and those of `body`.
    public func withPrompt<Result>(
        _ tokens: Span<UInt32>, namespace: UInt64,
        _ body: (inout Router, borrowing PromptDigests) throws(RouterError) -> Result
    ) throws(RouterError) -> Result {
        guard tokens.count <= configuration.maxPromptTokens else { throw .range }
        let prompt = try scratch.withLock { (pool) throws(RouterError) in try pool.take() }
        defer { scratch.withLock { $0.giveBack(prompt) } }
        try prompt.digests.compute(tokens, blockTokens: configuration.blockTokens, seed: namespace)
        return try router.withLock { (router) throws(RouterError) in try body(&router, prompt.digests) }
    }

    /// `Router.route` for `tokens`.
    public func route(
        _ tokens: Span<UInt32>, namespace: UInt64 = 0, _ request: Request = Request(),
        excluding: Span<ServerID>, now: Nanoseconds
    ) throws(RouterError) -> Decision {
        try withPrompt(tokens, namespace: namespace) { (router, prompt) throws(RouterError) in
            try router.route(prompt, request, excluding: excluding, now: now)
        }
    }
}

/// Digest buffers waiting for the next call: one per call that was ever inside at the same time, at most 64.
struct ScratchPool: ~Copyable {
    final class Scratch {
        var digests: PromptDigests
        init() throws(RouterError) { digests = try PromptDigests() }
    }

    private var waiting: [Scratch] = []

    init() throws(RouterError) { waiting.reserveCapacity(64) }

    mutating func take() throws(RouterError) -> Scratch {
        if let scratch = waiting.popLast() { return scratch }
        return try Scratch()
    }

    mutating func giveBack(_ scratch: Scratch) {
        if waiting.count < 64 { waiting.append(scratch) }
    }
}
