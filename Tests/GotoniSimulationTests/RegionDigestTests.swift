import GotoniCore
import TestSupport
import Testing

@testable import GotoniSimulation

@Suite struct RegionDigestTests {
    private static func chain(_ chance: inout SplitMix64, _ blocks: Int) -> [UInt64] {
        (0..<blocks).map { _ in chance.next() }
    }

    /// What was inserted lately is promised in full, rounded down to marks, and of a longer prompt no less.
    @Test(arguments: Seeds.sequence(3)) func whatIsThereIsPromised(_ seed: UInt64) {
        var chance = SplitMix64(seed: seed)
        for every in [1, 3, 8] {
            var digest = RegionDigest(blocks: 20_000, every: every, bitsPerMark: 12)
            var chains: [[UInt64]] = []
            for _ in 0..<200 {
                chains.append(Self.chain(&chance, 1 + chance.next(below: 99)))
                digest.insert(chains[chains.count - 1])
            }
            for chain in chains {
                let marked = chain.count / every * every
                #expect(digest.match(chain) == marked, "seed \(seed)")
                #expect(digest.match(chain + Self.chain(&chance, 40)) >= marked, "seed \(seed)")
            }
        }
    }

    /// Of prompts that are not there few are promised: at 16 bits a mark, with both filters full, fewer than one in a hundred; at 4
    /// bits, as a control, most.
    @Test(arguments: Seeds.sequence(3)) func littleIsPromisedThatIsNotThere(_ seed: UInt64) {
        var chance = SplitMix64(seed: seed)
        func falseShare(bits: Double) -> Double {
            var digest = RegionDigest(blocks: 40_000, every: 4, bitsPerMark: bits)
            for _ in 0..<790 { digest.insert(Self.chain(&chance, 100)) }
            return Double((0..<2_000).count { _ in digest.match(Self.chain(&chance, 100)) > 0 }) / 2_000
        }
        #expect(falseShare(bits: 16) < 0.01, "seed \(seed)")
        #expect(falseShare(bits: 4) > 0.5, "seed \(seed)")
    }

    /// What was not used while the caches were filled twice is forgotten; what was used is not. Its bytes stay what they were.
    @Test(arguments: Seeds.sequence(3)) func whatIsNotUsedIsForgotten(_ seed: UInt64) {
        var chance = SplitMix64(seed: seed)
        var digest = RegionDigest(blocks: 8_000, every: 8, bitsPerMark: 16)
        let (left, used) = (Self.chain(&chance, 80), Self.chain(&chance, 80))
        digest.insert(left)
        let bytes = digest.filterBytes
        for _ in 0..<400 {
            digest.insert(Self.chain(&chance, 80))
            digest.insert(used)
        }
        #expect(digest.match(left) == 0, "seed \(seed)")
        #expect(digest.match(used) == 80, "seed \(seed)")
        #expect(digest.filterBytes == bytes)
    }
}
