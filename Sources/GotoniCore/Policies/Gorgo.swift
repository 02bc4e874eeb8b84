/// Lowest GORGO cost.
enum Gorgo: Policy {
    static func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice {
        Choice(slot: table.cheapest(&chance))
    }
}
