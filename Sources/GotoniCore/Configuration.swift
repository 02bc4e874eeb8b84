/// What a router is made with and never changes. The bounds are checked by `Router.init`.
public struct Configuration: Sendable, BitwiseCopyable {
    /// Tokens per block of the prefix trie, 1 to 1,024.
    public var blockTokens = 16
    /// Seed of the generator that breaks ties and drives the random policies.
    public var seed: UInt64 = 0
    /// Hard bound in bytes on the trie, the prompts of open tickets and the KV-event index together.
    public var memoryBudgetBytes: UInt64 = 256 << 20
    /// Longest prompt accepted.
    public var maxPromptTokens: UInt64 = 1 << 24
    /// KV cache of a server that does not say its own.
    public var defaultKVCapacityTokens: UInt64 = 524_288
    /// Most servers and most open tickets at one time.
    public var maxServers: UInt32 = 65_535
    public var maxTickets: UInt32 = 65_536

    public init() {}

    static let blockTokensBounds = 1...1_024
    static let budgetBounds: ClosedRange<UInt64> = (64 << 10)...(32 << 30)
    static let promptBounds: ClosedRange<UInt64> = 1...(1 << 30)
    static let serverBounds: ClosedRange<UInt32> = 1...65_535
    static let ticketBounds: ClosedRange<UInt32> = 1...(1 << 24)

    func check() throws(RouterError) {
        guard Self.blockTokensBounds.contains(blockTokens), Self.budgetBounds.contains(memoryBudgetBytes),
            Self.promptBounds.contains(maxPromptTokens), defaultKVCapacityTokens > 0,
            Self.serverBounds.contains(maxServers), Self.ticketBounds.contains(maxTickets)
        else { throw .range }
    }
}
