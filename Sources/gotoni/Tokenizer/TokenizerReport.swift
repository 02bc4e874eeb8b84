import Foundation

/// What /health says.
struct TokenizerHealth: Codable, Sendable {
    var status: String
    var model: String
    var models: [String]?
    var version: String?
    var versions: [String: String]?
    var uptimeSeconds: Double?
}

/// How it stands with the tokenizer of one machine: a row of a table, an object of `--json`.
struct TokenizerReport: Encodable, Sendable {
    enum Status: String, Encodable {
        case running
        /// There is a socket, and nobody answers on it.
        case socketOnly = "socket_only"
        case starting
        case notRunning = "not_running"
        case error
    }

    var name: String
    var status: Status
    var info: String
    var socket: String?
    var log: String?
    var pid: Int?
    var health: TokenizerHealth?
    var exitCode: Int32 = 0

    enum CodingKeys: String, CodingKey { case name, status, info, socket, log, pid, health }

    init(_ name: String, _ status: Status, _ info: String) {
        (self.name, self.status, self.info) = (name, status, info)
    }

    init(_ name: String, _ error: CommandError) {
        self.init(name, .error, error.sentence)
        exitCode = error.exitCode
    }
}

/// What a command prints of several machines.
struct TokenizerDocument: Encodable {
    var hosts: [TokenizerReport]
    var running: Int
    var total: Int

    init(_ hosts: [TokenizerReport]) {
        self.hosts = hosts
        running = hosts.count { $0.status == .running }
        total = hosts.count
    }

    var table: String {
        let rows = [["NAME", "STATUS", "INFO"]] + hosts.map { [$0.name, $0.status.rawValue, $0.info] }
        let widths = (0..<2).map { column in rows.map { $0[column].count }.max() ?? 0 }
        let lines = rows.map { "\($0[0].padding(to: widths[0]))  \($0[1].padding(to: widths[1]))  \($0[2])" }
        return (lines + ["", "\(running)/\(total) hosts have the tokenizer running"]).joined(separator: "\n")
    }
}

extension CommandError {
    static let nobodyAnswers = CommandError(
        "Nobody answers on the socket; gotoni tokenizer start starts the service.")
}
