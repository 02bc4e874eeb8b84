/// What is to happen when: a heap, equal times in the order they were added.
struct Agenda<Action> {
    private struct Item {
        var due: UInt64
        var order: UInt64
        var action: Action

        func comesBefore(_ other: Item) -> Bool { due != other.due ? due < other.due : order < other.order }
    }

    private var heap: [Item] = []
    private var added: UInt64 = 0

    /// Nanoseconds of the monotonic clock; nil if nothing is to happen.
    var next: UInt64? { heap.first?.due }

    mutating func add(_ action: Action, at due: UInt64) {
        heap.append(Item(due: due, order: added, action: action))
        added += 1
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].comesBefore(heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    /// The first of what is due at `now`, with its time.
    mutating func pop(_ now: UInt64) -> (action: Action, due: UInt64)? {
        guard let first = heap.first, first.due <= now else { return nil }
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
                if heap[child].comesBefore(heap[least]) { least = child }
            }
            guard least != parent else { break }
            heap.swapAt(parent, least)
            parent = least
        }
        return (first.action, first.due)
    }
}
