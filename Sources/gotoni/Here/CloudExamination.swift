import ArgumentParser
import Foundation

/// What `doctor` looks at where a cloud is wanted: one is chosen, or somebody's credentials are there.
struct CloudExamination {
    /// Certificates and signatures bear with less than this.
    private static let mostSeconds = 60.0
    private static let limit = Duration.seconds(10)

    private let options: CloudOptions
    private let environment = ProcessInfo.processInfo.environment
    /// Nil: nobody has chosen.
    private let chosen: String?

    init(_ options: CloudOptions) {
        self.options = options
        // What is wrong with settings is a finding of its own.
        chosen = options.provider ?? (try? Settings.load())?["provider"]?.value
    }

    private func has(_ name: String) -> Bool { environment[name].map { !$0.isEmpty } ?? false }

    private var hasLambda: Bool { has("LAMBDA_API_KEY") }
    private var modalFile: String { Provider.modalFile(environment) }
    private var hasModal: Bool { Provider.hasModalToken(environment) }

    private var wantsModal: Bool { chosen == "modal" || chosen == nil && hasModal }

    /// Whether each cloud's are there, never what they are.
    func credentials() -> [Finding] {
        func finding(_ cloud: String, _ state: String?, _ advice: String) -> Finding {
            if let state { return .good("credentials of \(cloud)", state) }
            return chosen == cloud
                ? .bad("credentials of \(cloud)", "none", advice)
                : .good("credentials of \(cloud)", "none", "Only to rent machines there: \(advice)")
        }
        var modal = finding(
            "modal",
            has("MODAL_TOKEN_ID") && has("MODAL_TOKEN_SECRET")
                ? "$MODAL_TOKEN_ID, $MODAL_TOKEN_SECRET" : Files.exists(modalFile) ? modalFile : nil,
            "modal token new")
        if modal.state == modalFile, !Examination.isPrivate(modalFile) {
            modal = .bad(modal.check, "\(modalFile): others may read it", "chmod go= \(SSH.quoted(modalFile))")
        }
        return [
            finding("lambda", hasLambda ? "$LAMBDA_API_KEY" : nil, "set LAMBDA_API_KEY; cloud.lambda.ai gives keys."),
            modal,
        ]
    }

    /// Modal is spoken to with its own library, which is Python. Nil: Modal is not wanted.
    func python() async -> Finding? {
        guard wantsModal else { return nil }
        guard let python = ModalPython.python(options.modal.modalPython) else {
            return .good("python", "uv, which brings modal")
        }
        let asked = "import modal, sys; print('%d.%d' % sys.version_info[:2], 'modal', modal.__version__)"
        do throws(CommandError) {
            // A path is no name for `Program`.
            let answer = try await Program(name: "env", arguments: [python, "-c", asked]).run(limit: .seconds(60))
            switch answer.status {
            case 0: return .good("python", answer.output.trimmingCharacters(in: .whitespacesAndNewlines))
            case 126, 127:
                return .bad(
                    "python", "\(python) cannot be run",
                    "Install Python 3.10 or newer, or name it with GOTONI_MODAL_PYTHON.")
            default:
                return .bad("python", "\(python) has no modal", "\(python) -m pip install modal, or install uv.")
            }
        } catch {
            return .bad("python", error.sentence, "Name another Python with GOTONI_MODAL_PYTHON.")
        }
    }

    /// Whether the cloud takes the credentials, and whether its clock is ours.
    func answers() async -> [Finding] {
        guard chosen != nil || hasLambda || hasModal || Provider.machinesFile != nil else { return [] }
        do {
            let cloud = try options.cloud()
            var findings: [Finding] = []
            if let place = cloud.place, let clock = await clock(of: cloud.name, at: place) { findings.append(clock) }
            let count = try await cloud.machines().count { $0.isRunning }
            return findings + [.good("cloud", "\(cloud.name) answers; \(count) machines run")]
        } catch let error as CommandError {
            return [.bad("cloud", error.sentence, "See the sentence; --provider chooses another one.")]
        } catch {
            return [.bad("cloud", "\(error)", "Choose another one with --provider or gotoni config.")]
        }
    }

    /// Nil: it does not say what time it is.
    private func clock(of name: String, at place: HTTP.Place) async -> Finding? {
        guard let answer = try? await HTTP.ask(.get, "/", at: place, limit: Self.limit), let text = answer.date else {
            return nil
        }
        let format = DateFormatter()
        format.locale = Locale(identifier: "en_US_POSIX")
        format.timeZone = TimeZone(secondsFromGMT: 0)
        format.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        guard let there = format.date(from: text) else { return nil }
        let seconds = Date().timeIntervalSince(there)
        guard abs(seconds) < Self.mostSeconds else {
            let words = "\(abs(seconds).text(0)) s \(seconds > 0 ? "ahead of" : "behind") \(name)'s"
            return .bad("clock", words, "Set this machine's clock (timedatectl set-ntp true).")
        }
        return .good("clock", "as \(name)'s")
    }
}
