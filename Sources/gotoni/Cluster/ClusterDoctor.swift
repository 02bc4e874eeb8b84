import ArgumentParser
import Foundation

struct ClusterDoctor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Look for what is wrong on the machines of the cluster, and change nothing.",
        discussion: "Looks at machines, engines, balancers and clocks, and whether balancers reach one another.")

    @OptionGroup var options: ClusterOptions

    /// Above it traces of several machines do not fit together, and certificates may not hold.
    private static let mostOffset = 1.0

    func run() async throws {
        let cluster = try options.cluster()
        try await Work.with(cluster, programs: []) { work in
            try await options.withNodes(of: cluster) { nodes in
                var reports = await options.carryOut(on: nodes, isDry: true) { member in
                    let plan = work.plan(for: member)
                    return plan.preparation + [Self.clock, plan.engineStep, plan.balancerStep]
                }
                if !reports.contains(where: \.isLacking) {
                    for (index, report) in await Mesh.check(nodes, cluster).enumerated() {
                        reports[index].append(report)
                    }
                }
                try options.show(reports)
                // What is to be done is what is wrong.
                let wrong = reports.compactMap { $0.first { $0.state != .held } }
                try CommandError.finish(
                    wrong.map { CommandError($0.info, exitCode: max(1, $0.exitCode)) }, of: reports.count)
            }
        }
    }

    /// The machine's clock, beside ours.
    private static var clock: Step {
        Step(
            name: "clock",
            look: { (machine) throws(CommandError) in
                let before = Date()
                let answer = try await machine.cluster("facts", doing: "Looking at the clock")
                let after = Date()
                guard let time = answer.value("time").flatMap({ Double($0) }) else {
                    throw CommandError("The machine's clock was not understood.", lines: answer.output)
                }
                // It was read somewhere between.
                let theirs = time / 1000
                let offset = max(before.timeIntervalSince1970 - theirs, theirs - after.timeIntervalSince1970, 0)
                guard offset <= mostOffset else {
                    throw CommandError("Its clock is \(offset.text(1)) s off; let it keep time by NTP.")
                }
                return .holds("less than \(mostOffset.text(0)) s off")
            },
            act: { (_) throws(CommandError) in throw CommandError("Clocks are not set from here.") })
    }
}

extension [StepReport] {
    fileprivate var isLacking: Bool { contains { $0.state != .held } }
}
