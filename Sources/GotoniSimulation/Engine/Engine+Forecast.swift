import GotoniCore

extension Engine {
    /// What would become of a request that is here at `arrival` if nobody came after it; `onTheWay` come before it. Seconds
    /// count from `now`.
    ///
    /// Computed, not played: the iterations ahead are taken to have as many decoding requests as there are now, and when
    /// all places are taken the ones that end first make room.
    func forecast(
        _ prompt: ArraySlice<Segment>, promptTokens: Int, outputTokens: Int, now: UInt64, arrival: UInt64,
        onTheWay: [(prompt: ArraySlice<Segment>, promptTokens: Int)]
    ) -> Forecast {
        let uncached = promptTokens - cachedTokens(prompt, promptTokens: promptTokens)
        var ahead = prefilling.reduce(0) { $0 + $1.toPrefill }
        for request in waiting.dropFirst(waitingHead) {
            ahead += request.job.promptTokens + request.generated
            ahead -= cachedTokens(request.job.prompt, promptTokens: request.job.promptTokens)
        }
        for job in onTheWay { ahead += job.promptTokens - cachedTokens(job.prompt, promptTokens: job.promptTokens) }
        let decoders = decoding.count
        let perChunk = 1e6 * model.step + model.decoding(decoders, context: decodingContext)
        func chunks(_ tokens: Int) -> Double { Double((tokens + model.chunkTokens - 1) / model.chunkTokens) }

        // The iteration under way ends first; a chunk in it is work done.
        var idle = 0.0
        if let leap, leap.end > now {
            let whole = Double(leap.end - leap.start) / Double(leap.steps)
            idle = min(leap.prefills ? Double(leap.end - now) : whole, Double(leap.end - now))
            if leap.prefills { ahead -= min(ahead, model.chunkTokens) }
        }
        idle += (Double(ahead) * 1e6 * model.prefillPerToken + chunks(ahead) * perChunk) * slowness

        // Places: as many must end as stand before it in excess of the limit.
        let inFront = onTheWay.count + waiting.count - waitingHead + prefilling.count + decoders
        let excess = inFront - model.maxRunning + 1
        if excess > 0, !finishAt.isEmpty {
            let ends = finishAt.sorted()
            let turns = (excess - 1) / ends.count
            let steps = ends[(excess - 1) % ends.count] - iterations + turns * (ends[ends.count - 1] - iterations)
            idle = max(idle, Double(steps) * perChunk * slowness)
        }
        let own = model.prefill(uncached, after: promptTokens - uncached)
        let first = max(idle, Double(arrival - now)) + (own + chunks(uncached) * perChunk) * slowness
        let running = decoders + 1
        let perStep = 1e6 * model.step + model.decoding(running, context: decodingContext + promptTokens)
        let last = first + Double(outputTokens - 1) * perStep * slowness
        // All who decode wait for its prefill, and each iteration that they share is longer by its presence.
        var shared = 0
        for finish in finishAt { shared += min(finish - iterations, outputTokens) }
        let delay = (own * Double(decoders) + 1e6 * model.decodePerRequest * Double(shared)) * slowness
        return Forecast(firstToken: first / 1e9, last: last / 1e9, delayOfOthers: delay / 1e9)
    }
}
