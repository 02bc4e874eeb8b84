/// Columns that line up: the first to the left, the others to the right.
struct TextTable {
    private let heading: [String]
    var units: [String] = []
    private var rows: [[String]] = []

    init(_ heading: [String]) { self.heading = heading }

    mutating func add(_ row: [String]) { rows.append(row) }

    var lines: [String] {
        let all = [heading] + (units.isEmpty ? [] : [units]) + rows
        let widths = heading.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        return all.map { row in
            row.indices.map { column in
                column == 0
                    ? row[column].padding(to: widths[column]) : row[column].padding(to: widths[column], left: true)
            }
            .joined(separator: "  ")
        }
    }
}
