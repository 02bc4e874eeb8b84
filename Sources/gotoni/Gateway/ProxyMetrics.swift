import ArgumentParser
import Foundation

struct ProxyMetrics: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics", abstract: "The log of requests: in figures, as a file, emptied, on or off.",
        subcommands: [Summary.self, Export.self, Clear.self, Enable.self], defaultSubcommand: Summary.self)

    struct Summary: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "What the remembered requests waited for.")

        @ParentCommand var proxy: Proxy
        @OptionGroup var options: ProxyOptions

        func run() async throws {
            try await options.show(of: proxy, .get, "/proxy/metrics/summary") { (answer: SummaryAnswer) in
                var facts = Facts()
                facts.add("Collection enabled", answer.metricsCollectionEnabled ? "yes" : "no")
                facts.add("Requests tracked", answer.count)
                facts.add("Success", answer.successCount)
                facts.add("Failed", answer.failCount)
                facts.add("Network, average", answer.avgNetworkLatencyMs.milliseconds(2))
                facts.add("Queue, average", answer.avgQueueTimeMs.milliseconds(2))
                facts.add("TTFT, average", answer.avgTtftMs.milliseconds(2))
                facts.add(
                    "TTFT p50, p95, p99",
                    [answer.ttftP50Ms, answer.ttftP95Ms, answer.ttftP99Ms].map { $0.milliseconds(0) }
                        .joined(separator: ", "))
                facts.add("Total, average", answer.avgTotalLatencyMs.milliseconds(2))
                let shares = answer.avgPrefixCacheHitRatios.sorted { $0.key < $1.key }
                for (name, share) in shares { facts.add("Prefix hits, \(name)", (share * 100).text(1) + " %") }
                return facts.lines.joined(separator: "\n")
            }
        }
    }

    struct Export: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "The remembered requests as CSV, or JSON lines.")

        @ParentCommand var proxy: Proxy
        @Argument(
            help: ArgumentHelp(
                "Where to write; a name that ends with .jsonl gives JSON lines, - is standard output (default: "
                    + "proxy_metrics_DATE_TIME.csv).", valueName: "FILE"))
        var file: String?
        @OptionGroup var options: ProxyOptions

        func run() async throws {
            try await options.withProxy(of: proxy) { service in
                let format = options.asking.json || file?.hasSuffix(".jsonl") == true ? "jsonl" : "csv"
                let bytes = try await service.bytes(.get, "/proxy/metrics/export?format=" + format)
                if file == "-" { return FileHandle.standardOutput.write(bytes) }
                let name = file ?? "proxy_metrics_\(Self.now()).\(format)"
                do {
                    try bytes.write(to: URL(filePath: name))
                } catch {
                    throw CommandError("\(name) cannot be written: \(error.localizedDescription)")
                }
                // The first line of CSV has the names of columns.
                let lines = bytes.count { $0 == UInt8(ascii: "\n") }
                print("\(max(0, lines - (format == "csv" ? 1 : 0))) requests in \(name)")
            }
        }

        private static func now() -> String {
            let formatter = DateFormatter()
            formatter.locale = Locale(identifier: "en_US_POSIX")
            formatter.dateFormat = "yyyyMMdd_HHmmss"
            return formatter.string(from: Date())
        }
    }

    struct Clear: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Forget the remembered requests.")

        @ParentCommand var proxy: Proxy
        @OptionGroup var options: ProxyOptions

        func run() async throws {
            try await options.show(of: proxy, .post, "/proxy/metrics/clear") { (answer: Cleared) in
                "\(answer.cleared) requests forgotten"
            }
        }

        private struct Cleared: Decodable { var cleared: Int }
    }

    struct Enable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Remember requests from now on, or none.")

        @ParentCommand var proxy: Proxy
        @Argument(help: "true or false.") var wanted: Bool
        @OptionGroup var options: ProxyOptions

        func run() async throws {
            let body = try JSONEncoder().encode(["enabled": wanted])
            try await options.show(of: proxy, .post, "/proxy/metrics/enable", body) { (answer: Enabled) in
                answer.enabled ? "requests are remembered" : "requests are not remembered"
            }
        }

        private struct Enabled: Decodable { var enabled: Bool }
    }
}
