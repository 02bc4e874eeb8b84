import ArgumentParser
import Foundation
import GotoniSimulation

/// `gotoni simulate`: the laboratory on the command line.
struct Simulate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compare routing policies on a trace, in virtual time.",
        discussion: """
            Plays the same requests once per policy against simulated servers, in seconds instead of hours, and prints \
            what the users would have waited for. Times are from the moment a request should be sent. An oracle that knows \
            the true caches and queues is played too; regret is the time lost against it. Nothing is random but by --seed.

              gotoni simulate --trace conversation.jsonl --policy gorgo,least-load --time-scale 1,2
              gotoni simulate --workload agentic --users 200 --policy gorgo,sglang-cache-aware --fault restart@120+20:1

            POLICIES, written name[@topology][:parameter=value]…, where the topology is one proxy, or
              @nodes    a balancer at each server
              @apart    --proxies of them, each request at any; they know of each other what engines report
              @sharing  the same, and each tells all others what it sends; tell_ms=50
              @regions  they share within a region, and pass requests on to other regions by a digest of what those
                        cache, with digest_bits=16 for every digest_every=8 blocks of 16 tokens, digest_ms=1000 old, and
                        their prices, price_ms=100; gorgo and predictive

            """
                + Catalogue.policies.map { "  " + $0.name.padding(to: 26) + $0.summary }.joined(separator: "\n"))

    @OptionGroup(title: "Requests") var requests: WorkloadOptions
    @OptionGroup(title: "Servers and network") var world: WorldOptions
    @OptionGroup(title: "Comparison") var comparison: ComparisonOptions

    func run() async throws {
        let (loads, scenario, policies) = try asked {
            (try requests.loads(), try world.scenario(seed: requests.seed), try comparison.policies())
        }
        // Better now than after minutes of work.
        for path in [comparison.json, comparison.log] { if let path { try write(Data(), to: path) } }
        let progress = ProgressBar(of: loads.count * policies.count, isQuiet: comparison.quiet)
        defer { progress.finish() }

        var document = ReportDocument(scenario, comparison.limits, seed: requests.seed)
        var log = comparison.log == nil ? nil : RequestLog()
        var timings = TextTable(["run", "requests", "events", "seconds", "requests/s"])
        for load in loads {
            let runs = try await Self.play(load, scenario, policies, comparison.jobs, progress)
            document.add(load, scenario, runs.map(\.result))
            for run in runs {
                log?.add(run.result, load)
                timings.add(run.timing(load))
            }
        }
        progress.finish()
        if comparison.timing {
            FileHandle.standardError.write(Data((timings.lines.joined(separator: "\n") + "\n").utf8))
        }
        if !comparison.quiet { print(ReportTable(document).text) }
        if let path = comparison.json { try write(document.json(), to: path) }
        if let path = comparison.log, let log { try write(Data(log.text.utf8), to: path) }
    }

    func validate() throws { _ = try asked { try comparison.policies() } }

    /// What is wrong with what was asked for is shown with the usage, as all wrong arguments are.
    private func asked<Answer>(_ body: () throws -> Answer) throws -> Answer {
        do {
            return try body()
        } catch let error as SimulationError {
            throw ValidationError(error.description)
        }
    }

    /// Every policy in a run of its own, as many at a time as there are cores. The runs share nothing, so their order
    /// changes nothing.
    private static func play(
        _ load: Load, _ scenario: Scenario, _ policies: [PolicySpec], _ jobs: Int, _ progress: ProgressBar
    ) async throws -> [TimedRun] {
        try await withThrowingTaskGroup(of: (Int, TimedRun).self) { group in
            var results: [TimedRun?] = Array(repeating: nil, count: policies.count)
            var next = 0
            func start() {
                guard next < policies.count else { return }
                let (index, policy) = (next, policies[next])
                next += 1
                group.addTask {
                    let start = ContinuousClock.now
                    let result = try Simulation.run(
                        load.workload, scenario, policy, concurrency: load.concurrency,
                        progress: { progress.update(policy.label, $0) })
                    progress.end(policy.label)
                    return (index, TimedRun(result: result, took: ContinuousClock.now - start))
                }
            }
            for _ in 0..<jobs { start() }
            while let (index, result) = try await group.next() {
                results[index] = result
                start()
            }
            return results.compactMap { $0 }
        }
    }

    private func write(_ data: Data, to path: String) throws {
        do {
            try data.write(to: URL(fileURLWithPath: path))
        } catch {
            throw ValidationError("\(path) cannot be written: \(error.localizedDescription)")
        }
    }
}

/// A run, and how long the machine took for it: the only place where the real clock is read.
private struct TimedRun: Sendable {
    var result: RunResult
    var took: Duration

    func timing(_ load: Load) -> [String] {
        let seconds = took / .seconds(1)
        let requests = result.requests.count
        return [
            "\(result.policy.label), \(load.name)", "\(requests)", "\(result.events)", seconds.text(3),
            (Double(requests) / seconds).text(0),
        ]
    }
}
