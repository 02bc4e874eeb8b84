import Synchronization

/// A router that any thread may use at any time: one lock around one `Router`.
///
/// Work that grows with a prompt, cutting it into blocks and hashing them, is done before the lock is taken, in scratch
/// memory that is kept for the next call: a steady state allocates nothing.
public final class SharedRouter: @unchecked Sendable {
    public let configuration: Configuration
    private let router: Locked<Router>
    private let scratch = ScratchPool()

    public init(_ configuration: Configuration = Configuration()) throws(RouterError) {
        self.configuration = configuration
        router = try Locked(try Router(configuration))
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
        let prompt = try scratch.take()
        defer { scratch.giveBack(prompt) }
        try prompt.digests.compute(tokens, blockTokens: configuration.blockTokens, seed: namespace)
        return try router.withLock { (router) throws(RouterError) in try body(&router, prompt.digests) }
    }

    /// Runs `body` under the lock with a prompt that another router has digested (`PromptDigests.chain`).
    /// Errors: range (longer than configured), memory, and those of `body`.
    public func withChain<Result>(
        _ chain: [UInt64], _ body: (inout Router, borrowing PromptDigests) throws(RouterError) -> Result
    ) throws(RouterError) -> Result {
        guard UInt64(chain.count) * UInt64(configuration.blockTokens) <= UInt64(configuration.maxPromptTokens) else {
            throw .range
        }
        let prompt = try scratch.take()
        defer { scratch.giveBack(prompt) }
        try prompt.digests.take(chain, blockTokens: configuration.blockTokens)
        return try router.withLock { (router) throws(RouterError) in try body(&router, prompt.digests) }
    }

    /// `Router.stored` for the tokens of these blocks, `blockTokens` in each; `namespace` is used where there is no parent.
    /// The digest to chain to is looked up under the lock, the hashing is done outside it.
    /// Errors: blockSize (no multiple of ours), range, memory, and those of `Router.stored`.
    public func stored(
        on id: ServerID, hashes: Span<UInt64>, tokens: Span<UInt32>, blockTokens: Int, parent: UInt64?,
        namespace: UInt64, now: Nanoseconds
    ) throws(RouterError) {
        guard blockTokens > 0, blockTokens % configuration.blockTokens == 0 else { throw .blockSize }
        let (count, overflow) = hashes.count.multipliedReportingOverflow(by: blockTokens)
        guard !overflow, tokens.count == count else { throw .range }
        var seed = namespace
        if let parent {
            seed = try withRouter { (router) throws(RouterError) in try router.digest(of: parent, on: id) ?? 0 }
        }
        let (first, span) = (seed, blockTokens / configuration.blockTokens)
        try withPrompt(tokens, namespace: first) { (router, prompt) throws(RouterError) in
            try router.stored(on: id, prompt, hashes: hashes, span: span, parent: parent, seed: first, now: now)
        }
    }

    /// `Router.route` for `tokens`.
    public func route(
        _ tokens: Span<UInt32>, namespace: UInt64 = 0, _ request: Request = Request(),
        excluding: Span<ServerID> = Span(), now: Nanoseconds
    ) throws(RouterError) -> Decision {
        try withPrompt(tokens, namespace: namespace) { (router, prompt) throws(RouterError) in
            try router.route(prompt, request, excluding: excluding, now: now)
        }
    }
}

/// Digest buffers waiting for the next call: one per call that was ever inside at the same time, at most 64 of at most
/// a mebibyte (prompts of two million tokens at 16 a block). Taken and given back without a lock.
struct ScratchPool: ~Copyable, @unchecked Sendable {
    final class Scratch {
        var digests: PromptDigests
        init() throws(RouterError) { digests = try PromptDigests() }
    }

    /// Each is empty (0) or the address of a `Scratch` that this pool owns.
    private let slots: UnsafeMutablePointer<Atomic<UInt>>
    private static let count = 64
    private static let mostBytes = 1 << 20

    init() {
        slots = .allocate(capacity: Self.count)
        for index in 0..<Self.count { (slots + index).initialize(to: Atomic(0)) }
    }

    func take() throws(RouterError) -> Scratch {
        for index in 0..<Self.count {
            // A look first: an exchange takes the cache line from the others.
            guard slots[index].load(ordering: .relaxed) != 0 else { continue }
            let address = slots[index].exchange(0, ordering: .acquiring)
            if let pointer = UnsafeRawPointer(bitPattern: address) {
                return Unmanaged<Scratch>.fromOpaque(pointer).takeRetainedValue()
            }
        }
        return try Scratch()
    }

    func giveBack(_ scratch: Scratch) {
        guard scratch.digests.bytes <= Self.mostBytes else { return }
        let owned = Unmanaged.passRetained(scratch)
        let address = UInt(bitPattern: owned.toOpaque())
        for index in 0..<Self.count where slots[index].load(ordering: .relaxed) == 0 {
            if slots[index].compareExchange(expected: 0, desired: address, ordering: .releasing).exchanged { return }
        }
        owned.release()
    }

    deinit {
        for index in 0..<Self.count {
            guard let pointer = UnsafeRawPointer(bitPattern: slots[index].load(ordering: .acquiring)) else { continue }
            Unmanaged<Scratch>.fromOpaque(pointer).release()
        }
        slots.deinitialize(count: Self.count)
        slots.deallocate()
    }
}
