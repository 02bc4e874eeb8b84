public import FoundationEssentials
import GotoniCore

extension Workload {
    /// A CSV trace, told by its header:
    ///
    ///     TIMESTAMP,ContextTokens,GeneratedTokens
    ///         Azure's (2023): lengths and times without content, so no two prompts share anything.
    ///     session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms
    ///         TraceLab's: coding agents; each round continues the prompt and answer of the one before, after a wait.
    ///
    /// Errors: another header, the first line that does not fit.
    public static func csv(_ text: Data, name: String, limit: Int? = nil) throws(SimulationError) -> Workload {
        var lines = text.split(separator: UInt8(ascii: "\n")).map { String(decoding: $0, as: UTF8.self) }
        guard !lines.isEmpty else { throw SimulationError("\(name) is empty") }
        let header = lines.removeFirst().filter { $0 != "\r" }
        lines = Array(lines.prefix(limit ?? .max))
        var workload = Workload(name: name)
        switch header {
        case "TIMESTAMP,ContextTokens,GeneratedTokens": try workload.addAzure(lines)
        case "session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms":
            try workload.addTraceLab(lines)
        default: throw SimulationError("\(name) has neither Azure's header nor TraceLab's")
        }
        try workload.check()
        return workload
    }

    private mutating func addAzure(_ lines: [String]) throws(SimulationError) {
        var first: Double?
        var rows: [(time: Double, prompt: Int, output: Int)] = []
        for (index, line) in lines.enumerated() {
            let fields = line.filter { $0 != "\r" }.split(separator: ",", omittingEmptySubsequences: false)
            guard fields.count == 3, let time = Self.secondsOfMonth(fields[0]), let prompt = Int(fields[1]),
                let output = Int(fields[2]), (1...1 << 20).contains(prompt), (0...1 << 20).contains(output)
            else { throw SimulationError("\(name), line \(index + 2) is no request of Azure's") }
            first = min(first ?? time, time)
            rows.append((time, prompt, output))
        }
        rows.sort { $0.time < $1.time }
        for row in rows {
            let block = addOwnBlock()
            add(
                [Segment(block: block, tokens: UInt32(row.prompt))], outputTokens: row.output,
                arrival: .at(Nanoseconds(seconds: row.time - (first ?? 0))), user: sessions, session: sessions)
        }
    }

    /// "2023-11-16 18:15:46.6805900" as seconds since the month began.
    private static func secondsOfMonth(_ text: Substring) -> Double? {
        let parts = text.split(whereSeparator: { $0 == " " || $0 == ":" || $0 == "-" })
        let numbers = parts.compactMap { Double($0) }
        guard numbers.count == 6, parts.count == 6, numbers.allSatisfy({ (0...10_000).contains($0) }) else {
            return nil
        }
        return ((numbers[2] * 24 + numbers[3]) * 60 + numbers[4]) * 60 + numbers[5]
    }

    private mutating func addTraceLab(_ lines: [String]) throws(SimulationError) {
        struct Session {
            var number: Int
            var lastRequest: Int
            var wait: Double
            var context: [Segment]
        }
        var known: [Int: Session] = [:]
        for (index, line) in lines.enumerated() {
            let fields = line.filter { $0 != "\r" }.split(separator: ",").compactMap { Int($0) }
            guard fields.count == 7, fields.allSatisfy({ (0...1 << 30).contains($0) }),
                (1...1 << 20).contains(fields[4]),
                fields[5] <= 1 << 20
            else { throw SimulationError("\(name), line \(index + 2) is no round of TraceLab's") }
            let (session, prefix, output) = (fields[0], fields[3], max(fields[5], 1))
            let before = known[session]
            var prompt: [Segment] = []
            if prefix > 0 {
                let context = before?.context ?? []
                let held = context.reduce(0) { $0 + Int($1.tokens) }
                // A context that was cut or rewritten shares nothing.
                prompt =
                    held == prefix
                    ? context : [Segment(block: addBlock(name: 3 << 40 | UInt64(index)), tokens: UInt32(prefix))]
            }
            prompt.append(Segment(block: addOwnBlock(), tokens: UInt32(fields[4])))
            let answer = addOwnBlock(answer: true)
            let number = before?.number ?? sessions
            let arrival: Arrival =
                if let before {
                    .after(request: before.lastRequest, delay: Nanoseconds(milliseconds: before.wait))
                } else {
                    .at(Nanoseconds(milliseconds: Double(fields[1])))
                }
            known[session] = Session(
                number: number, lastRequest: requests.count, wait: Double(fields[6]),
                context: prompt + [Segment(block: answer, tokens: UInt32(output))])
            add(prompt, outputTokens: output, arrival: arrival, user: number, session: number, answer: answer)
        }
        startAtZero()
    }
}
