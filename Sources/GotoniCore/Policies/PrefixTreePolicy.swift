/// Longest match, then least load. Without any match anywhere it is least-load, and says so.
enum PrefixTreePolicy: Policy {
    static func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice {
        let row = table.smallest(&chance) {
            Lexicographic(first: -Int64($0.matchedTokens), second: $0.load.tokens, third: $0.load.requests)
        }
        return Choice(row: row, reason: table[row].matchedTokens > 0 ? .policy : .noMatch)
    }
}
