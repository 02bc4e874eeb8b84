import GotoniCore
import GotoniSimulation

/// The engine model in real time: what it is given, and every token at the time it is made.
///
/// No clock and no socket: the caller brings the time (nanoseconds of one monotonic clock, which may not fall), and
/// comes again at `nextWake`. Not thread-safe.
///
/// **When tokens are made.** The model tells when a request gets its first token and when it ends. Between them it
/// works in leaps of iterations in which nobody joins or leaves, and all who decode get one token in each. The driver
/// counts who decodes, so it knows how many iterations a leap has, and spreads them evenly over it: exact, but for
/// attention that grows within a leap (`decode_ms_per_kilocontext`). A request that is preempted, because the KV cache
/// is full, falls silent and sends the rest at its end; its neighbours' times are then a few tokens off until it is
/// gone. Whatever happens, a last token comes with the end of its request, and nothing after.
struct EngineDriver {
    enum Event {
        /// Token `number` of the answer, from 1, was made. `cachedTokens` of the prompt were found.
        case token(job: Int, number: Int, cachedTokens: Int)
        /// All tokens were made.
        case finished(job: Int)
    }

    /// A request that is not over.
    private struct Live {
        var prompt: Blocks.Prompt
        var outputTokens: Int
        var streams: Bool
        var cachedTokens = 0
        var told = 0
    }

    /// One that gets a token in every iteration.
    private struct Decoding {
        var job: Int
        /// Tokens made when the leap began, and all there will be.
        var made: Int
        var outputTokens: Int
        var told: Int
        var cachedTokens: Int
        var streams: Bool
        /// The client has left; the engine goes on until the iteration ends.
        var isCancelled = false
    }

    /// What the engine does now, as far as it can be seen from outside.
    private struct Leap {
        var start: UInt64 = 0
        /// Nanoseconds from one token to the next.
        var step = 0.0
        var steps = 0
        var told = 0
    }

    private(set) var engine: Engine
    private var blocks = Blocks()
    private var live: [Int: Live] = [:]
    /// In the order they came: those that have no token yet.
    private var queue: [Int] = []
    private var decoding: [Decoding] = []
    private var cancelled: [Int] = []
    private var leap = Leap()
    private var time: UInt64 = 0
    private var engineEvents: [EngineEvent] = []
    /// Nanoseconds of iterations with prefill.
    private(set) var prefillBusy: UInt64 = 0

    /// `model` is one that was checked. `publishes`: what becomes of prompts in the cache is written down.
    init(_ model: EngineModel, publishes: Bool) {
        engine = Engine(model)
        engine.publishesKVEvents = true
        blocks.publishes = publishes
    }

    /// What was stored and evicted since the last call.
    mutating func takeKVChanges() -> [KVChange] {
        guard !blocks.changes.isEmpty else { return [] }
        defer { blocks.changes = [] }
        return blocks.changes
    }

    /// When to come again; nil if the engine is idle.
    var nextWake: UInt64? {
        guard let end = engine.nextEvent?.rawValue else { return nil }
        guard leap.told + 1 < leap.steps, decoding.contains(where: { $0.streams }) else { return end }
        return min(end, tokenTime(leap.told + 1))
    }

    var load: EngineLoad { engine.load }
    var blocksNamed: Int { blocks.count }

    /// Prompt tokens of waiting requests that would have to be computed now.
    var waitingUncachedTokens: Int {
        let waiting = engine.load.waiting
        return queue.suffix(waiting).reduce(0) { sum, job in
            guard let request = live[job] else { return sum }
            let cached = engine.cachedTokens(request.prompt.segments[...], promptTokens: request.prompt.tokens)
            return sum + request.prompt.tokens - cached
        }
    }

    // MARK: Requests

    /// Names a prompt, which is then to be given to `submit` or `drop`.
    mutating func name(
        _ tokens: UnsafeBufferPointer<UInt32>, namespace: UInt64, isPublic: Bool
    ) -> Blocks.Prompt {
        blocks.name(tokens, namespace: namespace, isPublic: isPublic)
    }

    /// See `Blocks.keepAnswer`.
    mutating func keepAnswer(
        of prompt: inout Blocks.Prompt, continuation: UnsafeBufferPointer<UInt32>, generated: Int
    ) {
        blocks.keepAnswer(of: &prompt, continuation: continuation, generated: generated)
    }

    mutating func drop(_ prompt: Blocks.Prompt) { blocks.release(prompt) }

    /// `prompt` and its answer must fit into the KV cache. Of a request that streams every token is told, of another
    /// the first and the end.
    mutating func submit(
        _ job: Int, _ prompt: Blocks.Prompt, outputTokens: Int, streams: Bool, now: UInt64,
        _ events: inout [(UInt64, Event)]
    ) {
        advance(to: now, &events)
        live[job] = Live(prompt: prompt, outputTokens: outputTokens, streams: streams)
        queue.append(job)
        let (wasIdle, preemptions) = (engine.nextEvent == nil, engine.work.preemptions)
        let described = Job(
            id: job, prompt: prompt.segments[...], promptTokens: prompt.tokens, outputTokens: outputTokens,
            answer: prompt.answer)
        engine.submit(described, now: Nanoseconds(time), &engineEvents)
        readKVEvents()
        setPreemptedAside(engine.work.preemptions - preemptions)
        if wasIdle { beginLeap(time) } else { shortenLeap() }
    }

    /// The client is gone. Jobs that are over are ignored.
    mutating func cancel(_ job: Int, now: UInt64, _ events: inout [(UInt64, Event)]) {
        advance(to: now, &events)
        guard live[job] != nil else { return }
        engine.cancel(job, now: Nanoseconds(time))
        if let index = decoding.firstIndex(where: { $0.job == job }) {
            decoding[index].isCancelled = true
            decoding[index].streams = false
        }
        queue.removeAll { $0 == job }
        cancelled.append(job)
        shortenLeap()
    }

    /// From the next iteration on everything takes `factor` times as long.
    mutating func slow(_ factor: Double, now: UInt64, _ events: inout [(UInt64, Event)]) {
        advance(to: now, &events)
        engine.slow(factor, now: Nanoseconds(time))
        shortenLeap()
    }

    /// The engine starts again, with an empty cache; all requests are lost. (An idle one only loses its cache.)
    mutating func restart() {
        _ = engine.restart()
        engine.kvEvents.removeAll()
        for request in live.values { blocks.release(request.prompt) }
        blocks.evictAll()
        (live, queue, decoding, cancelled) = ([:], [], [], [])
        leap = Leap()
    }

    // MARK: Time

    /// Tells what has happened until `now`, in order.
    mutating func advance(to now: UInt64, _ events: inout [(UInt64, Event)]) {
        time = max(time, now)
        while let end = engine.nextEvent?.rawValue, end <= time {
            tellTokens(until: end, &events)
            endLeap(end, &events)
        }
        tellTokens(until: time, &events)
    }

    private func tokenTime(_ step: Int) -> UInt64 { leap.start + UInt64((leap.step * Double(step)).rounded()) }

    /// The tokens within a leap; those of its last iteration come with `endLeap`.
    private mutating func tellTokens(until time: UInt64, _ events: inout [(UInt64, Event)]) {
        while leap.told + 1 < leap.steps, tokenTime(leap.told + 1) <= time {
            leap.told += 1
            let at = tokenTime(leap.told)
            for index in decoding.indices where decoding[index].streams {
                tell(index, upTo: decoding[index].made + leap.told, at, &events)
            }
        }
    }

    /// The last token is told with the end only.
    private mutating func tell(_ index: Int, upTo number: Int, _ at: UInt64, _ events: inout [(UInt64, Event)]) {
        while decoding[index].told < min(number, decoding[index].outputTokens - 1) {
            decoding[index].told += 1
            let (job, told, cached) = (decoding[index].job, decoding[index].told, decoding[index].cachedTokens)
            events.append((at, .token(job: job, number: told, cachedTokens: cached)))
        }
    }

    private mutating func endLeap(_ end: UInt64, _ events: inout [(UInt64, Event)]) {
        let before = engine.work
        let wasPrefilling = engine.load.running > decoding.count
        engine.advance(to: Nanoseconds(end), &engineEvents)
        if wasPrefilling { prefillBusy += engine.work.busy - before.busy }
        readKVEvents()
        var firsts = 0
        for event in engineEvents { if case .firstToken = event.kind { firsts += 1 } }
        let decoded = engine.work.generatedTokens - before.generatedTokens - firsts
        let steps = decoding.isEmpty ? 0 : (decoded + decoding.count / 2) / decoding.count
        for index in decoding.indices {
            decoding[index].made += steps
            if decoding[index].streams { tell(index, upTo: decoding[index].made, end, &events) }
        }
        for event in engineEvents { report(event, end, &events) }
        engineEvents.removeAll(keepingCapacity: true)
        forgetCancelled()
        setPreemptedAside(engine.work.preemptions - before.preemptions)
        beginLeap(end)
    }

    private mutating func report(_ event: EngineEvent, _ at: UInt64, _ events: inout [(UInt64, Event)]) {
        guard var request = live[event.job] else { return }
        switch event.kind {
        case .firstToken(let cachedTokens):
            queue.removeAll { $0 == event.job }
            events.append((at, .token(job: event.job, number: 1, cachedTokens: cachedTokens)))
            request.cachedTokens = cachedTokens
            request.told = 1
            live[event.job] = request
            guard request.outputTokens > 1 else { return }
            decoding.append(
                Decoding(
                    job: event.job, made: 1, outputTokens: request.outputTokens, told: 1, cachedTokens: cachedTokens,
                    streams: request.streams))
        case .finished, .refused:
            var told = request.told
            if let index = decoding.firstIndex(where: { $0.job == event.job }) {
                told = decoding[index].told
                decoding.remove(at: index)
            }
            if request.streams {
                for number in told..<request.outputTokens {
                    let token = Event.token(job: event.job, number: number + 1, cachedTokens: request.cachedTokens)
                    events.append((at, token))
                }
            }
            events.append((at, .finished(job: event.job)))
            forget(event.job)
        }
    }

    // MARK: What the engine does, seen from outside

    private mutating func beginLeap(_ start: UInt64) {
        leap = Leap(start: start)
        guard let end = engine.nextEvent?.rawValue else { return }
        if engine.load.running > decoding.count || decoding.isEmpty {
            leap.steps = 1
        } else {
            let left = decoding.reduce(Int.max) { min($0, $1.outputTokens - $1.made) }
            let room = (engine.model.kvTokens - engine.load.usedTokens) / decoding.count
            leap.steps = max(min(left, room), 1)
        }
        leap.step = Double(end - start) / Double(leap.steps)
    }

    /// Somebody came or went: the leap may end earlier, with an iteration; the iterations before stay as they are.
    private mutating func shortenLeap() {
        guard let end = engine.nextEvent?.rawValue, leap.step > 0 else { return }
        leap.steps = min(leap.steps, max(Int((Double(end - leap.start) / leap.step).rounded()), 1))
    }

    /// The last admitted are preempted first.
    private mutating func setPreemptedAside(_ count: Int) {
        for _ in 0..<count {
            guard let last = decoding.indices.max(by: { decoding[$0].job < decoding[$1].job }) else { return }
            live[decoding[last].job]?.told = decoding[last].told
            decoding.remove(at: last)
        }
    }

    private mutating func forgetCancelled() {
        guard !cancelled.isEmpty else { return }
        decoding.removeAll { $0.isCancelled }
        for job in cancelled { forget(job) }
        cancelled.removeAll(keepingCapacity: true)
    }

    private mutating func forget(_ job: Int) {
        guard let request = live.removeValue(forKey: job) else { return }
        blocks.release(request.prompt)
    }

    private mutating func readKVEvents() {
        for event in engine.kvEvents {
            switch event {
            case .stored(let job, let withAnswer):
                if let request = live[job] { blocks.hold(request.prompt, answer: withAnswer) }
            case .removed(let block): blocks.evicted(block)
            }
        }
        engine.kvEvents.removeAll(keepingCapacity: true)
    }
}
