import Synchronization

/// What the gateway has done since it started. Each request ends in exactly one of the last five:
/// `handled = forwarded + rejected + failed + cancelled + still under way`.
final class Counters: Sendable {
    /// Requests read from clients on the data path.
    let handled = Atomic<UInt64>(0)
    /// Answered by a server, with any status, to the end.
    let forwarded = Atomic<UInt64>(0)
    /// Answered by the gateway: bad request, queue full, no server, shutting down.
    let rejected = Atomic<UInt64>(0)
    /// No server answered, or an answer broke off.
    let failed = Atomic<UInt64>(0)
    /// The client left.
    let cancelled = Atomic<UInt64>(0)

    /// Waited in the queue, whatever became of them.
    let queued = Atomic<UInt64>(0)
    let retried = Atomic<UInt64>(0)
    /// Sent again because an idle connection turned out closed.
    let staleRetries = Atomic<UInt64>(0)
    let ejections = Atomic<UInt64>(0)
    /// Of a node: attempts at other nodes, those of requests that had waited here, and requests that came from nodes.
    let toPeers = Atomic<UInt64>(0)
    let queuedToPeers = Atomic<UInt64>(0)
    let fromPeers = Atomic<UInt64>(0)
    let answeredByPeers = Atomic<UInt64>(0)
    let connections = Atomic<Int>(0)
    let underWay = Atomic<Int>(0)
    let bytesIn = Atomic<UInt64>(0)
    let bytesOut = Atomic<UInt64>(0)

    /// Times to the first byte of the answer, queueing included, in the buckets of SGLang's histogram and below.
    let ttft = Histogram()
}

/// Counts by upper bound, as Prometheus has them.
final class Histogram: Sendable {
    static let bounds = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100, 200,
        400,
    ]
    /// One for each bound and one for what is above all.
    private let counts: [Cell] = (0...Histogram.bounds.count).map { _ in Cell() }
    private let sumNanoseconds = Atomic<UInt64>(0)

    private final class Cell: Sendable { let count = Atomic<UInt64>(0) }

    func add(seconds: Double) {
        let index = Self.bounds.firstIndex { seconds <= $0 } ?? Self.bounds.count
        counts[index].count.add(1, ordering: .relaxed)
        sumNanoseconds.add(UInt64(max(0, seconds) * 1e9), ordering: .relaxed)
    }

    /// Cumulative counts by bound, then all; and the sum in seconds.
    var snapshot: (cumulative: [UInt64], sum: Double) {
        var total: UInt64 = 0
        let cumulative = counts.map { cell in
            total += cell.count.load(ordering: .relaxed)
            return total
        }
        return (cumulative, Double(sumNanoseconds.load(ordering: .relaxed)) / 1e9)
    }
}
