import ArgumentParser
import Foundation

struct Doctor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Whether this machine has what gotoni needs.",
        discussion: """
            Looks at SSH, gotoni's folder, settings and credentials, and asks the cloud whether it takes them. Changes \
            nothing, and shows no secret.

            Exit status: 1 if something needed is missing or wrong.
            """)

    @OptionGroup var options: CloudOptions

    func run() async throws {
        var findings = [await Examination.ssh(), Examination.program("ssh-keygen", of: "OpenSSH")]
        findings += Examination.folder() + Examination.programs() + [Examination.settings()]
        let clouds = CloudExamination(options)
        findings += clouds.credentials()
        if let python = await clouds.python() { findings.append(python) }
        findings += await clouds.answers()
        if options.json {
            print(try JSONText.of(findings))
        } else {
            var table = TextTable(["CHECK", "STATE", "WHAT TO DO"], leading: 3)
            for finding in findings { table.add([finding.check, finding.state, finding.advice ?? ""]) }
            print(table.lines.joined(separator: "\n"))
        }
        if findings.contains(where: { !$0.isGood }) { throw ExitCode.failure }
    }
}

/// What was found of one thing.
struct Finding: Encodable, Equatable, Sendable {
    var check: String
    var state: String
    /// Nil: nothing is to be done.
    var advice: String?
    /// False: something does not work so.
    var isGood: Bool

    enum CodingKeys: String, CodingKey {
        case check, state, advice
        case isGood = "ok"
    }

    static func good(_ check: String, _ state: String, _ advice: String? = nil) -> Finding {
        Finding(check: check, state: state, advice: advice, isGood: true)
    }

    static func bad(_ check: String, _ state: String, _ advice: String) -> Finding {
        Finding(check: check, state: state, advice: advice, isGood: false)
    }
}
