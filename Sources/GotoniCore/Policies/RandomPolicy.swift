/// Every eligible server with the same chance.
enum RandomPolicy: Policy {
    static func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice {
        Choice(row: table.count > 1 ? chance.draw(below: table.count) : 0)
    }
}
