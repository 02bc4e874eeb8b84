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
        for region in Set(cluster.members.map(\.region)).sorted() {
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
        guard without.isEmpty else {
            let names = without.map(\.label).joined(separator: ", ")
            return (.held, "\(names): launched without --cluster \(cluster.name), so the account's rules decide")
        }
        let missing = rules.missing(in: own.first?.rules ?? [])
        guard !missing.isEmpty else { return (.held, "\(name) lets in the machines and you") }
        let words = missing.map { "\($0.sourceNetwork) to \($0.portRange?.first ?? 0)" }.joined(separator: ", ")
        guard !isDry else { return (.would, "let in \(words)") }
        let added = try await cloud.allow(rules, ruleset: name, region: region)
        return (.done, "\(name): \(added.count) rules more: \(words)")
    }

    /// The machines to balancers and engines, the operators to balancers.
    private func rules(_ operators: [String]) throws(CommandError) -> [FirewallRule] {
        var rules: [FirewallRule] = []
        let ports = [cluster.balancer.port, cluster.engine.port]
        for member in cluster.members {
            for port in ports {
                rules.append(
                    try FirewallRule(
                        protocol: "tcp", ports: port...port, from: member.address,
                        description: "gotoni \(cluster.name) \(member.name)".prefixed(128)))
            }
        }
        for address in operators {
            let port = cluster.balancer.port
            rules.append(
                try FirewallRule(
                    protocol: "tcp", ports: port...port, from: address,
                    description: "gotoni \(cluster.name) operator".prefixed(128)))
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

extension String {
    fileprivate func prefixed(_ count: Int) -> String { String(prefix(count)) }
}
