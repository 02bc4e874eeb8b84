/// The less loaded of two drawn at random, by tokens and then requests (Mitzenmacher, 2001).
enum PowerOfTwo: Policy {
    static func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice {
        guard table.count > 1 else { return Choice(row: 0) }
        let first = chance.draw(below: table.count)
        var second = chance.draw(below: table.count - 1)
        if second >= first { second += 1 }
        let (a, b) = (table[first].load, table[second].load)
        // Equal loads need no third draw: which of the two came first is chance already.
        let firstWins = a.tokens != b.tokens ? a.tokens < b.tokens : a.requests <= b.requests
        return Choice(row: firstWins ? first : second)
    }
}
