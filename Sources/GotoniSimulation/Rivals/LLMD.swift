import GotoniCore

/// The endpoint picker of llm-d and of the Gateway API inference extension, default profile: the highest
///
///     3 · share of the prompt matched + 2 · (most waiting - waiting) / (most - least waiting) + 2 · (1 - KV usage)
///
/// at random among equals. The share is of the first 256 blocks of 64 characters, that is 4,096 tokens; with equal
/// queues the second term is 2. Waiting requests and KV usage are what engines last reported; requests it has just sent
/// itself are not counted, so between two reports the same server stays the best.
///
/// Source: llm-d/llm-d-inference-scheduler 520af478 (May 2026), pkg/epp/config/loader/defaults.go; the inference
/// extension 1.3 has the same weights in its chart. Simplified: engines are asked every 50 ms there, here at the
/// scenario's interval; an incomplete last block never matches (as in the extension, llm-d hashes it too); its index
/// forgets the beginning of a prompt first, ours the end.
struct LLMD: RivalPolicy {
    var prefix = 3.0
    var queue = 2.0
    var kv = 2.0
    var index: PrefixIndex { .bounded }

    private static let blockTokens = 16
    private static let mostBlocks = 256

    mutating func choose(_ rows: [Row], _ ask: Ask, _ chance: inout SplitMix64) -> Int? {
        let waiting = rows.map { Double($0.reported.waiting) }
        guard let least = waiting.min(), let most = waiting.max() else { return nil }
        let scores = zip(rows, waiting).map { row, waiting in
            prefix * Self.matchedShare(row) + queue * (most > least ? (most - waiting) / (most - least) : 1)
                + kv * (1 - Self.usage(row))
        }
        return scores.smallest(&chance) { -$0 }
    }

    private static func matchedShare(_ row: Row) -> Double {
        let blocks = min(row.promptTokens / blockTokens, mostBlocks)
        return blocks > 0 ? Double(min(row.matchedTokens / blockTokens, blocks)) / Double(blocks) : 0
    }

    private static func usage(_ row: Row) -> Double {
        min(Double(row.reported.usedTokens) / Double(max(row.reported.kvTokens, 1)), 1)
    }
}
