import ArgumentParser
import Foundation

/// What a gateway that is started here can be told; values go to its program as they are, which says what is wrong with them.
struct StartOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Listen at this port of all addresses: --listen 0.0.0.0:N.", valueName: "N"))
    var listenPort: String?

    @Option(help: ArgumentHelp("Prefill time of a token, in the cost.", valueName: "MS"))
    var msPerToken: String?

    @Option(help: ArgumentHelp("Share of a running token that delays a newcomer, in the cost.", valueName: "N"))
    var runningCostFactor: String?

    @Option(help: ArgumentHelp("Whether what finds no place waits; false: --max-queue 0.", valueName: "true|false"))
    var queueEnabled: Bool?

    @Option(help: ArgumentHelp("Longest wait.", valueName: "TIME"))
    var queueTimeout: String?

    @Option(help: ArgumentHelp("Most requests that wait.", valueName: "N"))
    var maxQueue: String?

    @Option(help: ArgumentHelp("Until an answer begins: --first-byte-timeout; 0: none.", valueName: "TIME"))
    var requestTimeout: String?

    @Option(help: ArgumentHelp("YAML file with settings of the program.", valueName: "FILE"))
    var config: String?

    @Option(
        help: ArgumentHelp(
            "Write the process id there; \"\": nowhere (default: $XDG_RUNTIME_DIR/gotoni/).", valueName: "FILE"))
    var pidFile: String?

    @Argument(parsing: .postTerminator, help: "More flags, as the program has them.")
    var more: [String] = []

    func validate() throws {
        guard queueEnabled == nil || maxQueue == nil else {
            throw ValidationError("Give --queue-enabled or --max-queue.")
        }
        guard maxQueue != "0" else {
            throw ValidationError(
                "--max-queue 0 was without a limit once and lets nobody wait now: give the most that may wait, or --queue-enabled false."
            )
        }
    }

    /// The flags of both programs.
    private var words: [String] {
        Self.flag("--listen", listenPort.map { "0.0.0.0:\($0)" }) + Self.flag("--ms-per-token", msPerToken)
            + Self.flag("--running-cost-factor", runningCostFactor)
            + Self.flag("--max-queue", queueEnabled == false ? "0" : maxQueue)
            + Self.flag("--queue-timeout", queueTimeout) + Self.flag("--first-byte-timeout", requestTimeout)
            + Self.flag("--config", config)
    }

    static func flag(_ name: String, _ value: String?) -> [String] { value.map { [name, $0] } ?? [] }

    /// Servers or peers as their URLs, each behind `name`. `port`: of those that name none.
    static func flags(_ name: String, _ lists: [String], port: Int) throws -> [String] {
        try lists.flatMap { $0.split(separator: ",") }.map { $0.trimmingCharacters(in: .whitespaces) }.flatMap {
            [name, $0.contains("://") ? $0 : "\(try HTTP.Place(host: $0, port: port))"]
        }
    }

    /// Becomes `program` with these flags and `own`.
    func become(_ program: String, pidFile name: String, _ own: [String]) throws -> Never {
        let path = try LocalProgram.own(program)
        guard pidFile != "" else { try LocalProgram.become(path, words + own + more) }
        let file = PIDFile(pidFile, name: name, program: program)
        if case .running(let number) = try file.look() {
            throw CommandError(
                "\(program) runs already, process \(number); stop ends it, and another --pid-file starts one more.")
        }
        try file.makeFolder()
        try LocalProgram.become(path, words + own + ["--pid-file", file.path] + more)
    }
}
