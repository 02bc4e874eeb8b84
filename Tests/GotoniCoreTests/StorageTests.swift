import TestSupport
import Testing

@testable import GotoniCore

/// The types behind which unsafe memory lies.
@Suite struct StorageTests {
    @Test func aBufferIsZeroedAndKeepsItsContentWhenItGrows() throws {
        var buffer = try Buffer<UInt64>(count: 3)
        #expect((0..<3).allSatisfy { buffer[$0] == 0 })
        for index in 0..<3 { buffer[index] = UInt64(index) + 7 }
        try buffer.grow(to: 1_000)
        #expect(buffer.count >= 1_000)
        #expect((0..<3).allSatisfy { buffer[$0] == UInt64($0) + 7 })
        #expect((3..<buffer.count).allSatisfy { buffer[$0] == 0 })
        let count = buffer.count
        try buffer.grow(to: 5)
        #expect(buffer.count == count)
        buffer.fill(2, with: 9)
        #expect(buffer[0] == 9 && buffer[1] == 9 && buffer[2] == 2 + 7)
    }

    /// Ten digests and a link share a cell without touching each other.
    @Test func digestsAndLinkOfACellAreIndependent() throws {
        let cells = try Cells(count: 4)
        defer { cells.deallocate() }
        var random = SplitMix64(seed: 1)
        var expected = [UInt64](repeating: 0, count: Cells.digestsPerCell)
        var link: UInt32 = 0
        for _ in 0..<1_000 {
            if random.chance(10) {
                link = UInt32(truncatingIfNeeded: random.next())
                cells.setNext(2, link)
            } else {
                let position = random.next(below: Cells.digestsPerCell)
                let digest = random.next()
                cells.setDigest(2, position, digest)
                expected[position] = digest & Cells.digestMask
            }
            #expect(
                (0..<Cells.digestsPerCell).allSatisfy { cells.digest(2, $0) == expected[$0] } && cells.next(2) == link)
        }
    }

    /// A run reads back as it was written, from every place in it, and compares like arrays do.
    @Test func runsReadAndCompareLikeArrays() throws {
        for seed in Seeds.sequence(2_000) {
            var random = SplitMix64(seed: seed)
            let trie = try TrieUnderTest(blockTokens: 1, servers: 1)
            let digests = (0..<random.pick(1...45)).map { _ in random.next() & Cells.digestMask }
            let run = digests.withUnsafeBufferPointer { trie.trie.makeRun($0.baseAddress!, digests.count) }
            let start = random.next(below: digests.count)
            var other = Array(digests[start...])
            let differs = random.chance(70) ? random.next(below: other.count) : other.count
            if differs < other.count { other[differs] ^= 1 << 47 }
            var cursor = RunCursor(trie.trie.cells, run)
            cursor.skip(start)
            var copy = [UInt64](repeating: 0, count: other.count)
            copy.withUnsafeMutableBufferPointer { cursor.copy($0.count, to: $0.baseAddress!) }
            let common = other.withUnsafeBufferPointer { cursor.commonPrefix($0.baseAddress!, $0.count) }
            if copy != Array(digests[start...]) || common != differs {
                Issue.record("GOTONI_TEST_SEED=\(seed): \(common) in common, expected \(differs)")
                return
            }
        }
    }

    @Test func whatIsLargerThanMemoryIsAnErrorAndNotACrash() {
        // A use that the optimizer cannot leave out: it would leave out the memory as well.
        #expect(throws: RouterError.memory) {
            let buffer = try Buffer<UInt64>(count: 1 << 58)
            buffer[buffer.count - 1] = UInt64(buffer.count)
            Issue.record("there is memory at \(buffer.base)")
        }
    }

    @Test func sortingPutsParallelArraysInOrder() {
        for seed in Seeds.sequence(500) {
            var random = SplitMix64(seed: seed)
            var keys = (0..<random.next(below: 60)).map { _ in random.next(below: 20) }
            var values = keys.map { $0 * 3 }
            let expected = keys.sorted()
            heapSort(
                keys.count, precedes: { keys[$0] < keys[$1] },
                swap: {
                    keys.swapAt($0, $1)
                    values.swapAt($0, $1)
                })
            #expect(keys == expected && values == expected.map { $0 * 3 }, "GOTONI_TEST_SEED=\(seed)")
        }
    }
}
