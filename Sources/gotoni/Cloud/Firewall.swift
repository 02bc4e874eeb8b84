import ArgumentParser
import Foundation

struct Firewall: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "What may reach machines from outside.",
        discussion: """
            The ruleset "global" is the account's and holds for all machines; the others are of one region and hold for \
            the machines that were launched with them. Lambda's rules do not apply in us-south-1: there all ports are \
            open.
            """,
        subcommands: [Show.self, Open.self, Close.self, Replace.self, Delete.self], defaultSubcommand: Show.self)

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "All rules of all rulesets.", aliases: ["show"])

        @OptionGroup var options: CloudOptions

        func run() async throws {
            let cloud = try options.cloud()
            let rulesets = try await cloud.rulesets()
            if options.json { return print(try JSONText.of(rulesets)) }
            var table = TextTable(
                ["RULESET", "REGION", "PROTOCOL", "PORTS", "FROM", "DESCRIPTION", "MACHINES"], leading: 6)
            for ruleset in rulesets {
                let place = [ruleset.name, ruleset.region ?? "all"]
                let count = ruleset.region == nil ? "all" : "\(ruleset.machines.count)"
                if ruleset.rules.isEmpty { table.add(place + ["-", "-", "-", "lets nothing in", count]) }
                for rule in ruleset.rules {
                    table.add(
                        place + [rule.protocol, rule.portText, rule.sourceNetwork, rule.description, count])
                }
            }
            print(table.lines.joined(separator: "\n"))
        }
    }

    struct Open: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Let something in.",
            discussion: "Shows what changes and asks. What a rule of the ruleset lets in already is not added again.")

        @OptionGroup var traffic: Traffic
        @Option(
            help: ArgumentHelp(
                "From where, with commas between: 203.0.113.7 or 203.0.113.0/24; 0.0.0.0/0 is everybody.",
                valueName: "NETWORKS"))
        var from: String
        @Option(help: ArgumentHelp("What the rules are for.", valueName: "TEXT")) var description = "gotoni"
        @OptionGroup var change: ChangeOptions

        func run() async throws {
            let wanted = try traffic.rules(from: from, description: description)
            let cloud = try change.options.cloud()
            let ruleset = try await cloud.rulesets().one(named: change.ruleset)
            try await change.make(ruleset, ruleset.rules + wanted.missing(in: ruleset.rules), in: cloud)
        }
    }

    struct Close: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take away the rules that let something in.",
            discussion: """
                Shows what changes and asks. Only rules go that let in nothing else: those that let in more than what is \
                closed stay, and it says so.

                Exit status: 1 if such a rule stays.
                """)

        @OptionGroup var traffic: Traffic
        @Option(
            help: ArgumentHelp(
                "Only from there, with commas between (default: from everywhere).", valueName: "NETWORKS"))
        var from: String?
        @OptionGroup var change: ChangeOptions

        func run() async throws {
            let closed = try traffic.rules(from: from ?? FirewallRule.anywhere, description: "")
            let cloud = try change.options.cloud()
            let ruleset = try await cloud.rulesets().one(named: change.ruleset)
            let left = ruleset.rules.filter { rule in !closed.contains { $0.covers(rule) } }
            try await change.make(ruleset, left, in: cloud)
            let wider = left.filter { rule in closed.contains { $0.overlaps(rule) } }
            guard wider.isEmpty else {
                throw CommandError(
                    "Not all of it is closed: these rules let in more than that, so they stay:",
                    lines: wider.map(\.text).joined(separator: "\n"))
            }
        }
    }

    struct Replace: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Put other rules in the place of all that a ruleset has.",
            discussion: """
                Shows what changes and asks. A rule is PROTOCOL:PORT[-PORT]:NETWORK[:DESCRIPTION], such as \
                tcp:8000-8080:203.0.113.7/32:proxy or icmp::0.0.0.0/0; or in JSON as gotoni firewall list --json has it.
                """)

        @Argument(help: ArgumentHelp("A JSON array of rules, or - for standard input.", valueName: "ARRAY"))
        var array: String?
        @Option(
            name: [.customShort("j"), .customLong("rules")], help: ArgumentHelp("The same.", valueName: "ARRAY"))
        var named: String?
        @Option(name: [.short, .long], help: ArgumentHelp("A rule; repeat for more.", valueName: "RULE"))
        var rule: [String] = []
        @OptionGroup var change: ChangeOptions

        func validate() throws {
            guard [array != nil, named != nil, !rule.isEmpty].count(where: \.self) == 1 else {
                throw ValidationError("Give the rules once: as a JSON array, as - for standard input, or with --rule.")
            }
        }

        func run() async throws {
            let wanted = try rules()
            let cloud = try change.options.cloud()
            let ruleset = try await cloud.rulesets().one(named: change.ruleset)
            try await change.make(ruleset, wanted, in: cloud)
        }

        private func rules() throws -> [FirewallRule] {
            guard let text = array ?? named else { return try rule.map { try FirewallRule(text: $0) } }
            return try FirewallRule.list(
                json: text == "-" ? FileHandle.standardInput.readDataToEndOfFile() : Data(text.utf8))
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Delete rulesets that no machine has.", discussion: "Asks first. The account's own stays.")

        @Argument(help: "A ruleset's name or id.") var names: [String]
        @OptionGroup var consent: ConsentOptions
        @OptionGroup var options: CloudOptions

        func run() async throws {
            let cloud = try options.cloud()
            let rulesets = try await cloud.rulesets()
            let chosen = try names.map { try rulesets.one(named: $0) }
            if let fixed = chosen.first(where: { $0.region == nil || !$0.machines.isEmpty }) {
                throw CommandError(
                    fixed.region == nil
                        ? "The account's own rules cannot be deleted; gotoni firewall replace changes them."
                        : "\(fixed.name) is in use, so nothing was deleted; end its machines first:",
                    lines: fixed.machines.joined(separator: "\n"), exitCode: fixed.region == nil ? 2 : 1)
            }
            try consent.ask("Delete \(chosen.map(\.name).joined(separator: ", "))?")
            for ruleset in chosen {
                try await cloud.delete(ruleset: ruleset.id)
                if !options.json { print("\(ruleset.name): deleted") }
            }
            if options.json { print(try JSONText.of(["deleted": chosen.map(\.id)])) }
        }
    }
}

extension Firewall {
    /// What is let in or kept out.
    struct Traffic: ParsableArguments {
        @Argument(help: ArgumentHelp("A port, or the first and the last of several.", valueName: "PORT[-PORT]"))
        var ports: [PortRange] = []
        @Option(help: ArgumentHelp("tcp, udp, icmp (which has no ports) or all.", valueName: "NAME"))
        var `protocol` = "tcp"

        /// One for each range and network. Errors: 2.
        func rules(from networks: String, description: String) throws(CommandError) -> [FirewallRule] {
            let ranges: [ClosedRange<Int>?] = ports.isEmpty ? [nil] : ports.map(\.range)
            var found: [FirewallRule] = []
            for range in ranges {
                for network in networks.split(separator: ",", omittingEmptySubsequences: false) {
                    found.append(
                        try FirewallRule(
                            protocol: self.protocol, ports: range, from: String(network), description: description))
                }
            }
            return found
        }
    }

    /// Of commands that change a ruleset.
    struct ChangeOptions: ParsableArguments {
        @Option(help: ArgumentHelp("Its name or id; global: the account's.", valueName: "NAME"))
        var ruleset = FirewallRuleset.global
        @Flag(help: "Say what would change, and do nothing.") var dryRun = false
        @OptionGroup var consent: ConsentOptions
        @OptionGroup var options: CloudOptions

        /// Shows what becomes of the ruleset, asks, and does it.
        func make(_ ruleset: FirewallRuleset, _ rules: [FirewallRule], in cloud: any Cloud) async throws {
            var change = FirewallChange(of: ruleset, to: rules)
            if !options.json { print(change.lines.joined(separator: "\n")) }
            if !change.isEmpty {
                warn(change, cloud)
                if !dryRun {
                    if options.json { Progress.say(change.lines.joined(separator: "\n")) }
                    try consent.ask("Change the rules of \(ruleset.name)?")
                    try await check(ruleset, in: cloud)
                    try await cloud.replace(rulesOf: ruleset.id, by: rules)
                    change.isDone = true
                }
            }
            if options.json { return print(try JSONText.of(change)) }
            if change.isEmpty { return print("Nothing is to change.") }
            print(change.isDone ? "done" : "Nothing was done: --dry-run.")
        }

        /// Who was asked has agreed to a change of these rules. Errors: they are others by now.
        private func check(_ ruleset: FirewallRuleset, in cloud: any Cloud) async throws(CommandError) {
            guard !consent.yes else { return }
            guard try await cloud.rulesets().one(named: ruleset.id).rules == ruleset.rules else {
                throw CommandError("The rules of \(ruleset.name) were changed meanwhile; nothing was done, try again.")
            }
        }

        private func warn(_ change: FirewallChange, _ cloud: any Cloud) {
            for warning in change.warnings { Progress.say(warning) }
            let open = cloud.regionsWithoutFirewall.filter { change.region == nil || change.region == $0 }
            if !open.isEmpty {
                Progress.say(
                    "Firewall rules do not apply in \(open.joined(separator: ", ")): all ports are open there.")
            }
        }
    }
}
