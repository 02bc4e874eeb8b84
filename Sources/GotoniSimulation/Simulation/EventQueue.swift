/// What happens next. A binary heap, ordered by time and then by the order of scheduling, so that a run can be repeated.
struct EventQueue {
    struct Event {
        var time: UInt64
        var order: UInt64
        var kind: Kind
        /// A request, server, balancer or fault, and what else the kind says.
        var a: UInt32
        var b: UInt32
    }

    enum Kind: UInt8 {
        /// a: request, leaves its client.
        case arrive
        /// a: request, b: attempt. At the balancer in front of the client.
        case atBalancer
        /// a: request, b: attempt. At the balancer of the node that serves it.
        case atPeer
        /// a: request, b: attempt. At its engine, read.
        case atEngine
        /// a: server, b: generation.
        case engine
        /// a: request, b: attempt. Back at the balancer in front of the client.
        case firstToken
        case finished
        case failed
        /// a: request. It waits no longer, for a server or for a connection.
        case giveUp
        /// a: balancer, b: server.
        case probe
        case probeFailed
        /// a: place in the list of probes.
        case sample
        case report
        /// a: fault.
        case fault
        /// a: place in the log of messages, b: balancer.
        case kvEvents

        var isProbe: Bool {
            switch self {
            case .probe, .probeFailed, .sample, .report: true
            default: false
            }
        }
    }

    private var heap: [Event] = []
    /// Events that are no probe's.
    private var work = 0
    private var scheduled: UInt64 = 0

    mutating func schedule(_ time: UInt64, _ kind: Kind, _ a: Int, _ b: Int = 0) {
        let event = Event(
            time: time, order: scheduled, kind: kind, a: UInt32(truncatingIfNeeded: a), b: UInt32(truncatingIfNeeded: b)
        )
        scheduled += 1
        if !kind.isProbe { work += 1 }
        heap.append(event)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard Self.precedes(event, heap[parent]) else { break }
            heap[child] = heap[parent]
            child = parent
        }
        heap[child] = event
    }

    /// Whether anything but probes is to come.
    var hasWork: Bool { work > 0 }

    var nextTime: UInt64? { heap.first?.time }

    mutating func next() -> Event? {
        guard let first = heap.first else { return nil }
        if !first.kind.isProbe { work -= 1 }
        let last = heap.removeLast()
        if heap.isEmpty { return first }
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, Self.precedes(heap[child + 1], heap[child]) { child += 1 }
            guard Self.precedes(heap[child], last) else { break }
            heap[parent] = heap[child]
            parent = child
        }
        heap[parent] = last
        return first
    }

    @inline(__always) private static func precedes(_ a: Event, _ b: Event) -> Bool {
        a.time != b.time ? a.time < b.time : a.order < b.order
    }
}
