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

    enum Failure: Error {
        /// With a status of 300 or more, and what it says of it.
        case refused(status: UInt, problem: Problem?)
        case http(HTTP.Failure)
    }

    struct Problem: Decodable {
        struct Words: Decodable {
            var code: String?
            var message: String
            var suggestion: String?
        }
        var error: Words
    }

    /// What it answers with a status below 300.
    func answer(_ method: HTTP.Method, _ path: String, _ body: Data? = nil) async throws(Failure) -> Data {
        let answer: HTTP.Answer
        do throws(HTTP.Failure) {
            answer = try await HTTP.ask(method, path, body, fields: fields, at: place, limit: limit)
        } catch {
            throw .http(error)
        }
        guard (200..<300).contains(answer.status) else {
            throw .refused(status: answer.status, problem: try? Self.decoder.decode(Problem.self, from: answer.body))
        }
        return answer.body
    }

    /// The same, with failures in words.
    func bytes(_ method: HTTP.Method, _ path: String, _ body: Data? = nil) async throws(CommandError) -> Data {
        do throws(Failure) {
            return try await answer(method, path, body)
        } catch {
            throw sentence(error)
        }
    }

    func sentence(_ failure: Failure) -> CommandError {
        switch failure {
        case .http(.closed): return nobody
        case .http(.certificate): return CommandError("\(name) has no certificate that is trusted here.")
        case .http(.timeout): return CommandError("\(name) has not answered within \(limit).", exitCode: 124)
        case .http(.tooLarge): return CommandError("The answer is too large.")
        case .refused(let status, let problem):
            let exitCode: Int32 =
                switch status {
                case 401, 403: 4
                case 404: 5
                default: 1
                }
            let words = problem.map { $0.error.message + ($0.error.suggestion.map { " \($0)" } ?? "") }
            return CommandError("\(name) refused: \(words ?? "status \(status)")", exitCode: exitCode)
        }
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
