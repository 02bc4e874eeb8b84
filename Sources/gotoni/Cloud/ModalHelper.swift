import Foundation
import Subprocess
import Synchronization

/// The process that uses Modal for gotoni, with Modal's own Python SDK (modal_helper.py): requests and answers are lines
/// of JSON. It starts with the first request, has many under way at once, and ends with gotoni.
actor ModalHelper {
    enum Failure: Error {
        case refused(Refusal)
        /// There is no helper, or none any more.
        case lost(CommandError)
    }

    /// By Modal or by the helper; its codes are those of modal_helper.py.
    struct Refusal {
        var code: String
        var message: String
        /// What a command wrote before.
        var output = Data()
        var errors = Data()
    }

    /// `document` has the answer under "ok"; the others are what a command wrote.
    struct Reply {
        var document: Data
        var output: Data
        var errors: Data
    }

    /// uv may have to download the SDK first.
    private static let startLimit = Duration.seconds(300)
    /// From then on somebody may want to know what takes so long.
    private static let quickStart = Duration.seconds(5)
    /// The helper keeps to limits itself; so much later it is no longer waited for.
    private static let grace = Duration.seconds(30)
    /// It puts in order what it is creating before it ends.
    private static let endLimit = Duration.seconds(15)
    /// For its last words, after its output has ended or it reads no more.
    private static let lastWords = Duration.seconds(1)
    /// It refuses more than 64.
    private static let mostAtOnce = 60
    /// Bytes: of a line, of a command's output, and of the process's errors.
    private static let longestLine = 16 << 20
    private static let mostOutput = 1 << 20
    private static let keptErrors = 8 << 10

    /// The one that runs.
    private static let running = Mutex<ModalHelper?>(nil)

    private let python: String?
    private var process: Task<Void, Never>?
    /// The process, which is also its group.
    private var pid: pid_t?
    private var orders: AsyncStream<[UInt8]>.Continuation?
    private var isReady = false
    /// Why there is none any more.
    private var end: CommandError?
    private var errors = Data()
    private var requests: [Int: Request] = [:]
    private var last = 0
    /// Those who wait because `mostAtOnce` are under way.
    private var turns: [CheckedContinuation<Void, Never>] = []

    private struct Request {
        var answer: CheckedContinuation<Result<Reply, Failure>, Never>
        var output = Data()
        var errors = Data()

        var isTooLong: Bool { max(output.count, errors.count) > mostOutput }
    }

    /// `python`: one that has the SDK; nil: one is looked for.
    init(python: String?) { self.python = python }

    /// Ends the one that runs, and waits for it.
    static func stop() async {
        guard let helper = running.withLock({ $0 }) else { return }
        await helper.stop()
    }

    // MARK: Requests

    /// What it answers. `limit`: the longest that the helper itself takes for it.
    func ask<Answer: Decodable & Sendable>(
        _ operation: String, _ arguments: some Encodable & Sendable, limit: Duration
    ) async throws(Failure) -> Answer {
        try Self.answer(in: try await reply(to: operation, arguments, limit: limit))
    }

    func reply(
        to operation: String, _ arguments: some Encodable & Sendable, limit: Duration
    ) async throws(Failure) -> Reply {
        start()
        while requests.count >= Self.mostAtOnce, end == nil { await withCheckedContinuation { turns.append($0) } }
        if let end { throw .lost(end) }
        last += 1
        let number = last
        guard let line = Self.line(number, operation, arguments) else {
            throw .lost(CommandError("A request to Modal cannot be written: \(operation)."))
        }
        let waiting = limit + Self.grace + (isReady ? .zero : Self.startLimit)
        let deadline = Task {
            try await Task.sleep(for: waiting)
            let refusal = Refusal(code: "timeout", message: "\(operation): no answer within \(waiting)")
            self.answer(number, .failure(.refused(refusal)))
        }
        let result = await withCheckedContinuation { continuation in
            requests[number] = Request(answer: continuation)
            orders?.yield(line)
        }
        deadline.cancel()
        if !turns.isEmpty { turns.removeFirst().resume() }
        return try result.get()
    }

    static func answer<Answer: Decodable>(in reply: Reply) throws(Failure) -> Answer {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        guard let good = try? decoder.decode(Good<Answer>.self, from: reply.document) else {
            throw .lost(CommandError("The helper for Modal gave an answer that is not understood."))
        }
        return good.ok
    }

    private struct Good<Answer: Decodable>: Decodable { var ok: Answer }

    private struct Order<Arguments: Encodable>: Encodable {
        var id: Int
        var op: String
        var args: Arguments
    }

    private static func line(_ number: Int, _ operation: String, _ arguments: some Encodable) -> [UInt8]? {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        let order = Order(id: number, op: operation, args: arguments)
        return (try? encoder.encode(order)).map { Array($0) + [UInt8(ascii: "\n")] }
    }

    private func answer(_ number: Int, _ result: Result<Reply, Failure>) {
        requests.removeValue(forKey: number)?.answer.resume(returning: result)
    }

    // MARK: Lines

    /// What a line may have besides an answer.
    private struct Line: Decodable {
        /// Of a request; in the first line it is a code, with a message beside it.
        enum Problem: Decodable {
            case code(String)
            case answer(Words)

            struct Words: Decodable {
                var code: String
                var message: String
            }

            init(from decoder: any Decoder) throws {
                let value = try decoder.singleValueContainer()
                if let code = try? value.decode(String.self) {
                    self = .code(code)
                } else {
                    self = .answer(try value.decode(Words.self))
                }
            }
        }

        var id: Int?
        var event: String?
        var data: Data?
        var error: Problem?
        var message: String?
    }

    private func take(_ document: Data) {
        guard let line = try? JSONDecoder().decode(Line.self, from: document) else {
            return close(CommandError("What the helper for Modal says is not understood."))
        }
        guard let number = line.id else {
            if line.event == "hello" { isReady = true } else { close(Self.noStart(line)) }
            return
        }
        guard var request = requests[number] else { return }
        switch (line.event, line.error) {
        case ("stdout", _), ("stderr", _):
            guard !request.isTooLong, let data = line.data else { return }
            if line.event == "stdout" { request.output += data } else { request.errors += data }
            requests[number] = request
        case (_, .answer(let words)):
            let refusal = Refusal(
                code: words.code, message: words.message, output: request.output, errors: request.errors)
            answer(number, .failure(.refused(refusal)))
        default:
            let tooLong = CommandError("The command wrote more than \(Self.mostOutput >> 20) MiB.")
            let reply = Reply(document: document, output: request.output, errors: request.errors)
            answer(number, request.isTooLong ? .failure(.lost(tooLong)) : .success(reply))
        }
    }

    private static func noStart(_ line: Line) -> CommandError {
        CommandError("Modal's SDK cannot be used: \(line.message ?? "no reason is known"). \(ModalPython.advice)")
    }

    private func keep(errors data: Data) { errors = (errors + data).suffix(Self.keptErrors) }

    /// There is no helper any more: whoever waits is told so.
    private func close(_ reason: CommandError) {
        guard end == nil else { return }
        end = reason
        orders?.finish()
        kill()
        for number in requests.keys { answer(number, .failure(.lost(reason))) }
        for turn in turns { turn.resume() }
        turns = []
    }

    private func ended() {
        let sentence =
            isReady
            ? "The helper for Modal ended in the middle of its work."
            : "Python with Modal's SDK ended before it was ready. \(ModalPython.need) \(ModalPython.advice)"
        close(CommandError(sentence, lines: String(decoding: errors, as: UTF8.self)))
    }

    // MARK: The process

    private func start() {
        guard process == nil else { return }
        Self.running.withLock { $0 = self }
        // A helper that has died is an error, and no reason to die. What gotoni starts does not inherit a handler.
        signal(SIGPIPE) { _ in }
        let (lines, orders) = AsyncStream<[UInt8]>.makeStream()
        self.orders = orders
        process = Task { await self.live(lines) }
        Task {
            try await Task.sleep(for: Self.quickStart)
            if !self.isReady, self.end == nil {
                Progress.say("Modal's SDK is starting; uv downloads it the first time")
            }
        }
    }

    private func stop() async {
        guard let process else { return }
        orders?.finish()
        let deadline = Task {
            try await Task.sleep(for: Self.endLimit)
            self.kill()
        }
        await process.value
        deadline.cancel()
    }

    /// With all that it has started.
    private func kill() {
        if let pid { _ = Foundation.kill(-pid, SIGKILL) }
    }

    private func began(_ pid: pid_t) {
        self.pid = pid
        if end != nil { kill() }
    }

    private func forget() { pid = nil }

    private nonisolated func live(_ lines: AsyncStream<[UInt8]>) async {
        let words: [String]
        do throws(CommandError) {
            words = try ModalPython.words(python)
        } catch {
            return await close(error)
        }
        // A shell finds it, by a path or in PATH. A terminal's interrupt is not for it: it sees that gotoni has ended.
        var options = PlatformOptions()
        options.createSession = true
        do {
            _ = try await Subprocess.run(
                .name("sh"), arguments: Arguments(["-c", "exec \"$@\"", "sh"] + words), platformOptions: options,
                input: .inputWriter, output: .sequence, error: .sequence
            ) { execution in
                await self.began(execution.processIdentifier.value)
                await self.speak(
                    execution.standardInputWriter, lines, execution.standardOutput, execution.standardError)
            }
        } catch {
            await close(CommandError("The helper for Modal cannot be run: \(error)."))
        }
        await forget()
    }

    private enum Part { case input, deaf, output, errors, late }

    private nonisolated func speak(
        _ input: StandardInputWriter, _ lines: AsyncStream<[UInt8]>, _ output: SubprocessOutputSequence,
        _ errors: SubprocessOutputSequence
    ) async {
        await withTaskGroup(of: Part.self) { parts in
            parts.addTask {
                do {
                    for await line in lines { _ = try await input.write(line) }
                    try await input.finish()
                    return .input
                } catch {
                    return .deaf
                }
            }
            parts.addTask {
                await self.read(output)
                return .output
            }
            parts.addTask {
                await self.readErrors(errors)
                return .errors
            }
            var open: Set<Part> = [.output, .errors]
            while !open.isEmpty, let part = await parts.next(), part != .late {
                open.remove(part)
                if part == .output || part == .deaf {
                    // Something that it has left behind may hold its errors open.
                    parts.addTask {
                        try? await Task.sleep(for: Self.lastWords)
                        return .late
                    }
                }
            }
            await self.ended()
            parts.cancelAll()
        }
    }

    private nonisolated func read(_ output: SubprocessOutputSequence) async {
        var line = Data()
        do {
            for try await buffer in output {
                let pieces = buffer.withUnsafeBytes { Data($0) }
                    .split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
                for (index, piece) in pieces.enumerated() {
                    line += piece
                    guard index < pieces.count - 1 else { break }
                    await take(line)
                    line = Data()
                }
                guard line.count <= Self.longestLine else {
                    return await close(CommandError("The helper for Modal says more than is wanted."))
                }
            }
        } catch {
            await close(CommandError("What the helper for Modal says cannot be read: \(error)."))
        }
    }

    private nonisolated func readErrors(_ errors: SubprocessOutputSequence) async {
        do {
            for try await buffer in errors { await keep(errors: buffer.withUnsafeBytes { Data($0) }) }
        } catch {
            await keep(errors: Data("\(error)\n".utf8))
        }
    }
}

extension ModalHelper.Failure {
    /// In words.
    var sentence: CommandError {
        switch self {
        case .lost(let error): return error
        case .refused(let refusal):
            let lines = refusal.message.split(separator: "\n", maxSplits: 1).map(String.init)
            let rest = lines.count > 1 ? lines[1] : ""
            let first = lines.first ?? refusal.code
            let message = first.last?.isPunctuation == true ? first : first + "."
            switch refusal.code {
            case "auth":
                let sentence = "Modal does not take these credentials: \(message) Is the token right?"
                return CommandError(sentence, lines: rest, exitCode: 4)
            case "not-found": return CommandError("Modal: \(message)", lines: rest, exitCode: 5)
            case "capacity": return CommandError("Modal has no room for it now: \(message)", lines: rest, exitCode: 6)
            case "timeout": return CommandError("Modal took too long: \(message)", lines: rest, exitCode: 124)
            case "unavailable": return CommandError("Modal does not answer: \(message)", lines: rest)
            default: return CommandError("Modal refused: \(message)", lines: rest)
            }
        }
    }

    var code: String? {
        if case .refused(let refusal) = self { refusal.code } else { nil }
    }
}
