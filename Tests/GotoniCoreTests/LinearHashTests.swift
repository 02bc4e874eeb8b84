import TestSupport
import Testing

@testable import GotoniCore

@Suite struct LinearHashTests {
    /// Every item inserted and not removed is found, whatever the hashes; buckets follow the number of items.
    @Test func agreesWithADictionary() throws {
        for seed in Seeds.sequence(200) {
            var random = SplitMix64(seed: seed)
            var table = try LinearHash(capacity: 4_096)
            let links = try Buffer<UInt32>(count: 2_001)
            // Few distinct hashes on odd seeds: long chains.
            let hashes = (0...2_000).map { _ in seed % 2 == 0 ? random.next() : UInt64(random.next(below: 5)) }
            var present = Set<UInt32>()
            for _ in 0..<3_000 {
                let item = UInt32(random.pick(1...2_000))
                if present.contains(item) {
                    table.remove(item, hash: hashes[Int(item)], link: { links.base + Int($0) })
                    present.remove(item)
                } else {
                    table.insert(
                        item, hash: hashes[Int(item)], link: { links.base + Int($0) }, hashOf: { hashes[Int($0)] })
                    present.insert(item)
                }
            }
            var found = Set<UInt32>()
            for hash in Set(hashes) {
                var item = table.first(hash)
                while item != 0 {
                    found.insert(item)
                    item = links[Int(item)]
                }
            }
            #expect(found == present && table.items == present.count, "GOTONI_TEST_SEED=\(seed)")
        }
    }

    @Test func bucketsGrowOneAtATime() throws {
        var table = try LinearHash(capacity: 1_000)
        let links = try Buffer<UInt32>(count: 1_001)
        var before = table.buckets
        for item in UInt32(1)...1_000 {
            table.insert(item, hash: UInt64(item), link: { links.base + Int($0) }, hashOf: { UInt64($0) })
            #expect(table.buckets - before <= 1)
            before = table.buckets
        }
        #expect(before >= 990 && before <= 1_000)
    }
}
