import GotoniCore
import TestSupport
import Testing

@testable import GotoniSimulation

@Suite struct EngineTests {
    /// Plays jobs that come at given times to the end; the events in the order they happened.
    static func play(
        _ model: EngineModel, _ jobs: [(at: UInt64, job: Job)], check: (Engine, UInt64) -> Void = { _, _ in }
    ) -> (events: [EngineEvent], engine: Engine) {
        var engine = Engine(model)
        var events: [EngineEvent] = []
        var next = 0
        while true {
            let arrival = next < jobs.count ? jobs[next].at : UInt64.max
            let event = engine.nextEvent?.rawValue ?? UInt64.max
            guard min(arrival, event) < .max else { break }
            if event <= arrival {
                engine.advance(to: Nanoseconds(event), &events)
            } else {
                engine.submit(jobs[next].job, now: Nanoseconds(arrival), &events)
                next += 1
            }
            check(engine, min(arrival, event))
        }
        return (events, engine)
    }

    static func job(_ id: Int, _ blocks: [UInt32], blockTokens: Int = 100, output: Int) -> Job {
        let prompt = blocks.map { Segment(block: $0, tokens: UInt32(blockTokens)) }
        return Job(id: id, prompt: prompt[...], promptTokens: blocks.count * blockTokens, outputTokens: output)
    }

    @Test func aLoneRequestTakesWhatTheFormulaSays() {
        // 2,500 tokens in chunks of 1,000, 1,000 and 500: 0.125 ms each. Then 9 tokens at 6 + 0.5 ms.
        let (events, _) = Self.play(roundEngine, [(0, Self.job(1, Array(0..<25), output: 10))])
        #expect(
            events == [
                EngineEvent(job: 1, kind: .firstToken(cachedTokens: 0), time: Nanoseconds(312_500_000)),
                EngineEvent(job: 1, kind: .finished, time: Nanoseconds(312_500_000 + 9 * 6_500_000)),
            ])
        #expect(roundEngine.lonePrefill(promptTokens: 2_500, cached: 0) == Nanoseconds(312_500_000))
    }

    @Test func theContextTermsAreAttention() {
        var model = roundEngine
        (model.prefillPerTokenKilocontext, model.decodePerKilocontext, model.step) = (0.5, 2, 1)
        // Token i has i before it: 1,000 tokens 125 ms + 0.5 / 1,000 · (0 + … + 999) = 249.75 ms, and an iteration.
        let first = 1_000_000 * 1 + 125_000_000 + 249_750_000
        #expect(model.lonePrefill(promptTokens: 1_000, cached: 0) == Nanoseconds(UInt64(first)))
        let (events, _) = Self.play(model, [(0, Self.job(1, Array(0..<10), output: 3))])
        // Two more tokens, with 1,001 and 1,002 tokens of context at 2 ms a thousand.
        let last = first + 2 * 7_500_000 + 2_002_000 + 2_004_000
        #expect(events.map(\.time) == [Nanoseconds(UInt64(first)), Nanoseconds(UInt64(last))])
    }

    @Test func aChunkIsSharedFirstComeFirstServed() {
        // 300 + 900 tokens: the first chunk takes 700 of the second prompt, the next the other 200.
        let jobs = [(UInt64(0), Self.job(1, Array(0..<3), output: 1)), (0, Self.job(2, Array(10..<19), output: 1))]
        let (events, _) = Self.play(roundEngine, jobs)
        // The first job began alone: it was there a call earlier.
        #expect(events.map(\.job) == [1, 1, 2, 2])
        #expect(events[0].time == Nanoseconds(37_500_000))
        #expect(events[2].time == Nanoseconds(37_500_000 + 112_500_000))
    }

    @Test func whoHasNoTokenPrefilledWaitsAndIsLookedUpLast() {
        // Three equal prompts of two chunks each. The second and third wait, and find what the first has left.
        var engine = Engine(roundEngine)
        var events: [EngineEvent] = []
        let prompt = blocks(0, 20)
        for id in 0..<3 { engine.submit(Self.job(id, prompt, output: 1), now: .zero, &events) }
        #expect(engine.load.running == 1 && engine.load.waiting == 2)
        while let next = engine.nextEvent { engine.advance(to: next, &events) }
        let found = events.compactMap { if case .firstToken(let cached) = $0.kind { cached } else { nil } }
        #expect(found == [0, 1_984, 1_984])
        // Also if they come together: the iteration is full with the first.
        let other = blocks(100, 20)
        engine.submit(Self.job(10, [500], output: 1), now: Nanoseconds(1_000_000_000), &events)
        for id in 11..<13 { engine.submit(Self.job(id, other, output: 1), now: Nanoseconds(1_000_000_000), &events) }
        while let next = engine.nextEvent { engine.advance(to: next, &events) }
        let last = events.compactMap { if case .firstToken(let cached) = $0.kind { cached } else { nil } }.suffix(2)
        #expect(Array(last) == [0, 1_984])
    }

    @Test func decodingSlowsWithTheBatchAndPrefillStopsIt() {
        let jobs = [(UInt64(0), Self.job(1, [0], output: 100)), (13_000_000, Self.job(2, [1], output: 2))]
        let (events, _) = Self.play(roundEngine, jobs)
        // Job 1 has its first token at 12.5 ms; the iteration under way at 13 ms ends at 19 ms. Then a mixed one: 12.5 ms of
        // prefill and 6.5 of decoding. Then one with two: 7 ms.
        #expect(events[1] == EngineEvent(job: 2, kind: .firstToken(cachedTokens: 0), time: Nanoseconds(38_000_000)))
        #expect(events[2] == EngineEvent(job: 2, kind: .finished, time: Nanoseconds(45_000_000)))
        // 99 tokens after the first: 1 + 1 + 1, then 96 alone.
        #expect(events[3].time == Nanoseconds(45_000_000 + 96 * 6_500_000))
    }

    @Test func aPrefixIsFoundInWholePagesAndNeverTheLastToken() {
        let again = [(UInt64(0), Self.job(1, [0, 1], output: 1)), (1_000_000_000, Self.job(2, [0, 1], output: 1))]
        let (events, _) = Self.play(roundEngine, again)
        // 200 tokens are held; 199 may be used; 192 are whole pages.
        #expect(events[2].kind == .firstToken(cachedTokens: 192))
        #expect(events[2].time == Nanoseconds(1_001_000_000))
    }

    @Test func aSlowedEngineIsSlowFromTheNextIterationOn() {
        var engine = Engine(roundEngine)
        var events: [EngineEvent] = []
        engine.submit(Self.job(1, [0], output: 11), now: .zero, &events)
        engine.advance(to: Nanoseconds(12_500_000), &events)
        // In the third of ten iterations of 6.5 ms.
        engine.slow(3, now: Nanoseconds(26_000_000))
        while let next = engine.nextEvent { engine.advance(to: next, &events) }
        #expect(events.last?.time == Nanoseconds(12_500_000 + 3 * 6_500_000 + 7 * 19_500_000))
    }

    @Test func aPromptThatCanNeverFitIsRefused() {
        var model = roundEngine
        model.kvTokens = 1_000
        let (events, engine) = Self.play(model, [(5, Self.job(1, Array(0..<10), output: 1))])
        #expect(events == [EngineEvent(job: 1, kind: .refused, time: Nanoseconds(5))])
        #expect(engine.nextEvent == nil)
    }

    @Test func whatRunsIsNotEvictedAndWhoComesLastStartsOver() {
        var model = roundEngine
        model.kvTokens = 1_000
        // Two prompts of 400 that generate 300 each: they cannot both stay.
        let jobs = [(UInt64(0), Self.job(1, [0, 1, 2, 3], output: 300)), (1, Self.job(2, [4, 5, 6, 7], output: 300))]
        let (events, engine) = Self.play(model, jobs) { engine, _ in #expect(engine.violation() == nil) }
        #expect(engine.work.preemptions >= 1)
        #expect(engine.work.generatedTokens == 600)
        #expect(engine.work.prefilledTokens > 800)
        #expect(events.count { $0.kind == .finished } == 2)
        #expect(events.filter { $0.kind == .finished }.map(\.job) == [1, 2])
    }

    @Test func cancelledRequestsLeaveNothing() {
        var engine = Engine(roundEngine)
        var events: [EngineEvent] = []
        for id in 0..<70 { engine.submit(Self.job(id, [UInt32(id)], output: 1_000), now: .zero, &events) }
        for _ in 0..<8 { if let next = engine.nextEvent { engine.advance(to: next, &events) } }
        let before = engine.load
        #expect(before.running == 64 && before.waiting == 6)
        for id in 0..<70 { engine.cancel(id, now: engine.nextEvent ?? .zero) }
        #expect(engine.load.waiting == 0)
        let seen = events.count
        while let next = engine.nextEvent { engine.advance(to: next, &events) }
        #expect(events.count == seen)
        #expect(engine.violation() == nil)
        #expect(engine.load.usedTokens == 0)
    }

    @Test func aRestartLosesTheJobsAndTheCache() {
        var (_, engine) = Self.play(roundEngine, [(0, Self.job(1, [0, 1], output: 1))])
        var events: [EngineEvent] = []
        engine.submit(Self.job(2, [0, 1], output: 5), now: Nanoseconds(1_000_000_000), &events)
        #expect(engine.restart() == [2])
        #expect(engine.incarnation == 2 && engine.nextEvent == nil)
        let prompt = Self.job(3, [0, 1], output: 1).prompt
        #expect(engine.cachedTokens(prompt, promptTokens: 200) == 0)
    }

    /// Leaps are only a way to save time: an engine that does one iteration after the other says the same.
    @Test func leapsAreIterations() {
        for seed in Seeds.sequence(200) {
            var chance = SplitMix64(seed: seed)
            var model = roundEngine
            model.maxRunning = 1 + chance.next(below: 6)
            model.chunkTokens = 64 << chance.next(below: 5)
            var at: UInt64 = 0
            let jobs = (0..<40).map { id in
                // In every other run arrivals often meet the end of an iteration to the nanosecond.
                at += UInt64(chance.next(below: 120)) * 500_000 + UInt64(seed % 2 == 0 ? 0 : chance.next(below: 3))
                let blocks = (0..<(1 + chance.next(below: 4))).map { UInt32(id * 8 + $0) }
                return (at: at, job: Self.job(id, blocks, output: 1 + chance.next(below: 50)))
            }
            let expected = NaiveEngine.play(model, jobs)
            let (events, _) = Self.play(model, jobs) { engine, _ in
                if let violation = engine.violation() { Issue.record("seed \(seed): \(violation)") }
            }
            #expect(sorted(events) == sorted(expected), "seed \(seed)")
        }
    }

    private func sorted(_ events: [EngineEvent]) -> [String] {
        events.map { "\($0.time.rawValue) \($0.job) \($0.kind)" }.sorted()
    }

    /// Whatever the cache does, every job ends once, every answer is generated in full, and nothing passes the capacity.
    @Test func tokensAreConservedUnderPressure() {
        for seed in Seeds.sequence(300) {
            var chance = SplitMix64(seed: seed)
            var model = roundEngine
            model.kvTokens = 1_200 + chance.next(below: 2_000)
            model.maxRunning = 1 + chance.next(below: 12)
            model.chunkTokens = 100 + chance.next(below: 900)
            model.pageTokens = 1 << chance.next(below: 5)
            var at: UInt64 = 0
            var output = 0
            let jobs = (0..<60).map { id in
                at += UInt64(chance.next(below: 40)) * 1_000_000
                // A tree of blocks: the child of block b by choice c is 3 b + 1 + c.
                var (block, blocks) = (UInt32(0), [UInt32(0)])
                for _ in 0..<chance.next(below: 6) {
                    block = block * 3 + 1 + UInt32(chance.next(below: 3))
                    blocks.append(block)
                }
                let tokens = 1 + chance.next(below: 200)
                output += tokens
                return (at: at, job: Self.job(id, blocks, output: tokens))
            }
            let (events, engine) = Self.play(model, jobs) { engine, _ in
                if let violation = engine.violation() { Issue.record("seed \(seed): \(violation)") }
            }
            #expect(events.filter { $0.kind == .finished }.map(\.job).sorted() == Array(0..<60), "seed \(seed)")
            #expect(engine.work.generatedTokens == output, "seed \(seed)")
            var (found, asked) = (0, 0)
            for event in events { if case .firstToken(let cached) = event.kind { found += cached } }
            for (_, job) in jobs { asked += job.promptTokens }
            if engine.work.preemptions == 0 {
                #expect(engine.work.prefilledTokens == asked - found, "seed \(seed)")
            } else {
                #expect(engine.work.prefilledTokens > asked - found, "seed \(seed)")
            }
            #expect(engine.load.usedTokens == 0 && engine.load.running == 0, "seed \(seed)")
        }
    }

    /// L = λ W: requests in the engine on average, arrivals per second, seconds each stays.
    @Test func littlesLawHolds() {
        var chance = SplitMix64(seed: 3)
        var at: UInt64 = 0
        let jobs = (0..<4_000).map { id in
            at += UInt64(chance.exponential() * 120e6)
            return (at: at, job: Self.job(id, [UInt32(id)], blockTokens: 100 + chance.next(below: 900), output: 20))
        }
        // The engine's own count of whom it has, over time.
        var (area, before, inside) = (0.0, UInt64(0), 0)
        let (events, _) = Self.play(roundEngine, jobs) { engine, now in
            area += Double(inside) * Double(now - before)
            (before, inside) = (now, engine.load.waiting + engine.load.running)
        }
        let finished = events.filter { $0.kind == .finished }
        #expect(finished.count == jobs.count)
        let stays = finished.reduce(0.0) { $0 + Double($1.time.rawValue - jobs[$1.job].at) }
        let end = finished.map(\.time.rawValue).max() ?? 1
        let (length, rate, stay) = (area / Double(end), Double(jobs.count) / Double(end), stays / Double(jobs.count))
        #expect(abs(length / (rate * stay) - 1) < 0.02)
    }
}

/// One iteration after the other, over prompts that share nothing and a cache without bound.
enum NaiveEngine {
    private struct Request {
        var job: Job
        var left: Int
        var generated = 0
    }

    static func play(_ model: EngineModel, _ jobs: [(at: UInt64, job: Job)]) -> [EngineEvent] {
        var events: [EngineEvent] = []
        var (now, next) = (UInt64(0), 0)
        var waiting: [Request] = []
        var running: [Request] = []
        while next < jobs.count || !waiting.isEmpty || !running.isEmpty {
            func arrive() {
                waiting.append(Request(job: jobs[next].job, left: jobs[next].job.promptTokens))
                next += 1
            }
            while next < jobs.count, jobs[next].at < now { arrive() }
            if waiting.isEmpty && running.isEmpty {
                // Who comes first to an idle engine starts it, alone.
                now = max(now, jobs[next].at)
                arrive()
            }
            while running.count < model.maxRunning, !waiting.isEmpty,
                running.reduce(0, { $0 + $1.left }) < model.chunkTokens
            {
                running.append(waiting.removeFirst())
            }
            let decoding = running.indices.filter { running[$0].left == 0 }
            var duration = decoding.isEmpty ? 0 : model.decode + model.decodePerRequest * Double(decoding.count)
            var budget = model.chunkTokens
            var prefilled: [Int] = []
            for index in running.indices where running[index].left > 0 && budget > 0 {
                let tokens = min(budget, running[index].left)
                duration += Double(tokens) * model.prefillPerToken
                running[index].left -= tokens
                budget -= tokens
                if running[index].left == 0 { prefilled.append(index) }
            }
            now += UInt64((duration * 1e6).rounded())
            for index in decoding { running[index].generated += 1 }
            for index in prefilled {
                running[index].generated = 1
                let kind = EngineEvent.Kind.firstToken(cachedTokens: 0)
                events.append(EngineEvent(job: running[index].job.id, kind: kind, time: Nanoseconds(now)))
            }
            for request in running where request.generated == request.job.outputTokens {
                events.append(EngineEvent(job: request.job.id, kind: .finished, time: Nanoseconds(now)))
            }
            running.removeAll { $0.generated == $0.job.outputTokens }
        }
        return events
    }
}
