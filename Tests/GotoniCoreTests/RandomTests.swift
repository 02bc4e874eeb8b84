import Testing

@testable import GotoniCore

@Suite struct RandomTests {
    /// The vector published with the reference implementation (prng.di.unimi.it, seed 1234567).
    @Test func splitMixHasItsPublishedValues() {
        var random = SplitMix64(seed: 1_234_567)
        let expected: [UInt64] = [
            6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
            4_593_380_528_125_082_431, 16_408_922_859_458_223_821,
        ]
        #expect(expected.allSatisfy { random.next() == $0 })
    }

    @Test func drawsAreBelowTheBoundAndEven() {
        var random = SplitMix64(seed: 1)
        var counts = [Int](repeating: 0, count: 7)
        for _ in 0..<70_000 { counts[random.next(below: 7)] += 1 }
        #expect(counts.allSatisfy { (9_500...10_500).contains($0) })
    }
}
