/// Every eligible server with the same chance.
enum RandomPolicy: Policy {
    static func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice {
        Choice(slot: table.eligible(table.count > 1 ? chance.draw(below: table.count) : 0))
    }
}
