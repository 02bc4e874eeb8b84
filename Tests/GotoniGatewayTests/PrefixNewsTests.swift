import GotoniCore
import NIOCore
import TestSupport
import Testing

@testable import GotoniGateway

/// What peers tell each other, as bytes.
@Suite struct PrefixNewsTests {
    /// Whatever is lost on the way: a peer gets every prompt once, in order, as it was, but those that it was away for too
    /// long to hear of.
    @Test(arguments: Seeds.sequence(300)) func everyPromptArrivesOnceAndWhole(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var log = PrefixLog()
        var memory = PrefixMemory()
        var said: [[UInt64]] = []
        /// Number of the first prompt that the log may still have, and what the listener has heard.
        var heard = 0
        for _ in 0..<random.pick(1...40) {
            for _ in 0..<random.pick(0...20) {
                let chain = Self.prompt(after: said, &random)
                log.add(chain)
                said.append(chain)
            }
            if random.chance(2) {
                // A restart: numbers begin anew, and the listener is told so by another incarnation.
                (log, memory, said, heard) = (PrefixLog(), PrefixMemory(), [], 0)
            }
            var bytes = ByteBuffer()
            log.write(from: memory.next, into: &bytes)
            if random.chance(30) { continue }
            let told = try memory.read(&bytes)
            // None but what has long been pushed out may be missing.
            let next = Int(try #require(memory.next))
            let first = next - told.count
            #expect(told.elementsEqual(said[first..<next]), "seed \(seed)")
            #expect(first == heard || (first > heard && Self.hasGone(said, before: first)), "seed \(seed)")
            heard = next
        }
        var bytes = ByteBuffer()
        log.write(from: memory.next, into: &bytes)
        _ = try memory.read(&bytes)
        #expect(memory.next == UInt64(said.count), "seed \(seed)")
    }

    /// A prompt that goes on from one before, or begins anew.
    private static func prompt(after said: [[UInt64]], _ random: inout SplitMix64) -> [UInt64] {
        var chain: [UInt64] = []
        if let base = said.last(where: { _ in random.chance(30) }) {
            chain = Array(base.prefix(random.pick(1...base.count)))
        }
        let fresh = random.chance(3) ? random.pick(1000...3000) : random.pick(1...40)
        for _ in 0..<fresh { chain.append(random.next() & PrefixNews.digestMask) }
        return Array(chain.prefix(PrefixNews.mostBlocks))
    }

    /// Whether those from `first` on fill what is remembered.
    private static func hasGone(_ said: [[UInt64]], before first: Int) -> Bool {
        let rest = said[(first - 1)...]
        return rest.count > PrefixNews.kept || rest.reduce(0) { $0 + $1.count } > PrefixNews.keptBlocks
    }

    @Test func aTurnCostsWhatIsNewInIt() throws {
        var log = PrefixLog()
        let first = (0..<2_000).map { UInt64($0) * 7_919 & PrefixNews.digestMask }
        log.add(first)
        var memory = PrefixMemory()
        var bytes = ByteBuffer()
        log.write(from: nil, into: &bytes)
        #expect(try memory.read(&bytes) == [first])
        log.add(first + [1, 2, 3])
        bytes.clear()
        log.write(from: memory.next, into: &bytes)
        #expect(bytes.readableBytes <= 10 + 1 + 2 + 1 + 3 * 6)
        #expect(try memory.read(&bytes) == [first + [1, 2, 3]])
    }

    /// Much news comes in several answers.
    @Test func longNewsAreTold() throws {
        var log = PrefixLog()
        var random = SplitMix64(seed: 1)
        for _ in 0..<20 { log.add((0..<4_000).map { _ in random.next() & PrefixNews.digestMask }) }
        var memory = PrefixMemory()
        var answers = 0
        while memory.next != log.next {
            var bytes = ByteBuffer()
            log.write(from: memory.next, into: &bytes)
            #expect(bytes.readableBytes <= PrefixNews.mostBytes + PrefixNews.mostBlocks * 6 + 64)
            _ = try memory.read(&bytes)
            answers += 1
        }
        #expect(answers == 2)
    }

    @Test func afterClearingOldNumbersSayNothing() throws {
        var log = PrefixLog()
        log.add([1, 2])
        var memory = PrefixMemory()
        var bytes = ByteBuffer()
        log.write(from: nil, into: &bytes)
        _ = try memory.read(&bytes)
        log.clear()
        log.add([1, 2, 3])
        bytes.clear()
        // It may ask as somebody who has all before, or as one who has nothing.
        log.write(from: nil, into: &bytes)
        #expect(try memory.read(&bytes) == [[1, 2, 3]])
    }

    /// Few bytes that stand for many blocks: nobody remembers so many.
    @Test func moreThanCanBeRememberedIsRefused() {
        var bytes = ByteBuffer()
        bytes.writeInteger(UInt64(0), endianness: .little)
        // Resets, and tells 100 prompts: the first of 4,000 blocks, the others all of it again.
        bytes.writeBytes([1, 100, 0, 0, 0xA0, 0x1F])
        bytes.writeRepeatingByte(7, count: 4_000 * 6)
        for _ in 1..<100 { bytes.writeBytes([1, 0xA0, 0x1F, 0]) }
        var memory = PrefixMemory()
        #expect(throws: MeshError.malformed) { try memory.read(&bytes) }
    }

    /// Bytes of a stranger: an error or news, in bounded memory, and after an error nothing is known.
    @Test(arguments: Seeds.sequence(2_000)) func anyBytesAreReadOrRefused(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var log = PrefixLog()
        for _ in 0..<random.pick(0...5) { log.add((0..<random.pick(1...9)).map { _ in random.next() & 0xFFFF }) }
        var bytes = ByteBuffer()
        log.write(from: nil, into: &bytes)
        var raw = Array(bytes.readableBytesView)
        for _ in 0..<random.pick(1...6) {
            switch random.pick(0...2) {
            case 0: raw[random.pick(0...raw.count - 1)] = UInt8(truncatingIfNeeded: random.next())
            case 1: raw.removeLast(min(raw.count - 1, random.pick(0...3)))
            default: raw.insert(UInt8(truncatingIfNeeded: random.next()), at: random.pick(0...raw.count))
            }
        }
        var memory = PrefixMemory()
        var changed = ByteBuffer(bytes: raw)
        do throws(MeshError) {
            let told = try memory.read(&changed)
            #expect(told.allSatisfy { (1...PrefixNews.mostBlocks).contains($0.count) }, "seed \(seed)")
        } catch {
            #expect((error == .malformed || error == .gap) && memory.next == nil, "seed \(seed)")
        }
    }

    @Test(arguments: Seeds.sequence(300)) func aReportIsReadAsWritten(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var report = NodeReport()
        report.incarnation = random.next()
        report.sequence = random.next()
        report.takesRequests = random.chance(50)
        report.blockTokens = random.pick(1...1024)
        report.limit = random.pick(0...1_000_000)
        report.queuedRequests = random.pick(0...1_000)
        report.runningRequests = random.pick(0...1_000)
        report.waitingRequests = random.pick(0...100_000)
        report.owedTokens = random.pick(0...1 << 38)
        report.runningTokens = random.pick(0...1 << 38)
        report.waitingTokens = random.pick(0...1 << 38)
        report.kvCapacityTokens = random.chance(50) ? random.pick(1...1 << 38) : nil
        var bytes = ByteBuffer()
        report.write(into: &bytes)
        #expect(bytes.readableBytes == NodeReport.bytes)
        bytes.writeString("news")
        let whole = bytes
        #expect(try NodeReport(from: &bytes) == report, "seed \(seed)")
        #expect(bytes.readableBytes == 4)
        for length in 0..<NodeReport.bytes {
            var part = try #require(whole.getSlice(at: 0, length: length))
            #expect(throws: MeshError.malformed) { try NodeReport(from: &part) }
        }
        var other = whole
        other.setInteger(NodeReport.version + 1, at: 0, as: UInt8.self)
        #expect(throws: MeshError.version(NodeReport.version + 1)) { try NodeReport(from: &other) }
    }
}
