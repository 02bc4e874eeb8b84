import Foundation

/// Where a program that was started here has written its number, and whether that number is still its own.
struct PIDFile {
    /// What the number in the file stands for now.
    enum Found: Equatable {
        case running(Int32)
        /// The program has ended, and its number was given to this process since.
        case foreign(Int32)
        case nothing
    }

    /// Of the clock with which starts are compared.
    private static let coarse = 5.0

    let path: String
    /// The name of its executable file.
    let program: String

    /// `given`: what --pid-file says. `name`: of the file, where nothing else is said.
    init(_ given: String?, name: String, program: String) {
        let environment = ProcessInfo.processInfo.environment
        let named = given ?? environment["GOTONI_PID_FILE"].flatMap { $0.isEmpty ? nil : $0 }
        path = named ?? "\(Self.folder(environment))/gotoni/\(name)"
        self.program = program
    }

    /// Where what runs leaves its traces; as systemd made it, for those to whom nobody said so.
    private static func folder(_ environment: [String: String]) -> String {
        if let named = environment["XDG_RUNTIME_DIR"], !named.isEmpty { return named }
        if getuid() == 0 { return "/run" }
        if Files.exists("/run/user/\(getuid())") { return "/run/user/\(getuid())" }
        return environment["XDG_STATE_HOME"] ?? Files.home + "/.local/state"
    }

    func makeFolder() throws(CommandError) {
        try Files.makeFolder(URL(fileURLWithPath: path).deletingLastPathComponent().path)
    }

    /// Errors: there is something else than a number in the file.
    func look() throws(CommandError) -> Found {
        guard Files.exists(path) else { return .nothing }
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw CommandError("\(path) cannot be read.")
        }
        guard let number = Int32(text.trimmingCharacters(in: .whitespacesAndNewlines)), number > 0 else {
            throw CommandError("\(path) has no process's number in it.")
        }
        guard let process = RunningProcess(number) else { return .nothing }
        let written = (try? FileManager.default.attributesOfItem(atPath: path))?[.modificationDate] as? Date
        guard process.program == program, let written,
            process.start <= written.timeIntervalSince1970 + Self.coarse
        else { return .foreign(number) }
        return .running(number)
    }

    /// Of a program that ended without doing so itself.
    func remove(_ number: Int32) {
        let text = try? String(contentsOfFile: path, encoding: .utf8)
        guard let text, Int32(text.trimmingCharacters(in: .whitespacesAndNewlines)) == number else { return }
        try? FileManager.default.removeItem(atPath: path)
    }
}
