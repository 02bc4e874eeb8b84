/// Fewest prompt tokens queued and running, then fewest requests.
enum LeastLoad: Policy {
    static func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice {
        Choice(row: table.smallest(&chance) { Lexicographic(first: 0, second: $0.load.tokens, third: $0.load.requests) })
    }
}
