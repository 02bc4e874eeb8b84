import Foundation

/// Where a tokenizer runs: this machine, or one that ssh reaches. Scripts and sockets are the same on both.
enum Machine: Sendable {
    case here
    case host(String, SSH)

    var name: String {
        switch self {
        case .here: ProcessInfo.processInfo.hostName
        case .host(let name, _): name
        }
    }

    /// Before a sentence about it; of this machine there is only one.
    var prefix: String { isHere ? "" : name + ": " }

    var isHere: Bool { if case .here = self { true } else { false } }

    /// Runs `machine.sh`; `input` is a file here. A status that is neither 0 nor one of `expected` is an error.
    func run(
        _ verb: String, socket: String?, _ arguments: [String] = [], input: String? = nil, expecting: [Int32] = [],
        limit: Duration = .seconds(30), doing: String
    ) async throws(CommandError) -> Program.Answer {
        let script = String(decoding: PackageResources.machine_sh, as: UTF8.self)
        let words = ["sh", "-c", script, "gotoni", verb, socket ?? ""] + arguments
        let answer =
            switch self {
            case .here:
                try await Program(name: "sh", arguments: Array(words.dropFirst())).run(input: input, limit: limit)
            case .host(let name, let ssh): try await ssh.run(words, on: name, input: input, limit: limit)
            }
        guard answer.status == 0 || expecting.contains(answer.status) else {
            let reason = answer.status == 124 || answer.status == 137 ? "took longer than \(limit)" : "failed"
            throw CommandError("\(doing) \(reason).", lines: answer.errors, exitCode: answer.status == 124 ? 124 : 1)
        }
        return answer
    }

    /// The path of a socket of this machine, by which it can be reached from here.
    func reach(_ socket: String) async throws(CommandError) -> String {
        switch self {
        case .here: socket
        case .host(let name, let ssh): try await ssh.forward(socket, on: name)
        }
    }
}
