import ArgumentParser
import Foundation
import GotoniSimulation

struct ComparisonOptions: ParsableArguments {
    @Option(help: "Policies to compare, with commas.")
    var policy = "gorgo,prefix-tree,least-load,session-affinity,round-robin"

    @Flag(help: "Leave the oracle out, and with it the regret.")
    var noOracle = false

    @Option(name: .customLong("slo-ttft"), help: "Milliseconds to the first token that are still good.")
    var ttftLimit = 5_000.0

    @Option(name: .customLong("slo-itl"), help: "Milliseconds between tokens that are still good.")
    var itlLimit = 100.0

    @Option(help: "Write all figures, with intervals.", completion: .file())
    var json: String?

    @Option(help: "Write a CSV line for every request.", completion: .file())
    var log: String?

    @Option(help: "Runs at one time; the number of cores if not given.")
    var jobs = ProcessInfo.processInfo.activeProcessorCount

    @Flag(help: "Say on standard error how fast each run was simulated.")
    var timing = false

    @Flag(name: .shortAndLong, help: "No table and no progress.")
    var quiet = false

    var limits: ServiceLimits { ServiceLimits(ttft: ttftLimit, itl: itlLimit) }

    func validate() throws {
        guard (1...1_024).contains(jobs) else { throw ValidationError("--jobs must be 1 to 1,024.") }
        if let json, json == log { throw ValidationError("--json and --log name the same file.") }
        guard (0...1e9).contains(ttftLimit), (0...1e9).contains(itlLimit) else {
            throw ValidationError("--slo-ttft and --slo-itl must be milliseconds, not negative.")
        }
    }

    func policies() throws -> [PolicySpec] {
        var specs = try policy.split(separator: ",").map {
            try PolicySpec($0.trimmingCharacters(in: .whitespaces))
        }
        guard !specs.isEmpty else { throw ValidationError("--policy names none.") }
        if !noOracle, !specs.contains(where: { $0.label == "oracle" }) { specs.append(try PolicySpec("oracle")) }
        if let twice = specs.first(where: { spec in specs.count { $0.label == spec.label } > 1 }) {
            throw ValidationError("--policy names \(twice.label) twice.")
        }
        return specs
    }
}
