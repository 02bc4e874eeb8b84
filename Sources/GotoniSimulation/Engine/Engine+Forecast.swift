import GotoniCore

extension Engine {
    /// What would become of a request that joined at `now` if nobody came after it.
    ///
    /// Computed, not played: the iterations ahead are taken to have as many decoding requests as there are now, and when
    /// all places are taken the ones that end first make room. Within a few per cent of what then happens (tested).
    func forecast(_ prompt: ArraySlice<Segment>, promptTokens: Int, outputTokens: Int, now: UInt64) -> Forecast {
        let uncached = promptTokens - cachedTokens(prompt, promptTokens: promptTokens)
        var ahead = prefilling.reduce(0) { $0 + $1.toPrefill }
        for request in waiting.dropFirst(waitingHead) {
            ahead += request.job.promptTokens + request.generated
            ahead -= cachedTokens(request.job.prompt, promptTokens: request.job.promptTokens)
        }
        let decoders = decoding.count
        let decode = model.decoding(decoders, context: decodingContext)
        let perToken = 1e6 * model.prefillPerToken
        let own = model.prefill(uncached, after: promptTokens - uncached)

        // The iteration under way, or what is left of its chunk, comes first.
        var start = 0.0
        if let leap, leap.end > now {
            let whole = Double(leap.end - leap.start) / Double(leap.steps)
            start = leap.prefills ? Double(leap.end - now) : min(whole, Double(leap.end - now))
            if leap.prefills { ahead -= min(ahead, model.chunkTokens) }
        }
        let chunks = Double((ahead + uncached + model.chunkTokens - 1) / model.chunkTokens)
        let overhead = chunks * (1e6 * model.step + decode)
        var first = start + (Double(ahead) * perToken + own + overhead) * slowness

        // Places: as many must end as stand before it in excess of the limit.
        let inFront = waiting.count - waitingHead + prefilling.count + decoders
        let excess = inFront - model.maxRunning + 1
        if excess > 0, !finishAt.isEmpty {
            let ends = finishAt.sorted()
            let turns = (excess - 1) / ends.count
            let steps = ends[(excess - 1) % ends.count] - iterations + turns * (ends[ends.count - 1] - iterations)
            first = max(first, start + Double(steps) * (1e6 * model.step + decode) * slowness + own * slowness)
        }
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
