/// Fewest prompt tokens queued and running, then fewest requests.
enum LeastLoad: Policy {
    static func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice {
        Choice(slot: table.smallest(&chance) { LoadOrder(table.load($0)) })
    }
}
