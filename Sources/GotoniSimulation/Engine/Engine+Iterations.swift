public import GotoniCore

// What an engine does from one iteration to the next.

extension Engine {
    /// Ends what ends at `now`, which must be `nextEvent`, and begins the next.
    public mutating func advance(to now: Nanoseconds, _ events: inout [EngineEvent]) {
        guard let leap, leap.end <= now.rawValue else { return }
        self.leap = nil
        work.busy += leap.end - leap.start
        iterations += leap.steps
        let decoded = leap.steps * decoding.count
        ownTokens += decoded
        decodingContext += decoded
        work.generatedTokens += decoded
        endDecoding(leap.end, &events)
        if leap.prefills { endPrefill(leap.end, &events) }
        cancelled.removeAll()
        begin(leap.end)
    }

    // MARK: Beginning

    mutating func begin(_ start: UInt64) {
        admit()
        guard !prefilling.isEmpty || !decoding.isEmpty else { return }
        makeRoomToDecode()
        let requests = decoding.count
        let (steps, duration): (Int, Double)
        if prefilling.isEmpty {
            steps = leapLength()
            duration = model.decoding(requests, context: decodingContext, steps: steps)
        } else {
            steps = 1
            duration = 1e6 * model.step + model.decoding(requests, context: decodingContext) + prefillChunk()
        }
        _ = evict(beyond: steps * requests + prefilling.count)
        leap = Leap(
            start: start, end: start + Self.time(duration * slowness), steps: steps, prefills: !prefilling.isEmpty,
            slowness: slowness)
    }

    /// Nothing is instantaneous, for virtual time must pass; and nothing takes longer than eleven days.
    private static func time(_ nanoseconds: Double) -> UInt64 { UInt64(min(max(nanoseconds.rounded(), 1), 1e15)) }

    /// Iterations until somebody finishes, or the cache is full.
    private func leapLength() -> Int {
        var first = Int.max
        for finish in finishAt { first = min(first, finish) }
        let room = model.kvTokens - usedTokens
        return max(min(first - iterations, room / max(decoding.count, 1)), 1)
    }

    /// Somebody comes or goes at `now`: a leap of several iterations ends with the one that is under way.
    mutating func shorten(_ now: UInt64) {
        guard let leap, leap.steps > 1, leap.end > now else { return }
        func end(_ steps: Int) -> UInt64 {
            let duration = model.decoding(decoding.count, context: decodingContext, steps: steps)
            return leap.start + Self.time(duration * leap.slowness)
        }
        var (low, high) = (1, leap.steps)
        while low < high {
            let middle = (low + high) / 2
            if end(middle) > now { high = middle } else { low = middle + 1 }
        }
        self.leap?.steps = low
        self.leap?.end = end(low)
    }

    // MARK: Admission

    /// First come first served, while there is room for a whole prompt and the iteration has tokens left to prefill: until
    /// then a request waits, and only then it is looked up what of its prompt is cached.
    private mutating func admit() {
        var budget = model.chunkTokens - prefilling.reduce(0) { $0 + $1.toPrefill }
        while waitingHead < waiting.count, budget > 0, prefilling.count + decoding.count < model.maxRunning {
            var next = waiting[waitingHead]
            let prompt = next.job.prompt
            let cached = cachedTokens(prompt, promptTokens: next.job.promptTokens)
            let toPrefill = next.job.promptTokens + next.generated - cached
            next.usedSegments = cache.use(prompt, tokens: cached)
            // One more for the first token of the answer.
            guard evict(beyond: toPrefill + 1) else {
                cache.release(prompt, next.usedSegments)
                break
            }
            if next.generated == 0 { next.cachedTokens = cached }
            next.context = cached
            next.toPrefill = toPrefill
            next.ownTokens = toPrefill
            next.admitted = admissions
            admissions += 1
            budget -= toPrefill
            ownTokens += toPrefill
            prefilling.append(next)
            waitingHead += 1
        }
        if waitingHead > 64, waitingHead * 2 > waiting.count {
            waiting.removeFirst(waitingHead)
            waitingHead = 0
        }
    }

    /// Makes room for `tokens` more. False if even all idle blocks are not enough.
    private mutating func evict(beyond tokens: Int) -> Bool {
        let missing = ownTokens + cache.heldTokens + tokens - model.kvTokens
        guard missing > 0 else { return true }
        guard missing <= cache.idleTokens else { return false }
        var removed: [UInt32] = []
        work.evictedTokens += cache.evict(missing) { if publishesKVEvents { removed.append($0) } }
        kvEvents += removed.map { .removed(block: $0) }
        return true
    }

    /// Every request may need one token more. While they do not fit, the one admitted last starts over: it waits in
    /// front, and prefills its prompt and its answer so far again.
    private mutating func makeRoomToDecode() {
        while usedTokens + decoding.count + prefilling.count > model.kvTokens {
            let lastDecoding = decoding.indices.max { decoding[$0].admitted < decoding[$1].admitted }
            let lastPrefilling = prefilling.indices.max { prefilling[$0].admitted < prefilling[$1].admitted }
            var victim: Running
            if let p = lastPrefilling, lastDecoding.map({ decoding[$0].admitted < prefilling[p].admitted }) ?? true {
                victim = prefilling.remove(at: p)
            } else if let d = lastDecoding {
                settle(d)
                victim = leaveDecoding(d)
            } else {
                return
            }
            free(victim)
            victim.usedSegments = 0
            victim.ownTokens = 0
            work.preemptions += 1
            if waitingHead > 0 {
                waitingHead -= 1
                waiting[waitingHead] = victim
            } else {
                waiting.insert(victim, at: 0)
            }
        }
    }

    // MARK: Prefill

    /// Nanoseconds of this iteration's chunk. The tokens are taken off when it ends.
    private func prefillChunk() -> Double {
        var (budget, duration) = (model.chunkTokens, 0.0)
        for request in prefilling {
            guard budget > 0 else { break }
            let tokens = min(budget, request.toPrefill)
            duration += model.prefill(tokens, after: request.context)
            budget -= tokens
        }
        return duration
    }

    private mutating func endPrefill(_ now: UInt64, _ events: inout [EngineEvent]) {
        var (budget, done) = (model.chunkTokens, 0)
        for index in prefilling.indices {
            let tokens = min(budget, prefilling[index].toPrefill)
            prefilling[index].toPrefill -= tokens
            prefilling[index].context += tokens
            budget -= tokens
            work.prefilledTokens += tokens
            guard prefilling[index].toPrefill == 0 else { break }
            done += 1
            if budget == 0 { break }
        }
        for var request in prefilling.prefix(done) {
            if cancelled.contains(request.job.id) {
                free(request)
                continue
            }
            keepPrompt(&request)
            if request.generated == 0 {
                request.generated = 1
                request.ownTokens += 1
                ownTokens += 1
                work.generatedTokens += 1
                let event = EngineEvent.Kind.firstToken(cachedTokens: request.cachedTokens)
                events.append(EngineEvent(job: request.job.id, kind: event, time: Nanoseconds(now)))
            }
            if request.generated == request.job.outputTokens {
                finish(request, now, &events)
            } else {
                request.joined = iterations
                finishAt.append(iterations + request.job.outputTokens - request.generated)
                decodingContext += request.job.promptTokens + request.generated
                decoding.append(request)
            }
        }
        prefilling.removeFirst(done)
        guard !cancelled.isEmpty else { return }
        for request in prefilling where cancelled.contains(request.job.id) { free(request) }
        prefilling.removeAll { cancelled.contains($0.job.id) }
    }

    /// The prompt is computed: from now on others find it.
    private mutating func keepPrompt(_ request: inout Running) {
        let prompt = request.job.prompt
        let stored = cache.store(prompt, behind: request.usedSegments)
        request.usedSegments = prompt.count
        ownTokens -= request.ownTokens - request.generated
        request.ownTokens = request.generated
        if publishesKVEvents, stored > 0 { kvEvents.append(.stored(job: request.job.id, withAnswer: false)) }
    }

    // MARK: Decoding

    private mutating func endDecoding(_ now: UInt64, _ events: inout [EngineEvent]) {
        var index = 0
        while index < decoding.count {
            if !cancelled.isEmpty, cancelled.contains(decoding[index].job.id) {
                settle(index)
                free(leaveDecoding(index))
            } else if finishAt[index] <= iterations {
                settle(index)
                finish(leaveDecoding(index), now, &events)
            } else {
                index += 1
            }
        }
    }

    /// Puts what a decoding request has generated into its own figures.
    mutating func settle(_ index: Int) {
        let tokens = iterations - decoding[index].joined
        decoding[index].generated += tokens
        decoding[index].ownTokens += tokens
        decoding[index].joined = iterations
    }

    /// Its place is taken by the last.
    mutating func leaveDecoding(_ index: Int) -> Running {
        let request = decoding[index]
        decodingContext -= request.job.promptTokens + request.generated
        decoding.swapAt(index, decoding.count - 1)
        finishAt.swapAt(index, finishAt.count - 1)
        decoding.removeLast()
        finishAt.removeLast()
        return request
    }

    private mutating func finish(_ request: Running, _ now: UInt64, _ events: inout [EngineEvent]) {
        if let answer = request.job.answer {
            // The answer stays where the next prompt of this session will look for it.
            let whole = [Segment(block: answer, tokens: UInt32(request.generated))]
            _ = cache.store(whole[...], behind: 0)
            cache.release(whole[...], 1)
            if publishesKVEvents { kvEvents.append(.stored(job: request.job.id, withAnswer: true)) }
        }
        free(request)
        events.append(EngineEvent(job: request.job.id, kind: .finished, time: Nanoseconds(now)))
    }

    /// Gives back the KV tokens of a request that is no longer in any list.
    mutating func free(_ request: Running) {
        cache.release(request.job.prompt, request.usedSegments)
        ownTokens -= request.ownTokens
    }
}
