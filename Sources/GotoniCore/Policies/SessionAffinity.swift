/// Rendezvous hashing of session and server: every session has its own order of all servers, so one that leaves moves
/// only its own sessions, and each to the next in that session's order (Thaler, Ravishankar, 1998).
enum SessionAffinity: Policy {
    static func choose(_ table: borrowing CandidateTable, _ chance: inout Chance) -> Choice {
        let session = table.sessionKey
        guard session != 0 else { return Choice(slot: LeastLoad.choose(table, &chance).slot, reason: .noSession) }
        return Choice(slot: table.smallest(&chance) { Key.mix(table.rows[$0].id.rawValue, session) })
    }
}
