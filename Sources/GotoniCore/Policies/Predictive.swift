/// Least predicted time: its own to the first token and to the last, and the delay of others, with their weights.
///
/// Of servers whose predictions differ by less than what is not known about them, it takes now one, now the other: each
/// prediction is drawn from within its doubt (Thompson 1933), so what is little known is tried, and a burst spreads.
enum Predictive: Policy {
    static func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice {
        let slot = table.cheapest(&chance)
        // The next decision draws anew.
        _ = chance.random.next()
        return Choice(slot: slot)
    }
}
