import Foundation

/// Something that is to hold on a machine: looked at, made so where it does not, and looked at again. So a plan of steps
/// that was cut off is carried on by starting it anew.
struct Step: Sendable {
    enum Finding: Sendable {
        case holds(String)
        /// What is to be done.
        case wants(String)
    }

    var name: String
    /// Errors: it does not hold and cannot be made to.
    var look: @Sendable (Machine) async throws(CommandError) -> Finding
    var act: @Sendable (Machine) async throws(CommandError) -> Void
}

/// How one step went on one machine.
struct StepReport: Encodable, Sendable {
    enum State: String, Encodable, Sendable {
        /// It held already.
        case held
        case done
        /// It would be done, but only looking was wanted.
        case would
        case failed
        /// One before it failed.
        case left
    }

    var machine: String
    var step: String
    var state: State
    var info: String
    var lines: [String] = []
    var exitCode: Int32 = 0
    var seconds: Double = 0

    private enum CodingKeys: String, CodingKey { case machine, step, state, info, lines, seconds }
}

enum Steps {
    /// All of `steps` on `machine`, in their order, up to the first that fails. `isDry`: only looks.
    static func run(_ steps: [Step], on machine: Machine, isDry: Bool) async -> [StepReport] {
        var reports: [StepReport] = []
        for step in steps {
            guard reports.last?.state != .failed, reports.last?.state != .left else {
                reports.append(StepReport(machine: machine.name, step: step.name, state: .left, info: ""))
                continue
            }
            let clock = ContinuousClock()
            let start = clock.now
            var report = await one(step, on: machine, isDry: isDry)
            report.seconds =
                Double((clock.now - start).components.attoseconds) / 1e18
                + Double((clock.now - start).components.seconds)
            reports.append(report)
        }
        return reports
    }

    private static func one(_ step: Step, on machine: Machine, isDry: Bool) async -> StepReport {
        func report(_ state: StepReport.State, _ info: String) -> StepReport {
            StepReport(machine: machine.name, step: step.name, state: state, info: info)
        }
        do throws(CommandError) {
            switch try await step.look(machine) {
            case .holds(let info): return report(.held, info)
            case .wants(let what):
                guard !isDry else { return report(.would, what) }
                Progress.say("\(machine.prefix)\(what)")
            }
            try await step.act(machine)
            switch try await step.look(machine) {
            case .holds(let info): return report(.done, info)
            case .wants(let more): throw CommandError("That was done, and the machine still wants to \(more).")
            }
        } catch {
            Progress.say("\(machine.prefix)\(step.name): \(error)")
            var failed = report(.failed, error.sentence)
            (failed.lines, failed.exitCode) = (error.lines, error.exitCode)
            return failed
        }
    }
}
