import ArgumentParser
import Foundation

/// How a gateway that was started here is ended.
struct StopOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("Where its process id is (default: as start has it).", valueName: "FILE"))
    var pidFile: String?

    @Option(help: ArgumentHelp("How long to wait for it to end.", valueName: "TIME"))
    var timeout = WaitTime(seconds: 60)

    @Flag(help: "Print JSON.") var json = false

    private struct Done: Encodable {
        var program: String
        /// "stopped" or "not_running".
        var status: String
        var info: String
        var pid: Int32?
        var pidFile: String
    }

    /// Ends `program`, once what is under way is answered, and says so.
    func stop(_ program: String, pidFile name: String) async throws {
        let file = PIDFile(pidFile, name: name, program: program)
        var done = Done(program: program, status: "not_running", info: "not running", pidFile: file.path)
        switch try file.look() {
        case .running(let number):
            try await Self.end(number, program, limit: timeout.duration)
            file.remove(number)
            (done.status, done.info, done.pid) = ("stopped", "stopped, process \(number)", number)
        case .foreign(let number):
            file.remove(number)
            done.info = "not running; process \(number) has its number by now, is another one, and was left alone"
        case .nothing: break
        }
        print(json ? try JSONText.of(done) : "\(program): \(done.info)")
    }

    private static func end(_ number: Int32, _ program: String, limit: Duration) async throws(CommandError) {
        guard kill(number, SIGTERM) == 0 || errno == ESRCH else {
            throw CommandError(
                "Process \(number) cannot be ended: \(String(cString: strerror(errno))).",
                exitCode: errno == EPERM ? 4 : 1)
        }
        let clock = ContinuousClock()
        let end = clock.now + limit
        while RunningProcess(number)?.program == program {
            guard clock.now < end else {
                throw CommandError(
                    "Process \(number) was asked to end and still runs after \(limit).", exitCode: 124)
            }
            try? await Task.sleep(for: .milliseconds(20))
        }
    }
}
