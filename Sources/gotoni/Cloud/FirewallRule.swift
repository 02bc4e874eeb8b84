import Foundation

/// What may come in. Rules only ever let in: what no rule names stays out.
struct FirewallRule: Codable, Hashable, Sendable {
    static let protocols = ["tcp", "udp", "icmp", "all"]
    static let anywhere = "0.0.0.0/0"
    private static let longestDescription = 128

    /// One of `protocols`, or what a cloud says that has more of them.
    var `protocol`: String
    /// The first port and the last; nil: the protocol has none.
    var portRange: [Int]?
    /// An IPv4 network.
    var sourceNetwork: String
    var description: String

    /// Errors: 2, what is wrong with it.
    init(
        protocol name: String, ports: ClosedRange<Int>?, from source: String, description: String = "gotoni"
    ) throws(CommandError) {
        func wrong(_ words: String) -> CommandError { CommandError(words, exitCode: 2) }
        guard Self.protocols.contains(name) else {
            throw wrong("There is no protocol \"\(name)\"; there are \(Self.protocols.joined(separator: ", ")).")
        }
        guard (ports == nil) == (name == "icmp") else {
            throw wrong(name == "icmp" ? "icmp has no ports." : "\(name) needs a port.")
        }
        guard ports.map({ $0.lowerBound >= 1 && $0.upperBound <= 65_535 }) ?? true else {
            throw wrong("Ports are from 1 to 65535.")
        }
        guard let network = IPv4Network(source) else {
            throw wrong("\"\(source)\" is no IPv4 network; they are like 203.0.113.7 or 203.0.113.0/24.")
        }
        guard network.isExact else { throw wrong("\(source) is within a network; that is \(network).") }
        guard description.count <= Self.longestDescription else {
            throw wrong("A rule's description has \(Self.longestDescription) characters at most.")
        }
        self.protocol = name
        portRange = ports.map { [$0.lowerBound, $0.upperBound] }
        sourceNetwork = network.description
        self.description = description
    }

    private enum CodingKeys: String, CodingKey { case `protocol`, portRange, sourceNetwork, description }

    /// As a cloud has it: nothing is refused, because who changes a list of rules gives it back whole.
    init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.protocol = try fields.decode(String.self, forKey: .protocol)
        portRange = try fields.decodeIfPresent([Int].self, forKey: .portRange)
        let source = try fields.decode(String.self, forKey: .sourceNetwork)
        sourceNetwork = IPv4Network(source)?.description ?? source
        description = try fields.decodeIfPresent(String.self, forKey: .description) ?? ""
    }

    var ports: ClosedRange<Int>? {
        guard let portRange, portRange.count == 2, portRange[0] <= portRange[1] else { return nil }
        return portRange[0]...portRange[1]
    }

    var source: IPv4Network? { IPv4Network(sourceNetwork) }

    var portText: String {
        ports.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" } ?? "-"
    }

    var text: String {
        "\(self.protocol) " + (ports == nil ? "" : "\(portText) ") + "from \(sourceNetwork)"
            + (description.isEmpty ? "" : " (\(description))")
    }
}

// MARK: What they let in

extension FirewallRule {
    /// Whether all that `other` lets in comes in by this one alone.
    func covers(_ other: FirewallRule) -> Bool {
        guard let source, let inner = other.source, source.contains(inner) else { return false }
        if self.protocol == "icmp" || other.protocol == "icmp" { return self.protocol == other.protocol }
        guard self.protocol == "all" || self.protocol == other.protocol else { return false }
        guard let ports, let inside = other.ports else { return false }
        return ports.contains(inside)
    }

    /// Whether something comes in by either of them.
    func overlaps(_ other: FirewallRule) -> Bool {
        guard let source, let second = other.source, source.contains(second) || second.contains(source) else {
            return false
        }
        if self.protocol == "icmp" || other.protocol == "icmp" { return self.protocol == other.protocol }
        guard self.protocol == "all" || other.protocol == "all" || self.protocol == other.protocol else { return false }
        guard let ports, let others = other.ports else { return false }
        return ports.overlaps(others)
    }

    /// Whether somebody can log in by it.
    var admitsSSH: Bool { (self.protocol == "tcp" || self.protocol == "all") && ports?.contains(22) == true }
}

extension Array<FirewallRule> {
    /// Those that none of `rules` covers alone, each once.
    func missing(in rules: [FirewallRule]) -> [FirewallRule] {
        var found: [FirewallRule] = []
        for rule in self where !(rules + found).contains(where: { $0.covers(rule) }) { found.append(rule) }
        return found
    }
}

// MARK: How they are written

extension FirewallRule {
    /// PROTOCOL:PORT[-PORT]:NETWORK[:DESCRIPTION]; icmp has nothing between the first colons. Errors: 2.
    init(text: String) throws(CommandError) {
        let parts = text.split(separator: ":", maxSplits: 3, omittingEmptySubsequences: false).map(String.init)
        guard parts.count >= 3 else {
            throw CommandError("\"\(text)\" is no rule; they are like tcp:8000-8080:203.0.113.7/32:why.", exitCode: 2)
        }
        let ports = PortRange(argument: parts[1])
        guard ports != nil || parts[1].isEmpty else {
            throw CommandError("\"\(text)\": \"\(parts[1])\" is no port, and no range of ports.", exitCode: 2)
        }
        try self.init(
            protocol: parts[0], ports: ports?.range, from: parts[2], description: parts.count > 3 ? parts[3] : "gotoni")
    }

    /// A JSON array of rules as clouds have them; the description may be missing. Errors: 2.
    static func list(json: Data) throws(CommandError) -> [FirewallRule] {
        guard let found = try? JSONSerialization.jsonObject(with: json) as? [[String: Any]] else {
            throw CommandError("The rules are no JSON array of objects.", exitCode: 2)
        }
        var rules: [FirewallRule] = []
        for (index, fields) in found.enumerated() {
            do throws(CommandError) {
                rules.append(try one(fields))
            } catch {
                throw CommandError("Rule \(index + 1): \(error.sentence)", exitCode: 2)
            }
        }
        return rules
    }

    private static func one(_ fields: [String: Any]) throws(CommandError) -> FirewallRule {
        let known = ["protocol", "port_range", "source_network", "description"]
        if let unknown = fields.keys.sorted().first(where: { !known.contains($0) }) {
            throw CommandError("There is no \"\(unknown)\"; a rule has \(known.joined(separator: ", ")).")
        }
        guard let name = fields["protocol"] as? String, let source = fields["source_network"] as? String else {
            throw CommandError("protocol and source_network must be there, as text.")
        }
        var ports: ClosedRange<Int>?
        if let given = fields["port_range"] {
            guard let pair = given as? [Int], pair.count == 2, pair[0] <= pair[1] else {
                throw CommandError("port_range must be [FIRST, LAST].")
            }
            ports = pair[0]...pair[1]
        }
        let description = fields["description"] ?? "gotoni"
        guard let description = description as? String else { throw CommandError("description must be text.") }
        return try FirewallRule(protocol: name, ports: ports, from: source, description: description)
    }
}
