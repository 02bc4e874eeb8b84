/// Fewest requests queued and running.
enum LeastRequest: Policy {
    static func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice {
        Choice(slot: table.smallest(&chance) { table.load($0).requests })
    }
}
