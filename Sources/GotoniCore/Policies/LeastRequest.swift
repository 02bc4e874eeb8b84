/// Fewest requests queued and running.
enum LeastRequest: Policy {
    static func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice {
        Choice(row: table.smallest(&chance) { $0.load.requests })
    }
}
