import ArgumentParser
import Foundation
import GotoniCore
import GotoniSimulation

/// `gotoni bench-digest`: what a region's digest costs, measured; for docs/scale.md.
struct BenchDigest: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure digests of what a region caches: bytes, false promises, nanoseconds.",
        discussion: """
            Fills a digest with prompts until both of its filters are full, then asks it for prompts that it has, that it never \
            had, and that continue ones that it has. A false promise is one mark of an absent prompt and more.
            """,
        shouldDisplay: false)

    @Option(help: "Blocks of 16 tokens that the region's caches hold.")
    var blocks = 10_000_000

    @Option(help: "Blocks of a prompt.")
    var promptBlocks = 500

    @Option(help: "One mark for so many blocks; several with commas.")
    var every = "1,8"

    @Option(help: "Bits of a mark; several with commas.")
    var bits = "8,12,16"

    @Option(help: "Prompts asked for, of each kind.")
    var questions = 200_000

    @Option(help: "Everything drawn is drawn from this.")
    var seed: UInt64 = 1

    @Flag(help: "JSON instead of a table.")
    var json = false

    struct Row: Encodable {
        var every: Int
        var bits: Double
        var blocks: Int
        var bytesPerBlock: Double
        var falseOfNew: Double
        var falseOfContinued: Double
        var nsPerLookup: Double
        var nsPerPrompt: Double
    }

    func validate() throws {
        guard (1_000...1_000_000_000).contains(blocks), (2...65_536).contains(promptBlocks),
            (1_000...10_000_000).contains(questions)
        else {
            throw ValidationError(
                "--blocks must be 1,000 to 1,000,000,000, --prompt-blocks 2 to 65,536, --questions 1,000 to 10,000,000."
            )
        }
        _ = try cells()
    }

    private func cells() throws -> [(every: Int, bits: Double)] {
        let marks = every.split(separator: ",").compactMap { Int($0) }.filter { (1...1_024).contains($0) }
        let sizes = bits.split(separator: ",").compactMap { Double($0) }.filter { (1...64).contains($0) }
        guard !marks.isEmpty, marks.count == every.split(separator: ",").count, !sizes.isEmpty,
            sizes.count == bits.split(separator: ",").count
        else { throw ValidationError("--every must be numbers from 1 to 1,024, --bits from 1 to 64.") }
        return marks.flatMap { mark in sizes.map { (mark, $0) } }
    }

    func run() throws {
        let rows = try cells().map { measure(every: $0.every, bits: $0.bits) }
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            encoder.keyEncodingStrategy = .convertToSnakeCase
            return print(String(decoding: try encoder.encode(rows), as: UTF8.self))
        }
        var table = TextTable(["every", "bits", "bytes", "false, new", "continued", "lookup", "insert"])
        table.units = ["blocks", "a mark", "a block", "%", "%", "ns", "ns a prompt"]
        for row in rows {
            table.add([
                "\(row.every)", row.bits.text(0), row.bytesPerBlock.text(3), (100 * row.falseOfNew).text(3),
                (100 * row.falseOfContinued).text(3), row.nsPerLookup.text(0), row.nsPerPrompt.text(0),
            ])
        }
        print(table.lines.joined(separator: "\n"))
    }

    private func measure(every: Int, bits: Double) -> Row {
        var digest = RegionDigest(blocks: blocks, every: every, bitsPerMark: bits)
        // Twice what the caches hold, less a little: neither filter is ever fuller.
        let prompts = max((2 * blocks - blocks / 100) / promptBlocks, 1)
        var spent = 0.0
        for prompt in 0..<prompts {
            let chain = chain(UInt64(prompt))
            spent += Self.seconds { digest.insert(chain) }
        }
        let first = UInt64(prompts / 2)
        func promises(_ chain: (UInt64) -> (blocks: [UInt64], held: Int)) -> (false: Double, seconds: Double) {
            var (count, seconds) = (0, 0.0)
            for question in 0..<questions {
                let asked = chain(UInt64(question))
                var found = 0
                seconds += Self.seconds { found = digest.match(asked.blocks) }
                if found > asked.held { count += 1 }
            }
            return (Double(count) / Double(questions), seconds)
        }
        let new = promises { (self.chain(1 << 40 | $0), 0) }
        let half = promptBlocks / 2
        let continued = promises { question in
            let held = self.chain(first + question % first)
            return (held.prefix(half) + self.chain(1 << 41 | question).suffix(promptBlocks - half), half)
        }
        return Row(
            every: every, bits: bits, blocks: blocks,
            bytesPerBlock: 2 * Double(digest.filterBytes) / Double(blocks), falseOfNew: new.false,
            falseOfContinued: continued.false, nsPerLookup: 1e9 * continued.seconds / Double(questions),
            nsPerPrompt: 1e9 * spent / Double(prompts))
    }

    /// Digests of the blocks of prompt `number`, all different.
    private func chain(_ number: UInt64) -> [UInt64] {
        // Neighbouring seeds give shifted sequences; those of mixed ones have nothing in common.
        var start = SplitMix64(seed: seed ^ number)
        var mix = SplitMix64(seed: start.next())
        return (0..<promptBlocks).map { _ in mix.next() }
    }

    private static func seconds(_ work: () -> Void) -> Double {
        let began = DispatchTime.now().uptimeNanoseconds
        work()
        return Double(DispatchTime.now().uptimeNanoseconds - began) / 1e9
    }
}
