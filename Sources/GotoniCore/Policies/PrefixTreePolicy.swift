/// Longest match, then least load. Without any match anywhere it is least-load, and says so.
enum PrefixTreePolicy: Policy {
    static func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice {
        let slot = table.smallest(&chance) { LoadOrder(table.load($0), after: -Int64(table.matched[$0])) }
        return Choice(slot: slot, reason: table.matched[slot] > 0 ? .policy : .noMatch)
    }
}
