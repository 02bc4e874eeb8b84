/// Compares by the first key, and by the second where that is equal.
struct InOrder<First: Comparable, Second: Comparable>: Comparable {
    var first: First
    var second: Second

    init(_ first: First, _ second: Second) {
        self.first = first
        self.second = second
    }

    static func < (a: Self, b: Self) -> Bool { a.first == b.first ? a.second < b.second : a.first < b.first }
}
