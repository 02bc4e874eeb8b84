import Glibc
import GotoniCore

/// NVIDIA Dynamo's KV router: the lowest
///
///     overlap · max((prefill tokens in flight + prompt) / 16 - cached blocks, 0) + blocks in use with this prompt
///
/// Prefill tokens count as uncached from dispatch to the first token; blocks in use are the distinct whole blocks of
/// the prompts in flight there, to the end of the request. Temperature 0: equals at random; above: drawn with the
/// weight exp(-cost scaled to 0...1 / temperature). All load is its own account, nothing is probed.
///
/// Source: ai-dynamo/dynamo, lib/kv-router/src/scheduling/selector (2026), default cost and constants; the index is
/// that of KV events. `overlap` is what releases to 1.0 call overlap score weight, later ones prefill load scale. Left
/// out: caches on host and disk, and the queue that is off by default.
struct DynamoKV: RivalPolicy {
    var overlap = 1.0
    var temperature = 0.0
    var index: PrefixIndex { .events }

    /// Requests in flight that use a block, by server and digest; no more than the router has in flight.
    private var uses: [[UInt64: Int]] = []
    private var blocks: [UInt64: [UInt64]] = [:]

    init() {}

    mutating func choose(_ rows: [Row], _ ask: Ask, _ chance: inout SplitMix64) -> Int? {
        let prompt = Digest.ofBlocks(ask.tokens, blockTokens: PrefixIndex.blockTokens)
        let costs = rows.map { cost($0, prompt) }
        guard temperature > 0, let least = costs.min(), let most = costs.max(), most > least else {
            return costs.smallest(&chance) { $0 }
        }
        let weights = costs.map { exp(-($0 - least) / (most - least) / temperature) }
        var draw = chance.uniform() * weights.reduce(0, +)
        for (row, weight) in weights.enumerated() {
            draw -= weight
            if draw <= 0 { return row }
        }
        return costs.indices.last
    }

    private func cost(_ row: Row, _ prompt: [UInt64]) -> Double {
        let size = Double(PrefixIndex.blockTokens)
        let toPrefill = Double(Int(row.own.owedTokens) + row.promptTokens) / size - Double(row.matchedTokens) / size
        let used = uses.indices.contains(row.server) ? uses[row.server] : [:]
        let shared = prompt.prefix { used[$0] != nil }.count
        return overlap * max(toPrefill, 0) + Double(used.count + prompt.count - shared)
    }

    mutating func placed(_ placement: Balancer.Placement, _ tokens: [UInt32], now: Nanoseconds) {
        let prompt = Digest.ofBlocks(tokens, blockTokens: PrefixIndex.blockTokens)
        while uses.count <= placement.server { uses.append([:]) }
        for block in prompt { uses[placement.server][block, default: 0] += 1 }
        blocks[placement.ticket.rawValue] = prompt
    }

    mutating func ended(_ placement: Balancer.Placement, now: Nanoseconds) {
        for block in blocks.removeValue(forKey: placement.ticket.rawValue) ?? [] {
            let left = (uses[placement.server][block] ?? 1) - 1
            uses[placement.server][block] = left > 0 ? left : nil
        }
    }
}
