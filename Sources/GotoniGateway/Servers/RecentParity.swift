/// What one server's engine found cached of its last prompts, beside what was predicted.
struct RecentParity: Sendable {
    static let window = 64
    /// Fewer reports say nothing.
    static let fewReports = 16
    /// The share of the larger sum by which the two may differ.
    static let mostDifference = 0.2

    private var reports = Ring<(predicted: Int, found: Int)>(capacity: window)

    /// Less than a block of difference is agreement: both sides count in blocks of their own.
    mutating func note(predicted: Int, found: Int, blockTokens: Int) {
        reports.add((predicted, abs(found - predicted) <= blockTokens ? predicted : found))
    }

    /// 0...1; nil while there are few reports, or nothing was cached.
    var difference: Double? {
        let latest = reports.elements
        let predicted = latest.reduce(0) { $0 + $1.predicted }
        let found = latest.reduce(0) { $0 + $1.found }
        guard latest.count >= Self.fewReports, max(predicted, found) > 0 else { return nil }
        return Double(abs(predicted - found)) / Double(max(predicted, found))
    }

    var isOff: Bool { difference.map { $0 > Self.mostDifference } ?? false }
}
