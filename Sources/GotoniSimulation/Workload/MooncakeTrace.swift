public import FoundationEssentials
import GotoniCore

extension Workload {
    /// A trace in Mooncake's format (FAST '25): a JSON object a line with `timestamp` (ms), `input_length`,
    /// `output_length` (tokens) and `hash_ids`, one for each `blockTokens` of the prompt, equal for equal beginnings.
    ///
    /// Timestamps are those of batches of 3 seconds, so rows that share one are spread over it, drawn from `seed`. A row
    /// with a `session_id` that came before continues that session, as aiperf writes it: its ids and length are what is
    /// new behind the prompt and answer of the turn before, and it is sent `delay` ms after that answer. Where no sessions
    /// are named, a request belongs to that of the longest earlier prompt which it continues. A session is a user.
    /// Errors: the first line that is no such row.
    public static func mooncake(
        _ text: Data, name: String, blockTokens: Int = 512, limit: Int? = nil, seed: UInt64
    ) throws(SimulationError) -> Workload {
        guard (1...1 << 20).contains(blockTokens) else {
            throw SimulationError("a block must have 1 to 1,048,576 tokens")
        }
        var rows = try readRows(text, name, blockTokens, limit)
        // Some traces count from another beginning, such as that of the week.
        let first = rows.map(\.time).min() ?? 0
        for index in rows.indices { rows[index].timestamp = rows[index].time - first }
        var reader = MooncakeReader(name: name, blockTokens: blockTokens)
        if rows.contains(where: { $0.session_id != nil }) {
            for row in rows { reader.addTurn(row) }
        } else {
            let sorted = rows.enumerated().sorted { ($0.element.time, $0.offset) < ($1.element.time, $1.offset) }
                .map(\.element)
            let arrivals = spread(sorted.map(\.time), seed)
            for (row, arrival) in zip(sorted, arrivals) { reader.addRequest(row, arrival) }
        }
        try reader.workload.check()
        return reader.workload
    }

    private static func readRows(
        _ text: Data, _ name: String, _ blockTokens: Int, _ limit: Int?
    ) throws(SimulationError) -> [MooncakeRow] {
        var rows: [MooncakeRow] = []
        let decoder = JSONDecoder()
        for (index, line) in text.split(separator: UInt8(ascii: "\n")).prefix(limit ?? .max).enumerated() {
            let place = "\(name), line \(index + 1)"
            do {
                rows.append(try decoder.decode(MooncakeRow.self, from: line))
            } catch {
                throw SimulationError("\(place) is no Mooncake request")
            }
            let row = rows[rows.count - 1]
            guard (0...1e13).contains(row.time), (0...1e9).contains(row.delay ?? 0) else {
                throw SimulationError("\(place): a time is negative, too large or no number")
            }
            guard (1...1 << 30).contains(row.input_length), (0...1 << 30).contains(row.output_length) else {
                throw SimulationError("\(place): a length is negative, zero or too large")
            }
            // Above that, ids would get each other's tokens (`Workload.appendTokens`), or those of answers.
            guard row.hash_ids.allSatisfy({ $0 < 1 << 40 }) else {
                throw SimulationError("\(place): a hash id is 2^40 or above")
            }
            guard row.hash_ids.count == (row.input_length + blockTokens - 1) / blockTokens else {
                throw SimulationError(
                    "\(place) has \(row.hash_ids.count) hash_ids for \(row.input_length) tokens in blocks of \(blockTokens); are the blocks of another size?"
                )
            }
        }
        return rows
    }

    /// Times in nanoseconds. Rows that share a timestamp are spread up to the next, at most over 3 seconds.
    private static func spread(_ milliseconds: [Double], _ seed: UInt64) -> [Nanoseconds] {
        var chance = SplitMix64.stream(seed, 0xA881)
        var times: [Double] = []
        while times.count < milliseconds.count {
            let first = milliseconds[times.count]
            let group = milliseconds[times.count...].prefix { $0 == first }
            let gap = group.endIndex < milliseconds.count ? min(3_000, milliseconds[group.endIndex] - first) : 3_000
            times += group.count == 1 ? [first] : group.map { _ in first + gap * chance.uniform() }.sorted()
        }
        return times.map(Nanoseconds.init(milliseconds:))
    }
}

/// A line, with the trace's own names.
private struct MooncakeRow: Decodable {
    var timestamp: Double?
    var delay: Double?
    var input_length: Int
    var output_length: Int
    var hash_ids: [UInt64]
    var session_id: String?

    var time: Double { timestamp ?? 0 }
}

private struct MooncakeReader {
    var workload: Workload
    let blockTokens: Int
    private var numbers: [UInt64: UInt32] = [:]
    private var sessions: [String: Session] = [:]
    /// For traces that name no sessions: the session of the prompt that ended with this whole block.
    private var sessionOfLastBlock: [UInt32: Int] = [:]
    private var seen: Set<UInt32> = []

    private struct Session {
        var number: Int
        var lastRequest: Int
        /// Prompt and answer so far.
        var context: [Segment]
    }

    init(name: String, blockTokens: Int) {
        workload = Workload(name: name)
        self.blockTokens = blockTokens
    }

    mutating func addRequest(_ row: MooncakeRow, _ arrival: Nanoseconds) {
        let prompt = segments(row)
        let session = inferSession(row, prompt)
        workload.add(
            prompt, outputTokens: row.output_length, arrival: .at(arrival), user: session, session: session)
    }

    mutating func addTurn(_ row: MooncakeRow) {
        let key = row.session_id ?? "row \(workload.requests.count)"
        let known = sessions[key]
        let prompt = (known?.context ?? []) + segments(row)
        let number = known?.number ?? workload.sessions
        let answer = workload.addOwnBlock(answer: true)
        let delay = Nanoseconds(milliseconds: row.delay ?? 0)
        let arrival = known.map { Arrival.after(request: $0.lastRequest, delay: delay) }
        sessions[key] = Session(
            number: number, lastRequest: workload.requests.count,
            context: prompt + [Segment(block: answer, tokens: UInt32(max(row.output_length, 1)))])
        workload.add(
            prompt, outputTokens: row.output_length, arrival: arrival ?? .at(Nanoseconds(milliseconds: row.time)),
            user: number, session: number, answer: answer)
    }

    private mutating func segments(_ row: MooncakeRow) -> [Segment] {
        var left = row.input_length
        return row.hash_ids.map { id in
            let block = numbers[id] ?? workload.addBlock(name: id)
            numbers[id] = block
            let tokens = min(left, blockTokens)
            left -= tokens
            return Segment(block: block, tokens: UInt32(tokens))
        }
    }

    private mutating func inferSession(_ row: MooncakeRow, _ prompt: [Segment]) -> Int {
        let known = prompt.reversed().lazy.compactMap { [sessionOfLastBlock] in sessionOfLastBlock[$0.block] }.first
        let session = known ?? workload.sessions
        let wholeBlocks = row.input_length / blockTokens
        if wholeBlocks > 0, !seen.contains(prompt[wholeBlocks - 1].block) {
            // Else the prompt ends inside a shared system prompt.
            sessionOfLastBlock[prompt[wholeBlocks - 1].block] = session
        }
        seen.formUnion(prompt.map(\.block))
        return session
    }
}
