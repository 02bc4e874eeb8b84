import GotoniCore
import NIOCore
import Testing

@testable import GotoniGateway

/// Who is told what, and when.
@Suite struct MeshTests {
    private func mesh() throws -> Mesh {
        Mesh(
            MeshConfiguration(engine: try #require(ServerURL("http://127.0.0.1:1"))), blockTokens: 16, incarnation: 7)
    }

    private func report(limit: Int) -> NodeReport {
        var report = NodeReport()
        report.limit = limit
        report.takesRequests = true
        return report
    }

    private func at(_ milliseconds: Double) -> Nanoseconds { Nanoseconds(milliseconds: milliseconds) }

    @Test func whoKnowsNothingIsToldAtOnce() async throws {
        let mesh = try mesh()
        mesh.publish(report(limit: 3), now: at(0))
        var bytes = await mesh.news(since: 0, of: 0, known: nil, now: at(0))
        let heard = try NodeReport(from: &bytes)
        #expect(heard.limit == 3 && heard.incarnation == 7 && heard.sequence == 1)
    }

    /// A change is told to all that wait; no change, to those that have waited for a heartbeat.
    @Test func changesAndHeartbeatsAreTold() async throws {
        let mesh = try mesh()
        mesh.publish(report(limit: 3), now: at(0))
        let answers = Watched<[NodeReport]>([])
        func ask(_ now: Nanoseconds, since sequence: UInt64, known: UInt64) -> Task<Void, any Error> {
            Task {
                var bytes = await mesh.news(since: sequence, of: 7, known: known, now: now)
                let report = try NodeReport(from: &bytes)
                answers.update { $0.append(report) }
            }
        }
        let first = ask(at(0), since: 1, known: 0)
        try await eventually("somebody who waits") { mesh.waiting == 1 }
        mesh.publish(report(limit: 3), now: at(999))
        #expect(mesh.waiting == 1)
        mesh.publish(report(limit: 3), now: at(1_000))
        try await first.value
        #expect(answers.read { $0.map(\.sequence) } == [1])

        let second = ask(at(1_000), since: 1, known: 0)
        try await eventually("somebody who waits") { mesh.waiting == 1 }
        mesh.publish(report(limit: 4), now: at(1_100))
        try await second.value
        #expect(answers.read { $0.map(\.sequence) } == [1, 2])

        // A prompt alone is news.
        let third = ask(at(1_100), since: 2, known: 0)
        try await eventually("somebody who waits") { mesh.waiting == 1 }
        mesh.note([1, 2, 3])
        mesh.publish(report(limit: 4), now: at(1_200))
        try await third.value
        #expect(answers.read { $0.map(\.sequence) } == [1, 2, 3])

        let fourth = ask(at(1_200), since: 3, known: 1)
        try await eventually("somebody who waits") { mesh.waiting == 1 }
        mesh.close()
        try await fourth.value
        var bytes = await mesh.news(since: 3, of: 7, known: 1, now: at(1_300))
        #expect(try NodeReport(from: &bytes).sequence == 3)
    }

    /// Those that wait are bounded: one more is answered at once.
    @Test func thoseThatWaitAreBounded() async throws {
        let mesh = try mesh()
        mesh.publish(report(limit: 3), now: at(0))
        let waiting = (0..<Mesh.mostWaiting).map { _ in
            Task { await mesh.news(since: 1, of: 7, known: 0, now: at(0)) }
        }
        try await eventually("all that may wait") { mesh.waiting == Mesh.mostWaiting }
        var bytes = await mesh.news(since: 1, of: 7, known: 0, now: at(0))
        #expect(try NodeReport(from: &bytes).sequence == 1)
        mesh.close()
        for task in waiting { _ = await task.value }
    }

    /// That something is forgotten is news by itself.
    @Test func whoWaitsHearsThatSomethingIsForgotten() async throws {
        let mesh = try mesh()
        mesh.publish(report(limit: 3), now: at(0))
        let answer = Task { await mesh.news(since: 1, of: 7, known: 0, now: at(0)) }
        try await eventually("somebody who waits") { mesh.waiting == 1 }
        mesh.forget()
        mesh.publish(report(limit: 3), now: at(100))
        #expect(mesh.waiting == 0)
        var bytes = await answer.value
        #expect(try NodeReport(from: &bytes).incarnation == 8)
    }

    /// After the engine's cache was emptied nobody is told of what was in it, and all are told that it is gone.
    @Test func whatIsForgottenIsNotTold() async throws {
        let mesh = try mesh()
        mesh.note([1, 2, 3])
        mesh.publish(report(limit: 3), now: at(0))
        mesh.forget()
        mesh.publish(report(limit: 3), now: at(100))
        var bytes = await mesh.news(since: 1, of: 7, known: 1, now: at(100))
        #expect(try NodeReport(from: &bytes).incarnation == 8)
        var memory = PrefixMemory()
        #expect(try memory.read(&bytes).isEmpty)
    }
}
