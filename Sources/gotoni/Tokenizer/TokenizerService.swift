import Foundation

/// The tokenizer service on one machine.
struct TokenizerService: Sendable {
    /// For /health to answer; a service that tokenizes long texts may keep it waiting.
    private static let answerLimit = Duration.seconds(5)

    var machine: Machine
    var socket: String?

    /// For verbs about files of this machine, which have no socket.
    static let files = TokenizerService(machine: .here, socket: "/")

    /// Runs `verb` of tokenizer.sh. A status that is neither 0 nor one of `expected` is an error.
    func run(
        _ verb: String, _ arguments: [String] = [], input: String? = nil, expecting: [Int32] = [],
        limit: Duration = .seconds(30), doing: String
    ) async throws(CommandError) -> Program.Answer {
        try await machine.run(
            script: PackageResources.tokenizer_sh, [verb, socket ?? ""] + arguments, input: input, expecting: expecting,
            limit: limit, doing: doing)
    }

    /// A state, found by asking the service and then the machine.
    func look() async throws(CommandError) -> TokenizerReport {
        try await judge(run("look", doing: "Looking for the tokenizer"))
    }

    /// Starts it unless it runs, and waits until it answers. `label` says what was started.
    func start(
        _ models: [String], program: String? = nil, label: String = "", limit: Duration
    ) async throws(CommandError) -> (report: TokenizerReport, wasRunning: Bool) {
        let before = try await look()
        guard before.status != .running else { return (before, true) }
        let program = program ?? (machine.isHere ? Files.beside("gotoni-tokenizer") : nil)
        let answer = try await run(
            "start",
            [machine.isHere ? "here" : "host", "\(limit.components.seconds)", label, program ?? ""] + models,
            expecting: [1, 124], limit: limit + .seconds(30), doing: "Starting the tokenizer")
        if let pid = answer.value("slow") {
            throw CommandError(
                "The tokenizer is not ready after \(limit) (process \(pid)); it goes on starting, see status.",
                exitCode: 124)
        }
        if let log = answer.value("died") {
            throw CommandError("The tokenizer ended at once; its log is \(log).", lines: answer.errors)
        }
        if answer.value("missing") != nil {
            throw CommandError(
                program.map { "\($0) is no program." }
                    ?? "There is no gotoni-tokenizer beside gotoni or in PATH; "
                    + (machine.isHere ? "make install-tokenizer installs it." : "gotoni tokenizer deploy installs it."))
        }
        guard answer.status == 0 else { throw CommandError("Starting the tokenizer failed.", lines: answer.errors) }
        let report = try await judge(answer)
        guard report.status == .running else {
            throw CommandError("The tokenizer started, but does not answer: \(report.info)")
        }
        return (report, false)
    }

    /// What was done, or that nothing had to be. Ends only what `start` started for this socket.
    func stop(limit: Duration) async throws(CommandError) -> TokenizerReport {
        let answer = try await run(
            "stop", ["\(limit.components.seconds)"], expecting: [124], limit: limit + .seconds(10),
            doing: "Stopping the tokenizer")
        if let pid = answer.value("slow") {
            throw CommandError("Process \(pid) was asked to end and still runs after \(limit).", exitCode: 124)
        }
        var report = try await look()
        switch (answer.value("stopped"), report.status) {
        case (let pid?, .notRunning), (let pid?, .socketOnly): report.info = "stopped, process \(pid)"
        case (nil, .running):
            throw CommandError("It was not started by gotoni (\(report.info)); stop it with what started it.")
        case (nil, .notRunning), (nil, .socketOnly):
            report.info =
                answer.value("foreign").map {
                    "not running; process \($0) has its number by now, is another program, and was left alone"
                } ?? "not running"
        default: throw CommandError("It was stopped, and is \(report.status.rawValue) again: \(report.info)")
        }
        return report
    }

    /// The path of a socket here that leads to the service, whether or not it runs.
    func reach() async throws(CommandError) -> HTTP.Place {
        let found = try await run("look", doing: "Looking for the tokenizer")
        return try await machine.reach(found.value("socket") ?? "")
    }

    /// Asks the service itself. `Answer` is what it says with status 200.
    func ask<Answer: Decodable>(_ path: String, _ body: Data?, at place: HTTP.Place, limit: Duration)
        async throws(CommandError) -> Answer
    {
        try await JSONService(
            place: place, name: "The service", program: "gotoni-tokenizer", nobody: .nobodyAnswers,
            limit: limit
        )
        .ask(body == nil ? .get : .post, path, body)
    }

    /// Reads what `look` printed, and asks the service.
    func judge(_ found: Program.Answer) async throws(CommandError) -> TokenizerReport {
        var report = TokenizerReport(machine.name, .notRunning, "")
        report.socket = found.value("socket")
        report.log = found.value("log")
        report.pid = found.value("pid").flatMap { Int($0) }
        // The script that has just started it does not look for the socket.
        guard let socket = report.socket, found.value("exists") != nil || report.pid != nil else {
            report.info = "no socket \(report.socket ?? "")"
            return report
        }
        do {
            let health: TokenizerHealth = try await ask(
                "/health", nil, at: try await machine.reach(socket), limit: Self.answerLimit)
            report.health = health
            report.status = .running
            report.info = health.text
        } catch {
            let isStarting = report.pid != nil && error == .nobodyAnswers
            report.status = isStarting ? .starting : report.pid == nil ? .socketOnly : .error
            report.info =
                isStarting ? "process \(report.pid ?? 0), log \(report.log ?? "")" : "\(socket): \(error.sentence)"
        }
        return report
    }
}

extension TokenizerHealth {
    var text: String {
        ([(models ?? [model]).joined(separator: ", ")] + (version.map { ["version \($0)"] } ?? [])
            + (uptimeSeconds.map { ["up \(Self.time($0))"] } ?? []))
            .joined(separator: ", ")
    }

    private static func time(_ seconds: Double) -> String {
        switch seconds {
        case ..<120: "\(seconds.text(0)) s"
        case ..<7200: "\((seconds / 60).text(0)) min"
        case ..<172_800: "\((seconds / 3600).text(0)) h"
        default: "\((seconds / 86_400).text(0)) d"
        }
    }
}
