public import GotoniCore

/// A run of prompt tokens, named by everything up to and including it: equal blocks are equal prefixes.
public struct Segment: Equatable, Sendable, BitwiseCopyable {
    /// The blocks of a workload are numbered from 0.
    public var block: UInt32
    /// Less than the block has only at the end of a prompt.
    public var tokens: UInt32

    public init(block: UInt32, tokens: UInt32) {
        self.block = block
        self.tokens = tokens
    }
}

/// When a request is sent.
public enum Arrival: Equatable, Sendable {
    case at(Nanoseconds)
    /// `delay` after the answer to an earlier request is complete, or given up: a user who reads, a tool that runs.
    case after(request: Int, delay: Nanoseconds)
}

/// Requests in order, and the prompts they share. A value: the same for every policy that is compared.
public struct Workload: Sendable {
    public struct Request: Sendable {
        public var arrival: Arrival
        /// Of `segments`.
        public var prompt: Range<Int>
        public var promptTokens: Int
        public var outputTokens: Int
        /// From 0. A user has one or more sessions; a session is a conversation.
        public var user: Int
        public var session: Int
        /// The block of the answer, if a later prompt continues it.
        public var answer: UInt32?
    }

    public var name: String
    public internal(set) var requests: [Request] = []
    var segments: [Segment] = []
    /// What names a block's tokens: see `appendTokens`.
    var blockNames: [UInt64] = []
    public internal(set) var users = 0
    public internal(set) var sessions = 0
    /// Distinguishes the tokens of one run from those of another.
    public var salt: UInt64 = 0

    public init(name: String) { self.name = name }

    public func prompt(_ request: Int) -> ArraySlice<Segment> { segments[requests[request].prompt] }

    public var promptTokens: Int { requests.reduce(0) { $0 + $1.promptTokens } }
    public var outputTokens: Int { requests.reduce(0) { $0 + $1.outputTokens } }

    /// Most distinct tokens; that of the Qwen tokenizers.
    static let vocabulary: UInt64 = 151_936

    /// Appends the token ids of a prompt, and of its answer if that is asked for and known: token j of block h is
    /// splitmix64(h · 2^20 + j + salt) mod 151,936.
    ///
    /// So a beginning of a block is a beginning of its tokens, and two blocks differ at their first token.
    func appendTokens(of request: Int, withAnswer: Bool = false, to tokens: inout [UInt32]) {
        for segment in prompt(request) { append(segment, to: &tokens) }
        guard withAnswer, let answer = requests[request].answer else { return }
        append(Segment(block: answer, tokens: UInt32(requests[request].outputTokens)), to: &tokens)
    }

    private func append(_ segment: Segment, to tokens: inout [UInt32]) {
        let first = blockNames[Int(segment.block)] << 20 &+ salt
        for j in 0..<UInt64(segment.tokens) {
            // The generator's first number is the mix of its state.
            var mix = SplitMix64(seed: first &+ j)
            tokens.append(UInt32(truncatingIfNeeded: mix.next() % Self.vocabulary))
        }
    }

    // MARK: Building

    mutating func addBlock(name: UInt64) -> UInt32 {
        blockNames.append(name)
        return UInt32(blockNames.count - 1)
    }

    /// A block that no other request has, of the request that is added next.
    mutating func addOwnBlock(answer: Bool = false) -> UInt32 {
        addBlock(name: (answer ? 2 : 1) << 40 | UInt64(requests.count))
    }

    mutating func add(
        _ prompt: some Sequence<Segment>, outputTokens: Int, arrival: Arrival, user: Int, session: Int,
        answer: UInt32? = nil
    ) {
        let first = segments.count
        segments.append(contentsOf: prompt)
        let tokens = segments[first...].reduce(0) { $0 + Int($1.tokens) }
        requests.append(
            Request(
                arrival: arrival, prompt: first..<segments.count, promptTokens: tokens,
                outputTokens: max(outputTokens, 1), user: user, session: session, answer: answer))
        users = max(users, user + 1)
        sessions = max(sessions, session + 1)
    }

    /// The first request is sent at time zero.
    mutating func startAtZero() {
        let times = requests.compactMap { if case .at(let time) = $0.arrival { time } else { nil } }
        guard let first = times.min() else { return }
        for index in requests.indices {
            if case .at(let time) = requests[index].arrival { requests[index].arrival = .at(time.since(first)) }
        }
    }

    /// Errors: an arrival that waits for a later request; a block that is continued at two different lengths.
    func check() throws(SimulationError) {
        guard !requests.isEmpty else { throw SimulationError("\(name) holds no requests") }
        var continuedAt: [UInt32] = Array(repeating: 0, count: blockNames.count)
        for (index, request) in requests.enumerated() {
            guard request.promptTokens > 0 else { throw SimulationError("\(name), request \(index + 1): empty prompt") }
            if case .after(let earlier, _) = request.arrival, earlier >= index {
                throw SimulationError("\(name), request \(index + 1) waits for a later one")
            }
            for segment in prompt(index).dropLast() {
                let before = continuedAt[Int(segment.block)]
                guard before == 0 || before == segment.tokens else {
                    throw SimulationError(
                        "\(name), request \(index + 1): a block is continued after \(before) and after \(segment.tokens) tokens"
                    )
                }
                continuedAt[Int(segment.block)] = segment.tokens
            }
        }
    }

    /// Prompt tokens that one cache without bound would have held already, serving the requests in order: the ceiling of
    /// what any policy can find cached.
    public func reusableTokens() -> Int {
        var cache = BlockCache()
        var total = 0
        for (index, request) in requests.enumerated() {
            let prompt = prompt(index)
            total += min(cache.match(prompt), request.promptTokens - 1)
            _ = cache.store(prompt, behind: 0)
            if let answer = request.answer {
                _ = cache.store([Segment(block: answer, tokens: UInt32(request.outputTokens))], behind: 0)
            }
        }
        return total
    }
}
