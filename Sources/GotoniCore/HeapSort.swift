/// Sorts `count` items in place by comparing and swapping positions: for parallel arrays, and without allocating, which
/// the standard library's sort does.
public func heapSort(_ count: Int, precedes: (Int, Int) -> Bool, swap: (Int, Int) -> Void) {
    func sift(_ start: Int, _ end: Int) {
        var root = start
        while 2 * root + 1 < end {
            var child = 2 * root + 1
            if child + 1 < end && precedes(child, child + 1) { child += 1 }
            guard precedes(root, child) else { return }
            swap(root, child)
            root = child
        }
    }
    guard count > 1 else { return }
    for start in stride(from: count / 2 - 1, through: 0, by: -1) { sift(start, count) }
    for end in stride(from: count - 1, to: 0, by: -1) {
        swap(0, end)
        sift(0, end)
    }
}
