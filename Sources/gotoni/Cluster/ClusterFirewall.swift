import Foundation

/// Lets a cluster's machines in to one another, and the operator, where the cloud has a ruleset for them.
struct ClusterFirewall {
    var cluster: Cluster
    var cloud: any Cloud
    var nodes: [ClusterOptions.Node]

    /// One report for each region.
    func open(isDry: Bool) async -> [StepReport] {
        let operators = await Set(concurrently(nodes) { await Self.client(of: $0) }.compactMap { $0 })
        var reports: [StepReport] = []
        for region in Set(nodes.compactMap(\.cloudMachine?.region)).sorted() {
            var report = StepReport(machine: region, step: "firewall", state: .held, info: "")
            do throws(CommandError) {
                let rules = try rules(operators.sorted())
                (report.state, report.info) = try await open(region, rules, isDry)
            } catch {
                Progress.say("\(region): firewall: \(error)")
                (report.state, report.info, report.exitCode) = (.failed, error.sentence, error.exitCode)
            }
            reports.append(report)
        }
        return reports
    }

    private func open(_ region: String, _ rules: [FirewallRule], _ isDry: Bool)
        async throws(CommandError) -> (StepReport.State, String)
    {
        guard !cloud.regionsWithoutFirewall.contains(region) else {
            return (.held, "this region has no firewall: the machines' own has to do")
        }
        let name = FirewallRuleset.name(cluster: cluster.name, region: region)
        let own = try await cloud.rulesets().filter { $0.name == name && $0.region == region }
        let machines = nodes.compactMap { node in node.member.region == region ? node.cloudMachine : nil }
        let without = machines.filter { machine in !own.contains { machine.rulesets.contains($0.id) } }
        guard without.count < machines.count else {
            return (.held, "launched without --cluster \(cluster.name), so the account's rules decide")
        }
        let remark =
            without.isEmpty
            ? "" : "; of \(without.map(\.label).joined(separator: ", ")) the account's rules decide"
        let missing = rules.missing(in: own.first?.rules ?? [])
        let stale = own.map { ruleset in ruleset.rules.filter { isOurs($0) && !rules.contains($0) } }
        guard !missing.isEmpty || stale.contains(where: { !$0.isEmpty }) else {
            return (.held, "\(name) lets in the machines and you" + remark)
        }
        let words =
            [("let in", missing), ("shut out", stale.flatMap { $0 })].filter { !$0.1.isEmpty }
            .map { verb, rules in
                verb + " "
                    + rules.map { "\($0.sourceNetwork) to \($0.portRange?.first ?? 0)" }.joined(separator: ", ")
            }
            .joined(separator: "; ")
        guard !isDry else { return (.would, words + remark) }
        // An address that was a machine's may be somebody else's by now.
        for (ruleset, stale) in zip(own, stale) where !stale.isEmpty {
            try await cloud.replace(rulesOf: ruleset.id, by: ruleset.rules.filter { !stale.contains($0) })
        }
        _ = try await cloud.allow(rules, ruleset: name, region: region)
        return (.done, "\(name): \(words)" + remark)
    }

    /// Of a machine; operators' rules stay, because there may be several of them.
    private func isOurs(_ rule: FirewallRule) -> Bool {
        rule.description.hasPrefix(Self.prefix(cluster.name))
            && rule.description != Self.description(cluster.name, Self.you)
    }

    private static func prefix(_ name: String) -> String { "gotoni \(name) " }
    private static let you = "operator"
    /// A rule's; clouds take no more.
    private static func description(_ name: String, _ of: String) -> String { String((prefix(name) + of).prefix(128)) }

    /// Takes all rules of a cluster's away, whose machines end.
    static func close(_ name: String, of cloud: any Cloud) async throws(CommandError) {
        guard cloud.hasRulesets else { return }
        for ruleset in try await cloud.rulesets() {
            guard let region = ruleset.region, ruleset.name == FirewallRuleset.name(cluster: name, region: region)
            else {
                continue
            }
            let kept = ruleset.rules.filter { !$0.description.hasPrefix(prefix(name)) }
            if kept.count < ruleset.rules.count { try await cloud.replace(rulesOf: ruleset.id, by: kept) }
        }
    }

    /// The machines to balancers and engines, the operators to balancers.
    private func rules(_ operators: [String]) throws(CommandError) -> [FirewallRule] {
        var rules: [FirewallRule] = []
        let ports = [cluster.balancer.port, cluster.engine.port]
        for (member, node) in zip(cluster.members, nodes) where node.cloudMachine != nil {
            for port in ports {
                rules.append(
                    try FirewallRule(
                        protocol: "tcp", ports: port...port, from: member.address,
                        description: Self.description(cluster.name, member.name)))
            }
        }
        for address in operators {
            let port = cluster.balancer.port
            rules.append(
                try FirewallRule(
                    protocol: "tcp", ports: port...port, from: address,
                    description: Self.description(cluster.name, Self.you)))
        }
        return rules
    }

    /// Where we come from, as the machine sees it. Rules are of IPv4.
    private static func client(of node: ClusterOptions.Node) async -> String? {
        guard let machine = try? node.machine.get() else { return nil }
        guard let answer = try? await machine.cluster("facts", doing: "Looking") else { return nil }
        return answer.value("client").flatMap { IPv4Network($0) == nil ? nil : $0 }
    }
}
