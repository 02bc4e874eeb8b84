import GotoniCore

/// The requests that wait because every server is at its limit: bounded, in order of priority and then of arrival,
/// each with a deadline.
///
/// A state machine: it holds names, not requests, and says whose turn it is. Whoever frees a place calls `take`, lets
/// that request try, and calls `remove` or, if somebody else was faster, `putBack`. Who is trying holds up nobody: a
/// place that becomes free meanwhile is offered to the next, so requests of different event loops may swap places when
/// two become free within microseconds. A request that failed somewhere waits for another server and keeps nobody from
/// that one. Not thread-safe by itself.
struct AdmissionQueue {
    struct Entry: Equatable {
        var id: UInt64
        /// Lower goes first, as vLLM has it.
        var priority: Int
        var deadline: Nanoseconds
        var arrival: Nanoseconds
        /// Where it failed before.
        var avoided: [ServerID] = []
        /// It takes a place nowhere else.
        var only: ServerID?
        /// Trying now: not to be offered again.
        var isTaken = false
        fileprivate var order: UInt64 = 0

        fileprivate var takesAny: Bool { avoided.isEmpty && only == nil }
        fileprivate func takes(_ server: ServerID) -> Bool {
            !avoided.contains(server) && (only == nil || only == server)
        }
    }

    /// May be lowered: those beyond it stay.
    var limit: Int
    /// In reverse: the next one is last, so that taking it moves nothing.
    private var entries: [Entry] = []
    private var arrivals: UInt64 = 0
    /// How many take a place anywhere.
    private(set) var anywhereCount = 0

    init(limit: Int) { self.limit = limit }

    var count: Int { entries.count }

    /// When the request that has waited longest came; nil if none waits.
    var oldestArrival: Nanoseconds? { entries.map(\.arrival).min() }

    /// False: the queue is full.
    mutating func add(
        id: UInt64, priority: Int, deadline: Nanoseconds, avoiding avoided: [ServerID] = [], only: ServerID? = nil,
        now: Nanoseconds
    ) -> Bool {
        guard entries.count < limit else { return false }
        arrivals += 1
        let entry = Entry(
            id: id, priority: priority, deadline: deadline, arrival: now, avoided: avoided, only: only, order: arrivals)
        if entry.takesAny { anywhereCount += 1 }
        // Everything from there on goes before it. With equal priorities that is the front.
        var (low, high) = (0, entries.count)
        while low < high {
            let middle = (low + high) / 2
            if Self.goesFirst(entries[middle], entry) { high = middle } else { low = middle + 1 }
        }
        entries.insert(entry, at: low)
        return true
    }

    /// The request whose turn it is at `server`, if its deadline has not passed; it stays in the queue, taken. Nil: it is
    /// not known where the place is, so it is for one who takes any.
    mutating func take(at server: ServerID? = nil, now: Nanoseconds) -> UInt64? {
        let next = entries.lastIndex { entry in
            !entry.isTaken && entry.deadline > now
                && (entry.takesAny || server.map { entry.takes($0) } ?? false)
        }
        guard let next else { return nil }
        entries[next].isTaken = true
        return entries[next].id
    }

    /// This very request tries. False: it is trying, or not in the queue.
    mutating func take(id: UInt64) -> Bool {
        guard let index = entries.lastIndex(where: { $0.id == id && !$0.isTaken }) else { return false }
        entries[index].isTaken = true
        return true
    }

    /// It found no place: its turn is next again.
    mutating func putBack(id: UInt64) {
        if let index = entries.lastIndex(where: { $0.id == id }) { entries[index].isTaken = false }
    }

    /// Served, gone or expired. False: it was not in the queue.
    @discardableResult mutating func remove(id: UInt64) -> Bool {
        guard let index = entries.lastIndex(where: { $0.id == id }) else { return false }
        if entries.remove(at: index).takesAny { anywhereCount -= 1 }
        return true
    }

    private static func goesFirst(_ a: Entry, _ b: Entry) -> Bool {
        a.priority != b.priority ? a.priority < b.priority : a.order < b.order
    }
}
