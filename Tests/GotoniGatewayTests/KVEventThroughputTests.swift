import Foundation
import GotoniCore
import GotoniEngines
import TestSupport
import Testing

@testable import GotoniGateway

/// How many blocks a second go from messages into the router, on one core. `make bench-micro` runs it.
@Suite struct KVEventThroughputTests {
    static let isWanted = ProcessInfo.processInfo.environment["GOTONI_BENCH_KV_EVENTS"] == "1"
    static let least = 1_000_000.0
    static let blocks = 256_000
    static let blockTokens = 16

    /// Prompts of 64 blocks of 16 tokens: told as they come from prefill, all blocks in one event, and as they come from
    /// decoding, one block an event and 16 events a message; then evicted, 64 a message.
    @Test(.enabled(if: isWanted), arguments: [64, 1]) func aMillionBlocksASecond(_ perEvent: Int) throws {
        var best = (stored: 0.0, removed: 0.0)
        for _ in 0..<3 {
            let figures = try measure(perEvent)
            best = (max(best.stored, figures.stored), max(best.removed, figures.removed))
        }
        print(
            "KV events, blocks of 16 tokens, \(perEvent) an event: \(Int(best.stored)) stored and \(Int(best.removed)) "
                + "removed a second on one core")
        #expect(best.stored >= Self.least && best.removed >= Self.least)
    }

    private func measure(_ perEvent: Int) throws -> (stored: Double, removed: Double) {
        var configuration = Configuration()
        configuration.memoryBudgetBytes = 1 << 30
        let router = try SharedRouter(configuration)
        let server = ServerID(1)
        try router.withRouter { (router) throws(RouterError) in
            try router.add(ServerConfiguration(id: server, kvCapacityTokens: .max), now: Nanoseconds(1))
        }
        var intake = KVEventIntake(server, router, model: "m", adapterIsModel: false, hasReplay: false)
        let (stored, removed) = messages(perEvent)
        var number: UInt64 = 0
        func seconds(_ messages: [[UInt8]]) -> Double {
            let start = Clock.now()
            for message in messages {
                message.withUnsafeBytes { intake.live(number, $0, now: Nanoseconds(2)) }
                number += 1
            }
            return Clock.now().since(start).milliseconds / 1_000
        }
        let storing = seconds(stored)
        let held = try router.withRouter { (router) throws(RouterError) in
            try router.info(server, now: Nanoseconds(3)).heldTokens
        }
        #expect(held == UInt64(Self.blocks * Self.blockTokens) && intake.account.refused == 0)
        let removing = seconds(removed)
        let left = try router.withRouter { (router) throws(RouterError) in
            try router.info(server, now: Nanoseconds(3)).heldTokens
        }
        #expect(left == 0 && intake.stream.counts.applied == number)
        return (Double(Self.blocks) / storing, Double(Self.blocks) / removing)
    }

    private func messages(_ perEvent: Int) -> (stored: [[UInt8]], removed: [[UInt8]]) {
        var random = SplitMix64(seed: 1)
        let prompts = 64
        var (stored, removed): ([[UInt8]], [[UInt8]]) = ([], [])
        func message(_ events: [Packed], time: Int) -> [UInt8] {
            Packed.array([.float(Double(time)), .array(events), .number(0)]).bytes
        }
        for prompt in 0..<Self.blocks / prompts {
            let names = (0..<prompts).map { UInt64(bitPattern: Int64(-1 - prompt * prompts - $0)) }
            let events = stride(from: 0, to: prompts, by: perEvent).map { first -> Packed in
                .map([
                    ("type", .text("BlockStored")),
                    ("block_hashes", .array(names[first..<first + perEvent].map { .int(Int64(bitPattern: $0)) })),
                    ("parent_block_hash", first > 0 ? .int(Int64(bitPattern: names[first - 1])) : .null),
                    (
                        "token_ids",
                        .array(
                            (0..<perEvent * Self.blockTokens).map { _ in .number(UInt64(random.next(below: 151_936))) })
                    ), ("block_size", .number(UInt64(Self.blockTokens))), ("medium", .text("GPU")),
                ])
            }
            for first in stride(from: 0, to: events.count, by: 16) {
                stored.append(message(Array(events[first..<min(first + 16, events.count)]), time: stored.count))
            }
            removed.append(
                message(
                    [
                        .map([
                            ("type", .text("BlockRemoved")),
                            ("block_hashes", .array(names.reversed().map { .int(Int64(bitPattern: $0)) })),
                            ("medium", .text("GPU")),
                        ])
                    ], time: Self.blocks + prompt))
        }
        return (stored, removed)
    }
}
