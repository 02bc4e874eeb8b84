/// What becomes of a ruleset's rules.
struct FirewallChange: Encodable, Sendable {
    var ruleset: String
    var region: String?
    var added: [FirewallRule]
    var removed: [FirewallRule]
    /// So many stay as they are.
    var kept: Int
    var isDone = false
    /// Whether SSH came in before and no longer does.
    private var endsSSH: Bool

    private enum CodingKeys: String, CodingKey { case ruleset, region, added, removed, kept, isDone = "done" }

    /// From the ruleset's own to `rules`.
    init(of ruleset: FirewallRuleset, to rules: [FirewallRule]) {
        (self.ruleset, region) = (ruleset.name, ruleset.region)
        var before = ruleset.rules
        added = rules.filter { rule in
            guard let index = before.firstIndex(of: rule) else { return true }
            before.remove(at: index)
            return false
        }
        removed = before
        kept = rules.count - added.count
        endsSSH = ruleset.rules.contains(where: \.admitsSSH) && !rules.contains(where: \.admitsSSH)
    }

    var isEmpty: Bool { added.isEmpty && removed.isEmpty }

    var lines: [String] {
        let place = region.map { " (\($0))" } ?? ""
        return ["\(ruleset)\(place): \(added.count) added, \(removed.count) removed, \(kept) kept"]
            + removed.map { "- \($0.text)" } + added.map { "+ \($0.text)" }
    }

    /// What somebody should know before.
    var warnings: [String] {
        let open = added.filter { $0.sourceNetwork == FirewallRule.anywhere && $0.protocol != "icmp" }
        return open.map { "Warning: anybody can then reach \($0.protocol) \($0.portText)." }
            + (endsSSH ? ["Warning: none of these rules then lets SSH in."] : [])
    }
}
