import ArgumentParser

/// PORT or FIRST-LAST, from 1 to 65535.
struct PortRange: ExpressibleByArgument, Sendable {
    var range: ClosedRange<Int>

    init?(argument: String) {
        let parts = argument.split(separator: "-", omittingEmptySubsequences: false)
        let numbers = parts.compactMap { part in
            part.utf8.allSatisfy { (48...57).contains($0) } ? Int(part) : nil
        }
        guard numbers.count == parts.count, let first = numbers.first, let last = numbers.last, numbers.count <= 2,
            first >= 1, first <= last, last <= 65_535
        else { return nil }
        range = first...last
    }
}
