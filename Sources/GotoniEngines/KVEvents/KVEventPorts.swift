/// Where an engine publishes its KV events, and where it answers replays: `PORT[/REPLAY_PORT]`.
public struct KVEventPorts: Equatable, Sendable, CustomStringConvertible {
    public var events: Int
    /// Nil: nowhere.
    public var replay: Int?

    /// Nil: it is no such text.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count) else { return nil }
        var ports: [Int] = []
        for part in parts {
            guard part.allSatisfy({ ("0"..."9").contains($0) }), let port = Int(part), (1...65_535).contains(port)
            else { return nil }
            ports.append(port)
        }
        events = ports[0]
        if ports.count == 2 {
            guard ports[1] != ports[0] else { return nil }
            replay = ports[1]
        }
    }

    public var description: String { "\(events)\(replay.map { "/\($0)" } ?? "")" }
}
