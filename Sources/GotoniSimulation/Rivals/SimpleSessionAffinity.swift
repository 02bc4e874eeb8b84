import GotoniCore

/// GORGO's baseline `simple-session-affinity`: the hash of the first 256 token ids, modulo the number of servers.
/// Prompts that share 256 tokens of system prompt all go to one server, and a server that leaves moves almost
/// everybody.
///
/// Source: GORGO v2 and v3 (arXiv 2602.11688), its code. The hash is another.
struct SimpleSessionAffinity: RivalPolicy {
    var index: PrefixIndex { .bounded }

    private static let tokens = 256

    mutating func choose(_ rows: [Row], _ ask: Ask, _ chance: inout SplitMix64) -> Int? {
        rows.isEmpty ? nil : Int(Digest.of(ask.tokens.prefix(Self.tokens)) % UInt64(rows.count))
    }
}
