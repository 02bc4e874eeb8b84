import Foundation
import GotoniCore
import TestSupport
import Testing

@testable import GotoniSimulation

@Suite struct WorkloadTests {
    private func mooncake(_ lines: [String], seed: UInt64 = 0) throws -> Workload {
        try .mooncake(Data(lines.joined(separator: "\n").utf8), name: "t", seed: seed)
    }

    private func row(_ time: Double, _ input: Int, _ ids: [Int], _ more: String = "") -> String {
        "{\"timestamp\": \(time), \"input_length\": \(input), \"output_length\": 7, \"hash_ids\": \(ids)\(more)}"
    }

    private func tokens(_ workload: Workload, _ request: Int) -> [UInt32] {
        var tokens: [UInt32] = []
        workload.appendTokens(of: request, to: &tokens)
        return tokens
    }

    @Test func idsBecomeTheTokensThatEverybodyElseMakesOfThem() throws {
        let workload = try mooncake([row(0, 514, [7, 0])])
        let tokens = tokens(workload, 0)
        #expect(tokens.count == 514)
        // By the formula, computed elsewhere.
        #expect(Array(tokens[0..<3]) == [31_348, 46_147, 57_122])
        #expect(Array(tokens[512..<514]) == [132_399, 129_857])
    }

    @Test func anIncompleteBlockIsTheBeginningOfTheWholeOne() throws {
        let workload = try mooncake([row(0, 600, [1, 2]), row(1, 1_024, [1, 2]), row(2, 1_024, [1, 3])])
        let (short, long, other) = (tokens(workload, 0), tokens(workload, 1), tokens(workload, 2))
        #expect(short == Array(long[0..<600]))
        #expect(Array(other[0..<512]) == Array(long[0..<512]))
        #expect(other[512] != long[512])
    }

    @Test func rowsOfOneBatchAreSpreadOverItAndStayInOrderOfBatches() throws {
        let lines = (0..<60).map { row(Double($0 / 20) * 3_000, 10, [0]) }
        let (a, b, other) = (try mooncake(lines, seed: 1), try mooncake(lines, seed: 1), try mooncake(lines, seed: 2))
        let times = a.requests.map { arrival in
            if case .at(let time) = arrival.arrival { time.milliseconds } else { -1.0 }
        }
        for (index, time) in times.enumerated() {
            let first = Double(index / 20) * 3_000
            #expect(time >= first && time <= first + 3_000)
        }
        #expect(times == times.sorted())
        #expect(a.requests.map(\.arrival) == b.requests.map(\.arrival))
        #expect(a.requests.map(\.arrival) != other.requests.map(\.arrival))
    }

    @Test func aRowAloneKeepsItsTimeFromTheFirst() throws {
        let workload = try mooncake([row(36_000_005, 10, [0]), row(36_000_009, 10, [0])])
        #expect(workload.requests.map(\.arrival) == [.at(.zero), .at(Nanoseconds(4_000_000))])
    }

    @Test func aSessionIsWhatContinuesAnEarlierPrompt() throws {
        // 0 is shared by all. The third continues the first, the fourth the second.
        let workload = try mooncake([
            row(0, 1_024, [0, 1]), row(1, 1_024, [0, 2]), row(2, 1_600, [0, 1, 3, 9]), row(3, 1_100, [0, 2, 4]),
        ])
        #expect(workload.requests.map(\.session) == [0, 1, 0, 1])
        #expect(workload.sessions == 2 && workload.users == 2)
    }

    @Test func aNamedSessionGrowsByItsTurnsAndAnswers() throws {
        let workload = try mooncake([
            row(100, 600, [1, 2], ", \"session_id\": \"a\""),
            "{\"session_id\": \"a\", \"input_length\": 10, \"output_length\": 5, \"hash_ids\": [3], \"delay\": 250}",
        ])
        #expect(workload.requests[1].promptTokens == 600 + 7 + 10)
        #expect(workload.requests[1].arrival == .after(request: 0, delay: Nanoseconds(250_000_000)))
        let (first, second) = (tokens(workload, 0), tokens(workload, 1))
        #expect(first == Array(second[0..<600]))
        // All of the first turn's prompt and answer are there for the second.
        #expect(workload.reusableTokens() == 607)
    }

    @Test(arguments: [
        ("no json", "no Mooncake request"),
        (
            "{\"timestamp\": 0, \"input_length\": 513, \"output_length\": 1, \"hash_ids\": [1]}",
            "1 hash_ids for 513 tokens"
        ),
        ("{\"timestamp\": 0, \"input_length\": 0, \"output_length\": 1, \"hash_ids\": []}", "a length"),
        ("{\"timestamp\": -1, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": [1]}", "a time"),
        ("{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": [-1]}", "no Mooncake request"),
        (
            "{\"timestamp\": 0, \"input_length\": 99999999999999999999, \"output_length\": 1, \"hash_ids\": [1]}",
            "no Mooncake"
        ),
        ("", "holds no requests"),
    ])
    func badRowsAreNamed(_ line: String, _ part: String) {
        do {
            _ = try mooncake([row(0, 512, [1]), line].filter { line.isEmpty ? false : !$0.isEmpty })
            Issue.record("\(line) was accepted")
        } catch {
            #expect("\(error)".contains(part), "\(error)")
            if !line.isEmpty { #expect("\(error)".contains("line 2")) }
        }
    }

    @Test func aBlockContinuedAtTwoLengthsIsRefused() {
        // Id 1 has 512 tokens in one row and would have 100 in the other.
        let lines = [
            row(0, 100, [1], ", \"session_id\": \"a\""), row(0, 10, [2], ", \"session_id\": \"a\""),
            row(0, 1_024, [1, 3], ", \"session_id\": \"b\""), row(0, 10, [4], ", \"session_id\": \"b\""),
        ]
        #expect(throws: SimulationError.self) { try self.mooncake(lines) }
    }

    @Test func azureRowsShareNothing() throws {
        let text = """
            TIMESTAMP,ContextTokens,GeneratedTokens
            2023-11-16 23:59:59.5000000,374,44
            2023-11-17 00:00:01.0000000,374,1
            """
        let workload = try Workload.csv(Data(text.utf8), name: "azure.csv")
        #expect(workload.requests.map(\.promptTokens) == [374, 374])
        #expect(workload.requests.map(\.outputTokens) == [44, 1])
        #expect(workload.requests[1].arrival == .at(Nanoseconds(seconds: 1.5)))
        #expect(workload.reusableTokens() == 0)
        #expect(tokens(workload, 0)[0] != tokens(workload, 1)[0])
    }

    @Test func tracelabRoundsContinueTheirSession() throws {
        let text = """
            session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms
            0,117,0,0,2318,200,300
            1,900,0,0,50,10,5
            0,117,1,2518,348,131,154
            0,117,2,100,812,104,0
            """
        let workload = try Workload.csv(Data(text.utf8), name: "lab.csv")
        #expect(workload.requests.map(\.promptTokens) == [2_318, 50, 2_866, 912])
        #expect(workload.requests[2].arrival == .after(request: 0, delay: Nanoseconds(300_000_000)))
        // The third round was cut: it shares nothing.
        #expect(workload.reusableTokens() == 2_518)
    }

    @Test(arguments: ["", "a,b,c\n1,2,3", "TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,1"])
    func otherTablesAreRefused(_ text: String) {
        #expect(throws: SimulationError.self) { try Workload.csv(Data(text.utf8), name: "x.csv") }
    }

    @Test func agentsReuseWhatTheySaid() throws {
        var agentic = AgenticWorkload()
        agentic.users = 200
        let workload = try agentic.make(seed: 4)
        #expect(workload.sessions == 600 && workload.users == 200)
        let turns = Double(workload.requests.count) / 600
        #expect((5.3...6.7).contains(turns))
        let reuse = Double(workload.reusableTokens()) / Double(workload.promptTokens)
        #expect((0.85...0.95).contains(reuse))
        #expect(try agentic.make(seed: 4).requests.map(\.promptTokens) == workload.requests.map(\.promptTokens))
        #expect(try agentic.make(seed: 5).requests.map(\.promptTokens) != workload.requests.map(\.promptTokens))
    }

    @Test func aStormStandsBehindOnePromptAndSharesNothingElse() throws {
        var storm = SharedPrefixWorkload()
        storm.requests = 5_000
        storm.sharedTokens = 4_000
        storm.sharedShare = 0.7
        let workload = try storm.make(seed: 6)
        let shared = workload.requests.indices.filter { workload.requests[$0].promptTokens > 4_000 }
        // A message alone is hardly ever that long.
        #expect((0.67...0.73).contains(Double(shared.count) / 5_000))
        let system = tokens(workload, shared[0]).prefix(4_000)
        let behind = shared.filter { tokens(workload, $0).prefix(4_000) == system }
        #expect(behind.count >= shared.count - 20 && workload.sessions == 5_000)
        #expect(abs(workload.reusableTokens() - 4_000 * (behind.count - 1)) < 5_000)
        #expect(try storm.make(seed: 6).requests.map(\.promptTokens) == workload.requests.map(\.promptTokens))
        storm.sharedShare = 1.5
        #expect(throws: SimulationError.self) { try storm.make(seed: 6) }
    }

    @Test func arrivalsFollowThePlan() throws {
        var workload = workload((0..<20_000).map { [UInt32($0 % 100)] }, every: 0.5)
        workload.requests[10].arrival = .after(request: 9, delay: Nanoseconds(1))
        func times() -> [Double] {
            workload.requests.compactMap { if case .at(let time) = $0.arrival { time.seconds } else { nil } }
        }
        workload.arrive(.scaled(2), seed: 1)
        #expect(times()[2] == 2)
        workload.arrive(.constant(perSecond: 10), seed: 1)
        #expect(abs(times()[99] - 10) < 1e-6)
        workload.arrive(.poisson(perSecond: 10), seed: 1)
        let gaps = zip(times().dropFirst(), times()).map { $0 - $1 }
        let mean = gaps.mean
        let deviation = (gaps.map { ($0 - mean) * ($0 - mean) }.mean).squareRoot()
        // Exponential: mean and deviation are the same.
        #expect(abs(mean - 0.1) < 0.003 && abs(deviation - 0.1) < 0.004)
        #expect(workload.requests[10].arrival == .after(request: 9, delay: Nanoseconds(1)))
    }
}
