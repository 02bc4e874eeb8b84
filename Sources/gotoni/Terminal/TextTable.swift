/// Columns that line up: words to the left, numbers to the right.
struct TextTable {
    private let heading: [String]
    /// So many have words, the others numbers.
    private let leading: Int
    var units: [String] = []
    private var rows: [[String]] = []

    init(_ heading: [String], leading: Int = 1) { (self.heading, self.leading) = (heading, leading) }

    mutating func add(_ row: [String]) { rows.append(row) }

    var lines: [String] {
        let all = [heading] + (units.isEmpty ? [] : [units]) + rows
        let widths = heading.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        return all.map { row in
            let cells = row.indices.map { column in
                row[column].padding(to: widths[column], left: column >= leading)
            }
            // Nothing behind a word at the end.
            return String(cells.joined(separator: "  ").reversed().drop { $0 == " " }.reversed())
        }
    }
}
