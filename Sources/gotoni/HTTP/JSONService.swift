import Foundation

/// Somebody who answers in JSON, and says {"error": {"message": …}} where something is wrong.
struct JSONService: Sendable {
    var place: HTTP.Place
    /// At the beginning of a sentence, and what program it should be.
    var name: String
    var program: String
    /// Where nobody answers: that, and what to do.
    var nobody: CommandError
    var fields: [(String, String)] = []
    var limit: Duration

    private struct Problem: Decodable {
        struct Words: Decodable { var message: String }
        var error: Words
    }

    /// What it answers with a status below 300.
    func bytes(_ method: HTTP.Method, _ path: String, _ body: Data? = nil) async throws(CommandError) -> Data {
        let answer: HTTP.Answer
        do throws(HTTP.Failure) {
            answer = try await HTTP.ask(method, path, body, fields: fields, at: place, limit: limit)
        } catch {
            switch error {
            case .closed: throw nobody
            case .certificate: throw CommandError("\(name) has no certificate that is trusted here.")
            case .timeout: throw CommandError("\(name) has not answered within \(limit).", exitCode: 124)
            case .tooLarge: throw CommandError("The answer is too large.")
            }
        }
        guard (200..<300).contains(answer.status) else {
            let problem = try? Self.decoder.decode(Problem.self, from: answer.body)
            let exitCode: Int32 =
                switch answer.status {
                case 401, 403: 4
                case 404: 5
                default: 1
                }
            throw CommandError(
                "\(name) refused: \(problem?.error.message ?? "status \(answer.status)")", exitCode: exitCode)
        }
        return answer.body
    }

    func ask<Answer: Decodable>(
        _ method: HTTP.Method, _ path: String, _ body: Data? = nil
    ) async throws(CommandError) -> Answer {
        try decode(try await bytes(method, path, body))
    }

    func decode<Answer: Decodable>(_ bytes: Data) throws(CommandError) -> Answer {
        do {
            return try Self.decoder.decode(Answer.self, from: bytes)
        } catch {
            throw CommandError("What answers there is no \(program).")
        }
    }

    /// For a query.
    static func quoted(_ text: String) -> String {
        text.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
    }

    private static var decoder: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return decoder
    }
}
