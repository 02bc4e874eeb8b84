import GotoniCore
import TestSupport
import Testing

@testable import GotoniTokenizer

@Suite struct SectionCacheTests {
    /// Against a list in the order of use: the same texts are there, within the budget, whatever was put in and found.
    @Test(arguments: Seeds.sequence(30)) func forgetsWhatWasUsedLongestAgo(seed: UInt64) throws {
        let budget = 4_000
        let cache = try PlainSectionCache(budget: budget, entries: 16)
        var model: [(text: [UInt8], ids: [UInt32])] = []
        var random = SplitMix64(seed: seed)
        func bytes(_ entry: (text: [UInt8], ids: [UInt32])) -> Int {
            (entry.text.count + 3) / 4 * 4 + entry.ids.count * 4
        }
        for _ in 0..<600 {
            let text = [UInt8](repeating: UInt8(random.pick(0...40)), count: random.pick(1...3) * 50)
            // Few different ones, so that texts collide.
            let hash = UInt64(text[0] % 5)
            let found = try cache.find(text, hash)
            let index = model.firstIndex { $0.text == text }
            #expect(found == index.map { model[$0].ids }, "seed \(seed)")
            if let index {
                model.append(model.remove(at: index))
            } else {
                let ids = (0..<random.pick(0...20)).map { UInt32($0) + UInt32(text[0]) }
                cache.insert(text, hash, ids)
                while model.reduce(0, { $0 + bytes($1) }) + bytes((text, ids)) > budget || model.count == 16 {
                    model.removeFirst()
                }
                model.append((text, ids))
            }
            #expect(cache.count == model.count && cache.bytes == model.reduce(0) { $0 + bytes($1) }, "seed \(seed)")
            #expect(cache.bytes <= budget)
        }
        #expect(cache.hits > 0 && cache.misses > 0)
    }

    @Test func oneTextDoesNotDriveOutAllOthers() throws {
        let cache = try PlainSectionCache(budget: 1_000, entries: 4)
        cache.insert([UInt8](repeating: 1, count: 200), 1, [])
        #expect(cache.count == 0)
    }
}
