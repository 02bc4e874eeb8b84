internal import GotoniCore

/// The figures of one engine's metrics, added up over its ranks.
struct FigureTable {
    enum Figure: Int, CaseIterable {
        case running, queued, queuedTokens, usedTokens, kvCapacityTokens, cacheUsage, maxRunning, cacheHitRate
        case cacheQueries, cacheHits, cacheInfo, processStart
    }

    /// More series of one figure are no engine's.
    static let mostSeries = 1024

    /// The series of one figure: which of its names they have, and the largest value of each group of ranks.
    fileprivate struct Series {
        var name = Int.max
        var groups: [(key: UInt64, value: Double)] = []
    }

    private var series = [Series](repeating: Series(), count: Figure.allCases.count)

    init(_ text: UnsafeRawBufferPointer, _ names: EngineNames) throws(ReportError) {
        let lists = Figure.allCases.map(names.list)
        var samples = PrometheusText(text)
        while let sample = samples.next() {
            for (figure, list) in lists.enumerated() {
                guard let name = list.firstIndex(where: sample.isNamed) else { continue }
                let value = figure == Figure.cacheInfo.rawValue ? names.cacheTokens(sample) : sample.value
                if let value { try series[figure].take(value, of: sample, name: name) }
            }
        }
    }

    /// Nil: nobody said it.
    func sum(_ figure: Figure) -> Double? {
        let groups = series[figure.rawValue].groups
        return groups.isEmpty ? nil : groups.reduce(0) { $0 + $1.value }
    }

    func count(_ figure: Figure) -> Int? { sum(figure).flatMap(EngineReport.count) }

    /// The mean of the ranks.
    func share(_ figure: Figure) -> Double? {
        sum(figure).map { EngineReport.share($0 / Double(series[figure.rawValue].groups.count)) }
    }
}

extension FigureTable.Series {
    mutating func take(_ value: Double, of sample: PrometheusText.Sample, name: Int) throws(ReportError) {
        guard value.isFinite, value >= 0, name <= self.name else { return }
        // SGLang writes the total without a priority, and beside it what each priority has of it.
        if let priority = sample.label("priority"), !priority.isEmpty { return }
        if name < self.name {
            self.name = name
            groups.removeAll(keepingCapacity: true)
        }
        let key = Self.group(sample.labels)
        if let index = groups.firstIndex(where: { $0.key == key }) {
            groups[index].value = max(groups[index].value, value)
        } else {
            guard groups.count < FigureTable.mostSeries else { throw .tooLarge }
            groups.append((key, value))
        }
    }

    /// Of all labels but those that number parts of one computation, in whatever order.
    private static func group(_ labels: PrometheusText.Labels) -> UInt64 {
        var key = UInt64(0)
        for label in labels {
            let isPart = EngineNames.partLabels.contains { $0.withUTF8Buffer { $0.elementsEqual(label.name) } }
            if !isPart { key &+= Key.namespace(model: label.name.bytes, adapter: label.value.bytes, salt: RawSpan()) }
        }
        return key
    }
}

extension EngineNames {
    fileprivate func list(_ figure: FigureTable.Figure) -> [StaticString] {
        switch figure {
        case .running: running
        case .queued: queued
        case .queuedTokens: queuedTokens
        case .usedTokens: usedTokens
        case .kvCapacityTokens: kvCapacityTokens
        case .cacheUsage: cacheUsage
        case .maxRunning: maxRunning
        case .cacheHitRate: cacheHitRate
        case .cacheQueries: cacheQueries
        case .cacheHits: cacheHits
        case .cacheInfo: cacheInfo
        case .processStart: ["process_start_time_seconds"]
        }
    }

    /// How many tokens a series that describes the cache says it holds.
    fileprivate func cacheTokens(_ sample: PrometheusText.Sample) -> Double? {
        func number(_ label: StaticString) -> Double? {
            sample.label(label).flatMap { $0.count <= 20 ? Double(String(decoding: $0, as: UTF8.self)) : nil }
        }
        if let tokens = number(cacheInfoTokens) { return tokens }
        guard let blocks = number(cacheInfoBlocks), let size = number(cacheInfoBlockSize) else { return nil }
        return blocks * size
    }
}
