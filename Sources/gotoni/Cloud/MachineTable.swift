import Foundation

/// Machines as they are printed.
extension CloudMachine {
    private static var heading: [String] {
        ["NAME", "TYPE", "REGION", "STATUS", "IP/URL", "ID", "UPTIME", "PER HOUR", "SO FAR"]
    }

    private func row(now: Int) -> [String] {
        let seconds = launchedAt.map { max(0, now - $0) }
        return [
            label, type, region, status.rawValue, ip ?? url ?? "-", id, seconds.map(Self.span) ?? "-",
            Money.text(cents: priceCentsPerHour),
            Money.text(cents: seconds.flatMap { seconds in priceCentsPerHour.map { seconds * $0 / 3600 } }),
        ]
    }

    static func span(_ seconds: Int) -> String {
        switch seconds {
        case ..<7200: "\(seconds / 60) min"
        case ..<172_800: "\(seconds / 3600) h"
        default: "\(seconds / 86_400) d"
        }
    }

    /// What --wide shows besides, behind the id.
    private static let further = ["PRIVATE IP", "KEYS", "TAGS"]

    private var details: [String] {
        // What gotoni knows its launches by says nothing to people.
        let named = tags.filter { !$0.key.hasPrefix("gotoni-launch") }.sorted { $0.key < $1.key }
            .map { "\($0.key)=\($0.value)" }
        return [
            privateIp ?? "-", sshKeyNames.joined(separator: ", "), named.isEmpty ? "-" : named.joined(separator: ", "),
        ]
    }

    static func table(_ machines: [CloudMachine], isWide: Bool = false) -> String {
        let words = 6
        let added = isWide ? further : []
        var table = TextTable(heading.prefix(words) + added + heading.dropFirst(words), leading: words + added.count)
        let now = Int(Date().timeIntervalSince1970)
        for machine in machines {
            let row = machine.row(now: now)
            table.add(row.prefix(words) + (isWide ? machine.details : []) + row.dropFirst(words))
        }
        return table.lines.joined(separator: "\n")
    }
}
