import Foundation

/// The account's list holds for all machines; a ruleset of a region for those that were launched with it. Lambda does
/// not say whether a machine with a ruleset also keeps the account's list, so a new ruleset gets what that says of SSH.
extension LambdaCloud {
    /// Lambda: "Firewall rules do not apply to the us-south-1 region."
    var regionsWithoutFirewall: [String] { ["us-south-1"] }

    private struct Rules: Codable { var rules: [FirewallRule] }
    private struct Ruleset: Decodable {
        var id: String
        var name: String
        var region: Region
        var rules: [FirewallRule]
        var created: String?
        var instanceIds: [String]?

        var shown: FirewallRuleset {
            FirewallRuleset(id: id, name: name, region: region.name, rules: rules, machines: instanceIds ?? [])
        }
    }
    private struct NewRuleset: Encodable {
        var name: String
        var region: String
        var rules: [FirewallRule]
    }

    func rulesets() async throws(CommandError) -> [FirewallRuleset] {
        let global: Rules = try await ask(.get, "/firewall-rulesets/global")
        let regional: [Ruleset] = try await ask(.get, "/firewall-rulesets")
        let sorted = regional.sorted { ($0.name, $0.created ?? "", $0.id) < ($1.name, $1.created ?? "", $1.id) }
        let first = FirewallRuleset(
            id: FirewallRuleset.global, name: FirewallRuleset.global, region: nil, rules: global.rules, machines: [])
        return [first] + sorted.map(\.shown)
    }

    func replace(rulesOf id: String, by rules: [FirewallRule]) async throws(CommandError) {
        do throws(JSONService.Failure) {
            try await patch(id, rules)
        } catch {
            guard Self.isConflict(error) else { throw sentence(error) }
            throw CommandError("The rules were changed by somebody else at this moment; nothing was done, try again.")
        }
    }

    func delete(ruleset id: String) async throws(CommandError) {
        do throws(CommandError) {
            let _: Nothing = try await ask(.delete, "/firewall-rulesets/\(JSONService.quoted(id))")
        } catch {
            guard error.exitCode == 5 else { throw error }
        }
    }

    func ruleset(_ name: String, region: String) async throws(CommandError) -> String? {
        guard hasFirewall(region) else { return nil }
        let all = try await rulesets()
        if let found = all.first(where: { $0.name == name && $0.region == region }) { return found.id }
        return try await make(name, region, loginRules(all)).id
    }

    /// Two launches at once may have made two of this name: all of them get the rules.
    func allow(
        _ rules: [FirewallRule], ruleset name: String, region: String
    ) async throws(CommandError) -> [FirewallRule] {
        guard hasFirewall(region) else { return [] }
        let all = try await rulesets()
        var found = all.filter { $0.name == name && $0.region == region }
        if found.isEmpty { found = [try await make(name, region, loginRules(all))] }
        var added: [FirewallRule] = []
        for ruleset in found {
            for rule in try await add(rules, to: ruleset) where !added.contains(rule) { added.append(rule) }
        }
        return added
    }

    /// What was missing.
    private func add(
        _ rules: [FirewallRule], to ruleset: FirewallRuleset
    ) async throws(CommandError) -> [FirewallRule] {
        var known = ruleset.rules
        var tries = 0
        while true {
            let missing = rules.missing(in: known)
            guard !missing.isEmpty else { return [] }
            tries += 1
            do throws(JSONService.Failure) {
                try await patch(ruleset.id, known + missing)
                return missing
            } catch {
                guard Self.isConflict(error), tries < Self.mostTries else { throw sentence(error) }
            }
            let now: Rules = try await ask(.get, "/firewall-rulesets/\(JSONService.quoted(ruleset.id))")
            known = now.rules
        }
    }

    /// The whole list, so it may be sent twice.
    private func patch(_ id: String, _ rules: [FirewallRule]) async throws(JSONService.Failure) {
        let _: Rules? = try await call(
            .patch, "/firewall-rulesets/\(JSONService.quoted(id))", Self.encoded(Rules(rules: rules)), repeats: true)
    }

    private func make(
        _ name: String, _ region: String, _ rules: [FirewallRule]
    ) async throws(CommandError) -> FirewallRuleset {
        Progress.say("making the ruleset \(name)")
        let body = Self.encoded(NewRuleset(name: name, region: region, rules: rules))
        for _ in 0..<3 {
            do throws(JSONService.Failure) {
                let made: Ruleset? = try await call(.post, "/firewall-rulesets", body, repeats: false)
                if let made { return made.shown }
            } catch {
                guard Self.isUnanswered(error) || Self.isConflict(error) else { throw sentence(error) }
                Progress.say("\(sentence(error)) Looking whether \(name) was made.")
            }
            let all = try await rulesets()
            if let made = all.first(where: { $0.name == name && $0.region == region }) { return made }
        }
        throw CommandError("Lambda did not make the ruleset \(name), three times over, and did not say why.")
    }

    private func hasFirewall(_ region: String) -> Bool {
        guard regionsWithoutFirewall.contains(region) else { return true }
        Progress.say("Warning: firewall rules do not apply in \(region): all ports of its machines are open.")
        return false
    }

    /// From where the account's list lets SSH in.
    private func loginRules(_ all: [FirewallRuleset]) -> [FirewallRule] {
        let global = all.first { $0.id == FirewallRuleset.global }?.rules ?? []
        let found = global.filter(\.admitsSSH).compactMap { rule in
            try? FirewallRule(
                protocol: "tcp", ports: 22...22, from: rule.sourceNetwork, description: "SSH, as in the global rules")
        }
        if found.isEmpty {
            Progress.say("Warning: the global rules let no SSH in, so the new ruleset lets none in either.")
        }
        return found.missing(in: [])
    }

    private static func isConflict(_ failure: JSONService.Failure) -> Bool {
        if case .refused(409, _) = failure { true } else { false }
    }
}
