/// Eligible servers in turn.
enum RoundRobin: Policy {
    static func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice {
        defer { chance.turn &+= 1 }
        return Choice(slot: table.eligible(Int(chance.turn % UInt64(table.count))))
    }
}
