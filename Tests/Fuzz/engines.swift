// Feeds GotoniEngines with hostile bytes. The first byte says which reader gets the rest; whatever they do with it, they
// must not crash, and what they say must be the same when it is said again: by a reader that has read other things before,
// or from the same bytes cut elsewhere.
import GotoniCore
import GotoniEngines

nonisolated(unsafe) private let kept = BodyReader()

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> Int32 {
    let input = UnsafeRawBufferPointer(start: data, count: size)
    guard let choice = input.first else { return 0 }
    let rest = UnsafeRawBufferPointer(rebasing: input.dropFirst())
    switch choice % 5 {
    case 0: bodies(rest)
    case 1: answers(rest)
    case 2: metrics(rest)
    case 4: kvEvents(rest)
    default: report { () throws(ReportError) in try EngineReport(loads: rest) }
    }
    return 0
}

private func bodies(_ body: UnsafeRawBufferPointer) {
    let new = BodyReader()
    for endpoint in Endpoint.allCases {
        let (again, fresh) = (outcome(kept, body, endpoint), outcome(new, body, endpoint))
        require(again.facts == fresh.facts && again.error == fresh.error && again.tokens == fresh.tokens)
        require(again.facts?.promptTokens ?? 0 == again.tokens.count && again.facts?.sequences ?? 0 >= 0)
        require((again.facts == nil) == (again.error != nil))
    }
}

private func outcome(
    _ reader: BodyReader, _ body: UnsafeRawBufferPointer, _ endpoint: Endpoint
) -> (facts: BodyFacts?, error: BodyError?, tokens: [UInt32]) {
    do throws(BodyError) {
        let facts = try reader.read(body, endpoint)
        require(reader.model()?.utf8.count ?? 0 <= 3 * 256)
        return (facts, nil, reader.withTokens { tokens in tokens.indices.map { tokens[$0] } })
    } catch {
        require(reader.tokens.isEmpty)
        return (nil, error, [])
    }
}

/// The first bytes say where the answer is cut.
private func answers(_ input: UnsafeRawBufferPointer) {
    guard input.count >= 8 else { return }
    let (cuts, answer) = (input.prefix(8), UnsafeRawBufferPointer(rebasing: input.dropFirst(8)))
    var whole = UsageReader()
    whole.feed(answer)
    var parts = UsageReader()
    parts.feed(UnsafeRawBufferPointer(rebasing: cuts))
    parts.reset()
    var (start, turn) = (0, 0)
    while start < answer.count {
        let end = min(answer.count, start + Int(cuts[turn % 8]) * (turn % 8 == 7 ? 64 : 1) + (turn % 8 == 0 ? 1 : 0))
        parts.feed(UnsafeRawBufferPointer(rebasing: answer[start..<end]))
        (start, turn) = (end, turn + 1)
    }
    require(whole.usage() == parts.usage())
    if let usage = whole.usage() {
        require(usage.promptTokens ?? 0 >= 0 && usage.cachedTokens ?? 0 >= 0 && usage.outputTokens ?? 0 >= 0)
    }
}

private func metrics(_ text: UnsafeRawBufferPointer) {
    var samples = PrometheusText(text)
    while let sample = samples.next() {
        for label in sample.labels { require(label.name.count + label.value.count <= text.count) }
        _ = sample.value
    }
    report { () throws(ReportError) in try EngineReport(prometheus: text) }
}

private func kvEvents(_ message: UnsafeRawBufferPointer) {
    var (reader, first) = (KVEventReader(model: "m", adapterIsModel: true), [UInt64]())
    for turn in 0..<2 {
        var seen: [UInt64] = []
        do throws(KVEventError) {
            try reader.read(message) { (event) throws(KVEventError) in
                seen += event.hashes + [UInt64(event.tokens.count), event.namespace]
                let isWhole = event.kind == .stored && event.bearing == .counts
                require(!isWhole || event.tokens.count == event.hashes.count * event.blockTokens)
                require(event.hashes.count <= message.count && event.tokens.count <= message.count)
            }
            require((try? reader.time(of: message)) != nil)
        } catch {}
        require(turn == 0 || seen == first)
        first = seen
    }
}

private func report(_ read: () throws(ReportError) -> EngineReport) {
    guard let report = try? read() else { return }
    for share in [report.cacheUsage, report.cacheHitRate] { require((0...1).contains(share ?? 0)) }
    for count in [report.running, report.queued, report.queuedTokens, report.usedTokens, report.maxRunning] {
        require(count ?? 0 >= 0)
    }
    let metrics = report.metrics
    require(metrics.queuedRequests ?? 0 <= 1 << 40 && metrics.kvCapacityTokens != 0)
}

private func require(_ condition: Bool) { if !condition { fatalError("the readers disagree") } }
