import Foundation

/// A sandbox of Modal's: commands run in it without SSH, and tunnels lead to its ports.
struct Sandbox: Sendable {
    /// For a command to start; the sandbox itself has started.
    private static let startLimit = Duration.seconds(60)
    private static let tunnelsLimit = Duration.seconds(30)
    private static let slow: Int32 = 124

    var id: String
    var name: String
    var helper: ModalHelper

    private struct Command: Encodable {
        var sandbox: String
        var command: [String]
        var stdinFile: String?
        var timeoutS: Int64
        var waitS: Int64
    }
    private struct Status: Decodable { var returncode: Int32 }

    /// Runs `words` in it, as they are, with the content of the file `input` on standard input, or nothing. A command that
    /// takes longer than `limit` is ended; its status is then 124.
    func run(_ words: [String], input: String?, limit: Duration) async throws(CommandError) -> Program.Answer {
        let seconds = max(1, limit.components.seconds)
        let order = Command(
            sandbox: id, command: words, stdinFile: input, timeoutS: seconds, waitS: Self.startLimit.components.seconds)
        do throws(ModalHelper.Failure) {
            let reply = try await helper.reply(to: "exec", order, limit: limit + Self.startLimit)
            let status: Status = try ModalHelper.answer(in: reply)
            return Program.Answer(
                status: status.returncode, output: String(decoding: reply.output, as: UTF8.self),
                errors: String(decoding: reply.errors, as: UTF8.self))
        } catch {
            guard case .refused(let refusal) = error, refusal.code == "timeout" else { throw about(error) }
            return Program.Answer(
                status: Self.slow, output: String(decoding: refusal.output, as: UTF8.self),
                errors: String(decoding: refusal.errors + Data("\(refusal.message)\n".utf8), as: UTF8.self))
        }
    }

    struct Tunnel: Decodable, Sendable {
        /// In the sandbox.
        var port: Int
        var url: String
    }
    private struct Tunnels: Decodable { var tunnels: [Tunnel] }
    private struct Look: Encodable {
        var sandbox: String
        var waitS: Int64
    }

    /// In the order of their ports. Waits until it has started.
    func tunnels(limit: Duration) async throws(ModalHelper.Failure) -> [Tunnel] {
        let look = Look(sandbox: id, waitS: limit.components.seconds)
        let found: Tunnels = try await helper.ask("tunnels", look, limit: limit)
        return found.tunnels
    }

    /// Where its port `port` is reached.
    func reach(port: Int) async throws(CommandError) -> HTTP.Place {
        let found: [Tunnel]
        do throws(ModalHelper.Failure) {
            found = try await tunnels(limit: Self.tunnelsLimit)
        } catch {
            throw about(error)
        }
        guard let tunnel = found.first(where: { $0.port == port }) else {
            let ports =
                found.isEmpty ? "no tunnels" : "tunnels to \(found.map { "\($0.port)" }.joined(separator: ", "))"
            throw CommandError("\(name) has \(ports), none to \(port); launch --port makes them.", exitCode: 5)
        }
        guard let place = HTTP.Place(url: tunnel.url) else {
            throw CommandError("The tunnel to port \(port) of \(name) is no URL: \(tunnel.url)")
        }
        return place
    }

    private func about(_ failure: ModalHelper.Failure) -> CommandError {
        var error = failure.sentence
        error.sentence = "\(name): \(error.sentence)"
        return error
    }
}
