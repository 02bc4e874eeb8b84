public import GotoniCore

/// A request as an engine sees it.
public struct Job: Sendable {
    /// The caller's name for it.
    public var id: Int
    public var prompt: ArraySlice<Segment>
    public var promptTokens: Int
    /// Generated tokens, at least 1; the first ends the prefill.
    public var outputTokens: Int
    /// Where the generated tokens are kept for a prompt that continues them.
    public var answer: UInt32?

    public init(
        id: Int, prompt: ArraySlice<Segment>, promptTokens: Int, outputTokens: Int, answer: UInt32? = nil
    ) {
        self.id = id
        self.prompt = prompt
        self.promptTokens = promptTokens
        self.outputTokens = outputTokens
        self.answer = answer
    }
}

/// What happened to a job.
public struct EngineEvent: Equatable, Sendable {
    public enum Kind: Equatable, Sendable {
        /// `cachedTokens` of the prompt were found.
        case firstToken(cachedTokens: Int)
        case finished
        /// Prompt and answer are longer than the KV cache.
        case refused
    }
    public var job: Int
    public var kind: Kind
    public var time: Nanoseconds
}

/// What an engine tells about itself, on /metrics.
public struct EngineLoad: Equatable, Sendable {
    public var waiting = 0
    public var running = 0
    /// Tokens in the KV cache of running requests, and its size.
    public var usedTokens = 0
    public var kvTokens = 0
    /// Most requests that run at one time.
    public var maxRunning = 0
    /// Counts restarts.
    public var incarnation = 0

    public init() {}
}

/// A prompt that became cached, or a block that was evicted, as engines publish it.
public enum KVEvent: Equatable, Sendable {
    case stored(job: Int, withAnswer: Bool)
    case removed(block: UInt32)
}

/// One LLM engine in virtual time: a waiting queue, iterations that prefill and decode, a KV cache.
///
/// A state machine without clock: `submit` brings a request, `nextEvent` is the end of what the engine does now, and
/// `advance(to:)` must be called with that time. Iterations in which nobody joins or leaves are done in one leap; an
/// arrival shortens the leap to the end of the iteration it falls into, so the outcome is that of doing them one by one.
public struct Engine {
    public let model: EngineModel
    /// 1; see `slow`.
    public private(set) var slowness = 1.0
    public internal(set) var incarnation = 1

    struct Running {
        var job: Job
        var cachedTokens = 0
        /// Prompt segments in use in the cache.
        var usedSegments = 0
        /// Prefilled, and still to prefill; a request that was preempted prefills its answer so far too.
        var context = 0
        var toPrefill = 0
        /// Tokens in the KV cache that belong to this request alone, without those since `joined`.
        var ownTokens = 0
        var generated = 0
        /// The value of `iterations` when it began to decode (again).
        var joined = 0
        /// Order of admission; the last is preempted first.
        var admitted = 0
    }

    /// What the engine does now: `steps` iterations from `start` to `end`.
    struct Leap {
        var start: UInt64
        var end: UInt64
        var steps: Int
        var prefills: Bool
        var slowness: Double
    }

    var cache = BlockCache()
    var waiting: [Running] = []
    /// How many of `waiting` are gone already: it is a queue.
    var waitingHead = 0
    var prefilling: [Running] = []
    var decoding: [Running] = []
    /// For each of `decoding`, the value of `iterations` with which it is finished.
    var finishAt: [Int] = []
    /// Iterations that decoded.
    var iterations = 0
    /// KV tokens that belong to one request alone.
    var ownTokens = 0
    /// Tokens of context of all that decode.
    var decodingContext = 0
    var admissions = 0
    var leap: Leap?
    /// Running jobs that leave when the leap ends.
    var cancelled: Set<Int> = []
    /// Work done since the beginning; see `EngineWork`.
    public internal(set) var work = EngineWork()
    /// Filled only if asked for; the caller empties it.
    public var publishesKVEvents = false
    public var kvEvents: [KVEvent] = []

    /// The model is one that was checked.
    public init(_ model: EngineModel) { self.model = model }

    /// The end of what the engine does now; nil if it is idle.
    public var nextEvent: Nanoseconds? { leap.map { Nanoseconds($0.end) } }

    public var load: EngineLoad {
        var load = EngineLoad()
        load.waiting = waiting.count - waitingHead
        load.running = prefilling.count + decoding.count
        load.usedTokens = usedTokens
        load.kvTokens = model.kvTokens
        load.maxRunning = model.maxRunning
        load.incarnation = incarnation
        return load
    }

    /// Tokens of KV cache that cannot be evicted now.
    var usedTokens: Int { ownTokens + cache.heldTokens - cache.idleTokens }

    /// Tokens of `prompt` that would be found cached now: whole pages, and never the last token, for which the engine must
    /// compute what follows.
    public func cachedTokens(_ prompt: ArraySlice<Segment>, promptTokens: Int) -> Int {
        let usable = min(cache.match(prompt), promptTokens - 1)
        return usable - usable % model.pageTokens
    }

    /// A request arrives. It joins at the end of the iteration that is under way.
    public mutating func submit(_ job: Job, now: Nanoseconds, _ events: inout [EngineEvent]) {
        guard job.promptTokens + job.outputTokens <= model.kvTokens else {
            events.append(EngineEvent(job: job.id, kind: .refused, time: now))
            return
        }
        waiting.append(Running(job: job))
        if leap == nil { begin(now.rawValue) } else { shorten(now.rawValue) }
    }

    /// The client is gone: what is waiting leaves at once, what runs leaves at the end of the iteration that is under way.
    /// Unknown jobs are ignored.
    public mutating func cancel(_ id: Int, now: Nanoseconds) {
        if let index = waiting.indices.dropFirst(waitingHead).first(where: { waiting[$0].job.id == id }) {
            waiting.remove(at: index)
        } else if (prefilling + decoding).contains(where: { $0.job.id == id }) {
            shorten(now.rawValue)
            cancelled.insert(id)
        }
    }

    /// From the next iteration on everything takes `factor` times as long as the model says.
    public mutating func slow(_ factor: Double, now: Nanoseconds) {
        shorten(now.rawValue)
        slowness = factor
    }

    /// The process ends and starts again, empty. Returns the jobs that are lost.
    public mutating func restart() -> [Int] {
        let lost = (waiting.dropFirst(waitingHead) + prefilling + decoding).map(\.job.id)
        var fresh = Engine(model)
        fresh.slowness = slowness
        fresh.incarnation = incarnation + 1
        fresh.publishesKVEvents = publishesKVEvents
        fresh.work = work
        self = fresh
        return lost
    }

    /// What the invariants say, nil if they hold.
    public func violation() -> String? {
        if let violation = cache.violation() { return violation }
        let own = (prefilling + decoding).reduce(0) { $0 + $1.ownTokens }
        let grown = decoding.reduce(0) { $0 + iterations - $1.joined }
        if own + grown != ownTokens { return "own tokens are \(own + grown), counted \(ownTokens)" }
        if ownTokens + cache.heldTokens > model.kvTokens { return "more in the KV cache than fits" }
        if leap == nil, waiting.count > waitingHead || !prefilling.isEmpty || !decoding.isEmpty {
            return "idle with work to do"
        }
        return nil
    }
}

/// What an engine has done.
public struct EngineWork: Equatable, Sendable {
    /// Prompt tokens computed, again those of preempted requests; generated tokens; evicted tokens; preemptions.
    public var prefilledTokens = 0
    public var generatedTokens = 0
    public var evictedTokens = 0
    public var preemptions = 0
    /// Nanoseconds in which it was not idle.
    public var busy: UInt64 = 0

    public init() {}
}
