import GotoniCore
import NIOCore
import TestSupport
import Testing

@testable import GotoniGateway

/// What proxies tell each other, as bytes, and what they make of it.
@Suite struct SharingTests {
    // MARK: Prompts

    /// However messages are lost: what a proxy understands was told, whole and with its server; after two seconds without a loss
    /// it understands everything again; and who misses nothing has everything.
    @Test(arguments: Seeds.sequence(200)) func promptsArriveWholeAndGapsHeal(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let losesSome = random.chance(50)
        var log = SiblingLog()
        var memory = SiblingMemory()
        var now = Nanoseconds(milliseconds: 0)
        var lastLoss: Nanoseconds?
        var said: [ToldPrompt] = []
        var heard: [ToldPrompt] = []
        for turn in 0..<60 {
            var told: [ToldPrompt] = []
            for _ in 0..<random.pick(0...6) {
                let base = said.isEmpty ? [] : said[random.pick(0...said.count - 1)].chain
                var chain = Array(base.prefix(random.pick(0...max(base.count, 1))))
                for _ in 0..<random.pick(1...30) { chain.append(random.next() & PrefixNews.digestMask) }
                told.append(ToldPrompt(server: random.next() % 5, chain: chain))
            }
            for prompt in told { log.add(prompt, now: now) }
            said += told
            now = now.plus(Nanoseconds(milliseconds: Double(random.pick(1...200))))
            guard log.hasNews else { continue }
            var bytes = ByteBuffer()
            let written = log.write(of: 7, blockTokens: 16, into: &bytes)
            #expect(written.prompts == told.count, "seed \(seed), turn \(turn)")
            #expect(written.blocks == told.reduce(0) { $0 + $1.chain.count }, "seed \(seed), turn \(turn)")
            #expect(SiblingPrompts.proxy(of: bytes) == 7)
            if losesSome, random.chance(20) {
                lastLoss = now
                continue
            }
            do throws(MeshError) {
                guard case .prompts(let prompts, let blockTokens) = try memory.read(&bytes) else {
                    Issue.record("these are prompts, seed \(seed)")
                    return
                }
                #expect(prompts == told && blockTokens == 16, "seed \(seed), turn \(turn)")
                heard += prompts
            } catch {
                #expect(error == .gap, "seed \(seed), turn \(turn)")
                let since = lastLoss.map { now.since($0) } ?? now
                #expect(
                    since < SiblingPrompts.renewal.plus(Nanoseconds(milliseconds: 400)), "seed \(seed), turn \(turn)")
            }
        }
        if lastLoss == nil { #expect(heard == said, "seed \(seed)") }
    }

    /// Faster than it can be told: the last ones are, the others are counted.
    @Test func whatComesTooFastIsCounted() throws {
        var log = SiblingLog()
        let count = PrefixNews.kept + 50
        for number in 0..<count {
            log.add(ToldPrompt(server: 1, chain: [UInt64(number)]), now: Nanoseconds(milliseconds: 1))
        }
        var bytes = ByteBuffer()
        #expect(log.write(of: 1, blockTokens: 16, into: &bytes).prompts == PrefixNews.kept)
        #expect(log.lost == 50 && !log.hasNews)
        var memory = SiblingMemory()
        guard case .prompts(let prompts, _) = try memory.read(&bytes) else { throw MeshError.malformed }
        #expect(prompts.map(\.chain) == (50..<count).map { [UInt64($0)] })
    }

    @Test(arguments: Seeds.sequence(300)) func noMessageTrapsOrGrows(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var log = SiblingLog()
        for _ in 0..<20 {
            log.add(ToldPrompt(server: random.next(), chain: [random.next() >> 16]), now: Nanoseconds(milliseconds: 1))
        }
        var whole = ByteBuffer()
        _ = log.write(of: random.next(), blockTokens: 16, into: &whole)
        var loads = SiblingLoads(proxy: 3)
        for _ in 0..<5 { loads.loads[random.next()] = Self.load(queued: random.next() % 9, owed: 2) }
        if random.chance(50) { loads.write(into: &whole) }
        for _ in 0..<random.pick(1...4) {
            whole.setInteger(UInt8(truncatingIfNeeded: random.next()), at: random.pick(0...whole.writerIndex - 1))
        }
        whole.moveWriterIndex(to: random.pick(0...whole.writerIndex))
        var (memory, siblings) = (SiblingMemory(), Siblings())
        var copy = whole
        if case .prompts(let prompts, _)? = try? memory.read(&copy) { #expect(prompts.count <= PrefixNews.kept) }
        copy = whole
        if let found = try? SiblingLoads(from: &copy) { #expect(found.loads.count <= SiblingLoads.mostServers) }
        copy = whole
        let now = Nanoseconds(milliseconds: 1)
        _ = try? siblings.hear(loads: &copy, now: now)
        #expect(siblings.loads(now: now).values.allSatisfy { $0.owedTokens <= $0.queuedTokens })
    }

    @Test func thatAServerWasEmptiedIsTold() throws {
        var memory = SiblingMemory()
        for (key, expected) in [(UInt64(5), UInt64?(5)), (0, nil)] {
            var bytes = SiblingPrompts.emptied(key, by: 9)
            #expect(SiblingPrompts.proxy(of: bytes) == 9)
            #expect(try memory.read(&bytes) == .emptied(expected))
        }
    }

    /// Two proxies tell each other almost at once; however many there are, nobody hears over a thousand messages of one kind a
    /// second, or what is told is a twentieth of one old.
    @Test func theMoreProxiesTheLaterTheyTell() {
        #expect(Siblings.interval(siblings: 1).milliseconds == 2)
        var before = Nanoseconds(0)
        for siblings in 0...Siblings.most {
            let interval = Siblings.interval(siblings: siblings)
            #expect(before <= interval && interval <= Siblings.longestInterval)
            let heard = Double(siblings) * 1_000 / interval.milliseconds
            #expect(heard <= 1_000 || interval == Siblings.longestInterval, "\(siblings) siblings")
            before = interval
        }
    }

    // MARK: Loads

    private static func load(queued: UInt64, owed: UInt64) -> Load {
        var load = Load()
        (load.queuedRequests, load.runningRequests) = (queued, 4)
        (load.queuedTokens, load.owedTokens, load.runningTokens) = (queued * 100 + owed, owed, 400)
        return load
    }

    private static func message(_ proxy: UInt64, leaves: Bool = false, _ loads: [UInt64: Load] = [:]) -> ByteBuffer {
        var told = SiblingLoads(proxy: proxy)
        (told.loads, told.isLeaving) = (loads, leaves)
        var bytes = ByteBuffer()
        told.write(into: &bytes)
        return bytes
    }

    @Test func loadsAreReadAsTheyWereWritten() throws {
        var told = SiblingLoads(proxy: .max)
        told.loads = [1: Self.load(queued: 3, owed: 50), .max: Self.load(queued: 0, owed: 0)]
        var bytes = ByteBuffer()
        told.write(into: &bytes)
        #expect(try SiblingLoads(from: &bytes) == told)
    }

    /// In full while it is fresh, less when its proxy is late, not at all when it is silent or has left.
    @Test func loadsAddUpAndAge() throws {
        var siblings = Siblings()
        let start = Nanoseconds(milliseconds: 10_000)
        var (first, second) = (
            Self.message(1, [5: Self.load(queued: 10, owed: 0)]), Self.message(2, [5: Self.load(queued: 2, owed: 0)])
        )
        #expect(try siblings.hear(loads: &first, now: start) == [5])
        #expect(try siblings.hear(loads: &second, now: start) == [5])
        func queued(after milliseconds: Double) -> UInt64 {
            siblings.loads(now: start.plus(Nanoseconds(milliseconds: milliseconds)))[5]?.queuedRequests ?? 0
        }
        #expect(queued(after: 0) == 12 && queued(after: 1_500) == 12)
        #expect(queued(after: 2_750) == 6 && queued(after: 4_000) == 0)
        #expect(siblings.count(now: start) == 2 && siblings.count(now: start.plus(Siblings.silent)) == 0)
        var leaving = Self.message(1, leaves: true)
        #expect(try siblings.hear(loads: &leaving, now: start) == [5])
        #expect(queued(after: 0) == 2 && siblings.count(now: start) == 1)
        siblings.forget(now: start.plus(Siblings.gone))
        #expect(siblings == Siblings())
    }

    /// Whatever changes, and whether it is told whole or not: what is held is what was told, and the servers where it has changed
    /// are named.
    @Test(arguments: Seeds.sequence(50)) func changesAddUpToTheWhole(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var siblings = Siblings()
        var told: [UInt64: Load] = [:]
        let now = Nanoseconds(milliseconds: 1)
        for turn in 0..<40 {
            var loads = told
            for _ in 0..<random.pick(0...4) {
                let key = UInt64(random.pick(1...6))
                loads[key] = random.chance(30) ? nil : Self.load(queued: UInt64(random.pick(0...9)), owed: 0)
            }
            var message = SiblingLoads(proxy: 7, changing: told, into: loads)
            if turn == 0 || random.chance(20) { message = SiblingLoads(proxy: 7, loads) }
            var bytes = ByteBuffer()
            message.write(into: &bytes)
            let named = Set(try siblings.hear(loads: &bytes, now: now))
            for key in UInt64(1)...6 {
                #expect(siblings.loads(at: [key], now: now)[key] == loads[key], "seed \(seed), turn \(turn)")
                #expect(named.contains(key) || told[key] == loads[key], "seed \(seed), turn \(turn)")
            }
            #expect(siblings.loads(now: now) == loads, "seed \(seed), turn \(turn)")
            told = loads
        }
    }

    @Test func thereAreNeverTooManySiblings() throws {
        var siblings = Siblings()
        for proxy in 0..<UInt64(Siblings.most + 100) {
            var bytes = Self.message(proxy, [5: Self.load(queued: 1, owed: 0)])
            _ = try siblings.hear(loads: &bytes, now: Nanoseconds(milliseconds: 1))
        }
        #expect(siblings.count(now: Nanoseconds(milliseconds: 1)) == Siblings.most)
    }

    // MARK: Names

    @Test(arguments: ["a", "gpu-1_x", "10.0.0.2:30000", "b.2", "=", "%/\\\"~", "A!z"])
    func anyServerHasAKey(name: String) {
        let key = SharedKey.server(name)
        #expect(key.dropFirst("servers.".count).allSatisfy { $0.isLetter || $0.isNumber || "-_=".contains($0) })
        #expect(SharedKey.server(ofKey: key) == name)
    }

    @Test(arguments: ["policy", "servers.=", "servers.=g0", "servers.=ff", "server.a"]) func otherKeysAreNone(
        key: String
    ) {
        #expect(SharedKey.server(ofKey: key) == nil)
    }

    @Test func addressesOfNATSAreReadAndSecretsNotShown() throws {
        let sharing = try #require(SharingConfiguration(url: "nats://me:p@ss@10.0.0.1:4222,tls://b"))
        #expect(sharing.servers == "nats://10.0.0.1:4222,tls://b")
        for wrong in ["", "nats://", "10.0.0.1", "http://a", "nats://a,", "nats://a b"] {
            #expect(SharingConfiguration(url: wrong) == nil, "\(wrong)")
        }
        #expect(SharingConfiguration.isGroup("eu_west-1") && !SharingConfiguration.isGroup("a.b"))
        #expect(!SharingConfiguration.isGroup("") && !SharingConfiguration.isGroup(String(repeating: "a", count: 33)))
    }
}
