import Foundation
import Subprocess

/// Runs a program to its end.
struct Program {
    struct Answer: Sendable {
        /// As a shell has it: 128 and the signal, for what a signal ended.
        var status: Int32
        var output: String
        var errors: String

        /// The value of the first line "word value".
        func value(_ word: String) -> String? { values(word).first }

        func values(_ word: String) -> [String] {
            output.split(separator: "\n").filter { $0.hasPrefix(word + " ") }.map {
                String($0.dropFirst(word.count + 1))
            }
        }
    }

    /// Every answer is short: a script's lines, the end of a log.
    private static let most = 1 << 20

    var name: String
    var arguments: [String]

    /// With the content of the file `input` on standard input, or nothing. Ended when it takes longer than `limit`.
    func run(input: String? = nil, limit: Duration) async throws(CommandError) -> Answer {
        // The shell opens the file: what is sent does not pass through this process.
        let opening = input.map { ["sh", "-c", "file=$1; shift; exec \"$@\" <\"$file\"", "sh", $0] } ?? []
        let words = opening + [name] + arguments
        let answer: Answer?
        do {
            answer = try await withThrowingTaskGroup(of: Answer?.self) { group in
                group.addTask {
                    let result = try await Subprocess.run(
                        .name(words[0]), arguments: Arguments(Array(words.dropFirst())),
                        output: .string(limit: Self.most),
                        error: .string(limit: Self.most))
                    let status =
                        switch result.terminationStatus {
                        case .exited(let code): code
                        case .signaled(let signal): 128 + signal
                        }
                    return Answer(
                        status: status, output: result.standardOutput, errors: result.standardError)
                }
                group.addTask {
                    try? await Task.sleep(for: limit)
                    return nil
                }
                defer { group.cancelAll() }
                return try await group.next() ?? nil
            }
        } catch {
            throw CommandError("\(name) cannot be run: \(error).")
        }
        guard let answer else {
            throw CommandError("\(name) took longer than \(limit) and was ended.", exitCode: 124)
        }
        return answer
    }
}
