/// The less loaded of two drawn at random, by tokens and then requests (Mitzenmacher, 2001).
enum PowerOfTwo: Policy {
    static func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice {
        guard table.count > 1 else { return Choice(slot: table.eligible(0)) }
        let first = chance.draw(below: table.count)
        var second = chance.draw(below: table.count - 1)
        if second >= first { second += 1 }
        let (a, b) = (table.eligible(first), table.eligible(second))
        // Equal loads need no third draw: which of the two came first is chance already.
        return Choice(slot: LoadOrder(table.load(b)) < LoadOrder(table.load(a)) ? b : a)
    }
}
