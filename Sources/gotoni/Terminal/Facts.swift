/// Rows of names and what they are.
struct Facts {
    private var rows: [(String, String)] = []

    mutating func add(_ name: String, _ value: String) { rows.append((name, value)) }
    mutating func add(_ name: String, _ value: Int) { add(name, "\(value)") }

    var lines: [String] {
        let width = rows.map(\.0.count).max() ?? 0
        return rows.map { "\($0.0):".padding(to: max(width + 2, 22)) + $0.1 }
    }
}
