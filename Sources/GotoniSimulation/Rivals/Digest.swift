import GotoniCore

/// Digests of what these routers hash, by SplitMix64 instead of the hash of each: any good one spreads alike.
enum Digest {
    static func mix(_ digest: UInt64, _ value: UInt64) -> UInt64 {
        var mix = SplitMix64(seed: digest ^ value)
        return mix.next()
    }

    static func of(_ tokens: some Sequence<UInt32>) -> UInt64 { tokens.reduce(0) { mix($0, UInt64($1)) } }

    /// Of every prefix of whole blocks, the shortest first.
    static func ofBlocks(_ tokens: [UInt32], blockTokens: Int) -> [UInt64] {
        var digest: UInt64 = 0
        return (0..<tokens.count / blockTokens).map { block in
            for token in tokens[block * blockTokens..<(block + 1) * blockTokens] { digest = mix(digest, UInt64(token)) }
            return digest
        }
    }
}
