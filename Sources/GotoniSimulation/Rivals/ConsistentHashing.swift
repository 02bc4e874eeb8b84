import GotoniCore

/// Consistent hashing with bounded loads, as KubeAI's `PrefixHash`: from the hash of the key on a ring with 256 points
/// per server, the first server that has at most 1.25 times the mean in flight, the request counted in the mean and not
/// in the server. If none passes, the first on the way.
///
/// Source: substratusai/kubeai 2f32ef4, internal/loadbalancer/balance_chwbl.go; after Mirrokni, Thorup, Zadimoghaddam,
/// SODA 2018. Its key is the first 100 characters: of a chat those of the first user message, behind the system prompt.
/// Our prompts do not say where that message begins, but it is the same in every turn of a conversation and seldom that
/// of another, so the key is the session (`key` 0). `key` 1 hashes the first 25 tokens of the prompt, as it does for
/// plain completions: with a system prompt that all share, that is one key for all.
struct ConsistentHashing: RivalPolicy {
    enum HashKey {
        case session
        case firstTokens
    }

    var load = 1.25
    var points = 256
    var key = HashKey.session
    var index: PrefixIndex { .bounded }

    /// Sorted. A server's points depend on nothing but itself.
    private var ring: [(position: UInt64, server: Int)] = []
    private var servers = 0

    private static let keyTokens = 25

    init() {}

    mutating func choose(_ rows: [Row], _ ask: Ask, _ chance: inout SplitMix64) -> Int? {
        extendRing(to: (rows.map(\.server).max() ?? -1) + 1)
        var rowOf: [Int?] = Array(repeating: nil, count: servers)
        for (place, row) in rows.enumerated() { rowOf[row.server] = place }
        let total = rows.reduce(0) { $0 + $1.inFlight }
        let limit = load * Double(total + 1) / Double(max(rows.count, 1))
        let start = firstPoint(atOrAfter: hash(ask))
        var first: Int?
        for step in ring.indices {
            guard let place = rowOf[ring[(start + step) % ring.count].server] else { continue }
            if total == 0 || Double(rows[place].inFlight) <= limit { return place }
            first = first ?? place
        }
        return first
    }

    private func hash(_ ask: Ask) -> UInt64 {
        switch key {
        case .session: Digest.mix(0, ask.session)
        case .firstTokens: Digest.of(ask.tokens.prefix(Self.keyTokens))
        }
    }

    /// Behind the last point comes the first again.
    private func firstPoint(atOrAfter position: UInt64) -> Int {
        var (low, high) = (0, ring.count)
        while low < high {
            let middle = (low + high) / 2
            if ring[middle].position < position { low = middle + 1 } else { high = middle }
        }
        return low < ring.count ? low : 0
    }

    private mutating func extendRing(to count: Int) {
        guard count > servers else { return }
        for server in servers..<count {
            let name = Digest.mix(0, UInt64(server))
            for point in 0..<points { ring.append((Digest.mix(name, UInt64(point)), server)) }
        }
        ring.sort { InOrder($0.position, $0.server) < InOrder($1.position, $1.server) }
        servers = count
    }
}
