import FoundationEssentials

/// What is to go wrong, for tests of what stands before an engine.
///
/// Given to POST /fault or --fault as a JSON object; what it does not name stays as it is.
struct Faults {
    /// Requests are taken and never answered.
    var hangs = false
    /// Connections are closed as soon as they are accepted; this many, or all.
    var refuses: Times?
    /// Requests are answered with an error.
    var status: Status?
    /// Answers break off.
    var cut: Cut?
    /// Everything takes this many times as long.
    var slowness = 1.0

    enum Times: Equatable {
        case always
        case left(Int)
    }

    struct Status {
        var code: Int
        var times: Times
        /// Seconds.
        var retryAfter: Int?
        /// Nil is every endpoint that generates.
        var path: String?
    }

    struct Cut {
        var chunks: Int
        var times: Times
    }

    // MARK: What happens

    mutating func refusesNow() -> Bool { Self.take(&refuses, times: \.self) != nil }

    /// The error that a request gets, if it gets one.
    mutating func statusNow(path: String, generates: Bool) -> Status? {
        guard let status, status.path.map({ $0 == path }) ?? generates else { return nil }
        return Self.take(&self.status, times: \.times)
    }

    /// After how many chunks the next answer breaks off.
    mutating func cutNow() -> Int? { Self.take(&cut, times: \.times)?.chunks }

    private static func take<Fault>(_ fault: inout Fault?, times: WritableKeyPath<Fault, Times>) -> Fault? {
        guard let now = fault else { return nil }
        if case .left(let left) = now[keyPath: times] {
            if left > 1 { fault?[keyPath: times] = .left(left - 1) } else { fault = nil }
        }
        return now
    }

    // MARK: Orders

    /// One order, checked.
    struct Order: Decodable {
        var hang: Bool?
        var status: Int?
        var retryAfter: Int?
        var path: String?
        var cutAfterChunks: Int?
        var refuse: Bool?
        var count: Int?
        var slow: Double?
        var crash: Bool?
        var reset: Bool?

        enum CodingKeys: String, CodingKey, CaseIterable {
            case hang, status
            case retryAfter = "retry_after"
            case path
            case cutAfterChunks = "cut_after_chunks"
            case refuse, count, slow, crash, reset
        }
    }

    /// Errors: a sentence that says which key is wrong.
    static func order(_ json: Data) throws(Refusal) -> Order {
        let order: Order = try JSONObject.read(json, what: "a fault", known: Order.CodingKeys.allCases.map(\.rawValue))
        func check(_ holds: Bool, _ text: String) throws(Refusal) { if !holds { throw Refusal(text) } }
        try check((400...599).contains(order.status ?? 500), "status must be 400 to 599")
        try check((0...86_400).contains(order.retryAfter ?? 0), "retry_after must be 0 to 86400 seconds")
        try check((0...1_000_000).contains(order.cutAfterChunks ?? 0), "cut_after_chunks must be 0 to 1000000")
        try check((1...1_000_000).contains(order.count ?? 1), "count must be 1 to 1000000")
        try check((0.001...1_000).contains(order.slow ?? 1), "slow must be 0.001 to 1000")
        try check(
            order.status != nil || (order.retryAfter == nil && order.path == nil), "retry_after and path need status")
        let counted = [order.status != nil, order.cutAfterChunks != nil, order.refuse == true].filter(\.self).count
        try check(order.count == nil || counted == 1, "count needs one of status, cut_after_chunks, refuse")
        return order
    }

    /// All but `crash`, which is an event.
    mutating func apply(_ order: Order) {
        if order.reset == true { self = Faults() }
        let times = order.count.map { Times.left($0) } ?? .always
        if let hang = order.hang { hangs = hang }
        if let refuse = order.refuse { refuses = refuse ? times : nil }
        if let status = order.status {
            self.status = Status(code: status, times: times, retryAfter: order.retryAfter, path: order.path)
        }
        if let chunks = order.cutAfterChunks { cut = Cut(chunks: chunks, times: times) }
        if let slow = order.slow { slowness = slow }
    }

    /// What is set now, as JSON.
    var text: String {
        func json(_ times: Times) -> String { if case .left(let count) = times { "\(count)" } else { "null" } }
        let refuse = refuses.map { #"{"count":\#(json($0))}"# } ?? "null"
        let status = status.map {
            let (after, path) = ($0.retryAfter.map(String.init) ?? "null", $0.path.map(quoted) ?? "null")
            return #"{"status":\#($0.code),"count":\#(json($0.times)),"retry_after":\#(after),"path":\#(path)}"#
        }
        let cut = cut.map { #"{"cut_after_chunks":\#($0.chunks),"count":\#(json($0.times))}"# }
        return #"{"hang":\#(hangs),"refuse":\#(refuse),"status":\#(status ?? "null"),"cut":\#(cut ?? "null"),"#
            + #""slow":\#(slowness)}"#
    }
}
