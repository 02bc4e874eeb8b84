/// Lowest GORGO cost.
enum Gorgo: Policy {
    static func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice {
        Choice(row: table.smallest(&chance) { $0.cost.total })
    }
}
