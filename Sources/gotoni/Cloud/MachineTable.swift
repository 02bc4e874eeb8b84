import Foundation

/// Machines as they are printed.
extension CloudMachine {
    private static var heading: [String] {
        ["NAME", "TYPE", "REGION", "STATUS", "IP", "ID", "UPTIME", "PER HOUR", "SO FAR"]
    }

    private func row(now: Int) -> [String] {
        let seconds = launchedAt.map { max(0, now - $0) }
        return [
            label, type, region, status.rawValue, ip ?? "-", id, seconds.map(Self.span) ?? "-",
            Money.text(cents: priceCentsPerHour),
            seconds.map { Money.text(cents: $0 * priceCentsPerHour / 3600) } ?? "-",
        ]
    }

    private static func span(_ seconds: Int) -> String {
        switch seconds {
        case ..<7200: "\(seconds / 60) min"
        case ..<172_800: "\(seconds / 3600) h"
        default: "\(seconds / 86_400) d"
        }
    }

    static func table(_ machines: [CloudMachine]) -> String {
        var table = TextTable(heading, leading: 6)
        let now = Int(Date().timeIntervalSince1970)
        for machine in machines { table.add(machine.row(now: now)) }
        return table.lines.joined(separator: "\n")
    }
}
