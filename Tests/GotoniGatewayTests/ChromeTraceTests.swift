import FoundationEssentials
import GotoniCore
import NIOCore
import TestSupport
import Testing

@testable import GotoniGateway

/// The file that a trace becomes.
@Suite struct ChromeTraceTests {
    private struct File: Decodable {
        struct Event: Decodable {
            var ph: String
            var name: String
            var pid: Int
            var tid: Int?
            var ts: Double?
            var dur: Double?
            var id: UInt64?
            var id2: [String: String]?
        }
        struct Other: Decodable {
            var requests: Int
            var dropped_requests: Int
            var slices: Int
            var flow_starts: Int
            var flow_ends: Int
        }
        var traceEvents: [Event]
        var otherData: Other
    }

    private func read(_ session: TraceLog.Session) throws -> File {
        let text = ChromeTrace.text(session, node: "a \"node\"")
        return try JSONDecoder().decode(File.self, from: Data(text.readableBytesView))
    }

    private func server(_ name: String, _ role: Server.Role) throws -> Server {
        Server(
            id: ServerID(1), name: name, url: try #require(ServerURL("http://127.0.0.1:1")), tls: nil, limit: 1,
            role: role)
    }

    /// Any requests, with waits, retries and forwards: every slice lies within its track's others or beside them, spans and
    /// arrows are whole, and the counts at the end are those of the events.
    @Test(arguments: Seeds.sequence(100)) func slicesNest(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let log = TraceLog()
        let base = Nanoseconds(1_000_000_000)
        _ = log.start(id: "s", now: base, wall: 1.5)
        let servers = try [server("local", .local), server("b", .peer), server("e\"1", .engine)]
        for index in 0..<random.pick(0...60) {
            var now = Nanoseconds(base.rawValue + UInt64(random.pick(0...5_000_000)))
            func later() -> Nanoseconds {
                now = Nanoseconds(now.rawValue + UInt64(random.chance(20) ? 0 : random.pick(0...2_000_000)))
                return now
            }
            let flow: UInt64? = random.chance(30) ? UInt64(index) : nil
            var trace = RequestTrace(
                session: 1, requestID: "r\(index)\n", path: "/v1/chat/completions?x=1", hops: flow == nil ? 0 : 1,
                flow: flow, start: now, received: later())
            for _ in 0..<random.pick(0...3) {
                if random.chance(40) { trace.waits(from: later()) }
                _ = trace.attempts(servers[random.pick(0...2)], from: later())
                guard random.chance(80) else { continue }
                trace.sent(at: later())
                trace.gotAnswer(200)
                if random.chance(80) { trace.gotFirstByte(at: later()) } else { trace.failed("cut \"off\"") }
            }
            trace.ends(at: later())
            log.add(trace)
        }
        let file = try read(try #require(log.stop()))
        let slices = file.traceEvents.filter { $0.ph == "X" }
        for (_, track) in Dictionary(grouping: slices, by: { [$0.pid, $0.tid ?? 0] }) {
            var open: [Double] = []
            let sorted = try track.sorted {
                let (a, b) = (try #require($0.ts), try #require($1.ts))
                return a != b ? a < b : ($0.dur ?? 0) > ($1.dur ?? 0)
            }
            for slice in sorted {
                let begin = try #require(slice.ts)
                let end = begin + (try #require(slice.dur))
                #expect(begin >= 0 && end >= begin, "seed \(seed)")
                while let last = open.last, last <= begin + 0.0005 { open.removeLast() }
                if let last = open.last { #expect(end <= last + 0.0005, "seed \(seed): \(slice)") }
                open.append(end)
            }
        }
        func keys(_ phase: String) -> [String] {
            file.traceEvents.filter { $0.ph == phase }.map { "\($0.pid) \($0.id2?["local"] ?? "?")" }.sorted()
        }
        #expect(keys("b") == keys("e") && Set(keys("b")).count == keys("b").count)
        func count(_ phase: String) -> Int { file.traceEvents.count { $0.ph == phase } }
        #expect(file.otherData.slices == count("X") + count("b"))
        #expect(file.otherData.flow_starts == count("s") && file.otherData.flow_ends == count("f"))
        #expect(file.traceEvents.allSatisfy { $0.tid != $0.pid })
    }

    /// What runs on goes on for days: memory stays, and the file says what is not in it.
    @Test func theOldestAreDropped() throws {
        let log = TraceLog()
        _ = log.start(id: "s", now: Nanoseconds(0), wall: 0)
        #expect(log.start(id: "t", now: Nanoseconds(0), wall: 0) == nil)
        for index in 0..<TraceLog.capacity + 3 {
            var trace = RequestTrace(
                session: 1, requestID: "r\(index)", path: "/", hops: 0, flow: nil,
                start: Nanoseconds(UInt64(index)), received: Nanoseconds(UInt64(index)))
            trace.ends(at: Nanoseconds(UInt64(index) + 1))
            log.add(trace)
        }
        let file = try read(try #require(log.stop()))
        #expect(file.otherData.requests == TraceLog.capacity && file.otherData.dropped_requests == 3)
        #expect(log.stop() == nil && log.running == 0)
    }

    /// A request that began in one session and ends in the next is in neither: its times would not fit.
    @Test func whatBeganBeforeIsNotInTheNext() throws {
        let log = TraceLog()
        let first = try #require(log.start(id: "s", now: Nanoseconds(0), wall: 0))
        var trace = RequestTrace(
            session: first.number, requestID: "r", path: "/", hops: 0, flow: nil, start: Nanoseconds(1),
            received: Nanoseconds(2))
        _ = log.stop()
        _ = log.start(id: "t", now: Nanoseconds(100), wall: 0)
        trace.ends(at: Nanoseconds(200))
        log.add(trace)
        #expect(try #require(log.stop()).ended == 0)
    }
}
