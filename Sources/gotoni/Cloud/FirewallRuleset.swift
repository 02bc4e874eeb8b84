/// A list of rules: that of the whole account, or one of a region, which holds for the machines that were launched with it.
struct FirewallRuleset: Encodable, Sendable {
    /// The account's, as name and as id.
    static let global = "global"

    var id: String
    var name: String
    /// Nil: the account's.
    var region: String?
    var rules: [FirewallRule]
    /// Ids.
    var machines: [String]

    /// That of a cluster's machines in a region.
    static func name(cluster: String, region: String) -> String { "gotoni-\(cluster)-\(region)" }
}

extension Array<FirewallRuleset> {
    /// The one of this name or id. Errors: none, or several.
    func one(named name: String) throws(CommandError) -> FirewallRuleset {
        if let exact = first(where: { $0.id == name }) { return exact }
        let named = filter { $0.name == name }
        guard let first = named.first else {
            throw CommandError("There is no ruleset \"\(name)\"; gotoni firewall list shows all.", exitCode: 5)
        }
        guard named.count == 1 else {
            throw CommandError(
                "\"\(name)\" are \(named.count) rulesets; name one by its id:",
                lines: named.map { "\($0.id)  \($0.region ?? "")" }.joined(separator: "\n"), exitCode: 2)
        }
        return first
    }
}
