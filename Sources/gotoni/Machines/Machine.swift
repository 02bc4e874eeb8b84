import Foundation

/// Where commands run: this machine, or one that is reached from here. They are the same for all.
enum Machine: Sendable {
    case here
    /// `name` is for people.
    case host(name: String, target: String, SSH)
    case sandbox(Sandbox)

    var name: String {
        switch self {
        case .here: ProcessInfo.processInfo.hostName
        case .host(let name, _, _): name
        case .sandbox(let sandbox): sandbox.name
        }
    }

    /// Before a sentence about it; of this machine there is only one.
    var prefix: String { isHere ? "" : name + ": " }

    var isHere: Bool { if case .here = self { true } else { false } }

    /// Runs `words` as they are: no shell sees more than one word in each. `input` is a file here.
    func run(_ words: [String], input: String? = nil, limit: Duration) async throws(CommandError) -> Program.Answer {
        switch self {
        case .here:
            try await Program(name: words[0], arguments: Array(words.dropFirst())).run(input: input, limit: limit)
        case .host(_, let target, let ssh): try await ssh.run(words, on: target, input: input, limit: limit)
        case .sandbox(let sandbox): try await sandbox.run(words, input: input, limit: limit)
        }
    }

    /// Runs `script`, which follows service.sh. A status that is neither 0 nor one of `expected` is an error.
    func run(
        script: [UInt8], _ arguments: [String], input: String? = nil, expecting: [Int32] = [], limit: Duration,
        doing: String
    ) async throws(CommandError) -> Program.Answer {
        let answer = try await run(Self.words(script, arguments), input: input, limit: limit)
        guard answer.status == 0 || expecting.contains(answer.status) else {
            let reason = answer.status == 124 || answer.status == 137 ? "took longer than \(limit)" : "failed"
            throw CommandError("\(doing) \(reason).", lines: answer.errors, exitCode: answer.status == 124 ? 124 : 1)
        }
        return answer
    }

    /// What runs `script`.
    static func words(_ script: [UInt8], _ arguments: [String]) -> [String] {
        ["sh", "-c", String(decoding: PackageResources.service_sh + script, as: UTF8.self), "gotoni"] + arguments
    }

    /// What leads from here to `target` there: a socket's path, or HOST:PORT. Some command must have run there before.
    func reach(_ target: String) async throws(CommandError) -> HTTP.Place {
        switch self {
        case .here:
            guard !target.hasPrefix("/") else { return .socket(target) }
            guard let place = HTTP.Place(url: "http://" + target) else {
                throw CommandError("\(target) is no address.")
            }
            return place
        case .host(_, let name, let ssh): return .socket(try await ssh.forward(target, on: name))
        case .sandbox(let sandbox):
            guard let port = target.split(separator: ":").last.flatMap({ Int($0) }) else {
                throw CommandError("\(target) of \(sandbox.name) is no port; tunnels lead to ports.")
            }
            return try await sandbox.reach(port: port)
        }
    }
}
