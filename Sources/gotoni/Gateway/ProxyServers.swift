import ArgumentParser
import Foundation

struct ProxyServers: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "servers", abstract: "The servers of a proxy: list, add, remove, drain.",
        subcommands: [List.self, Add.self, Remove.self, Drain.self, Undrain.self], defaultSubcommand: List.self)

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "All of them, and how they are.")

        @ParentCommand var proxy: Proxy
        @OptionGroup var options: ProxyOptions

        func run() async throws {
            try await options.withProxy(of: proxy) { service in
                let bytes = try await service.bytes(.get, options.asking.json ? "/proxy/servers" : "/proxy/status")
                if options.asking.json { return print(JSONText.pretty(bytes)) }
                let status: StatusAnswer = try service.decode(bytes)
                guard !status.servers.isEmpty else { return print("There are no servers.") }
                var table = TextTable(["SERVER", "URL", "STATE", "RUNNING", "WAITING", "LIMIT"], leading: 3)
                for server in status.servers {
                    table.add([
                        server.id, server.url, server.state, server.runningReqs.text, server.waitingReqs.text,
                        "\(server.limit)",
                    ])
                }
                print(table.lines.joined(separator: "\n"))
            }
        }
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Servers that it has not had; they get requests once they answer.")

        @ParentCommand var proxy: Proxy
        @Argument(help: ArgumentHelp("A server; without a port 8080.", valueName: "[NAME=]URL")) var servers: [String]
        @OptionGroup var options: ProxyOptions

        func run() async throws {
            let new = try servers.map { try NewServer($0, port: 8080) }
            try await options.change(of: proxy, new) { server in
                (.post, "/proxy/servers", try JSONEncoder().encode(server))
            }
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Take servers away; requests under way finish.")

        @ParentCommand var proxy: Proxy
        @Argument(help: ArgumentHelp("A server's name.", valueName: "NAME")) var servers: [String]
        @OptionGroup var options: ProxyOptions

        func run() async throws {
            try await options.change(of: proxy, servers) {
                (.delete, "/proxy/servers?id=" + JSONService.quoted($0), nil)
            }
        }
    }

    struct Drain: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Give servers no new requests.")

        @ParentCommand var proxy: Proxy
        @Argument(help: ArgumentHelp("A server's name.", valueName: "NAME")) var servers: [String]
        @OptionGroup var options: ProxyOptions

        func run() async throws {
            try await options.change(of: proxy, servers) {
                (.post, "/proxy/servers/drain?id=" + JSONService.quoted($0), nil)
            }
        }
    }

    struct Undrain: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Give them requests again.")

        @ParentCommand var proxy: Proxy
        @Argument(help: ArgumentHelp("A server's name.", valueName: "NAME")) var servers: [String]
        @OptionGroup var options: ProxyOptions

        func run() async throws {
            try await options.change(of: proxy, servers) {
                (.post, "/proxy/servers/undrain?id=" + JSONService.quoted($0), nil)
            }
        }
    }
}

/// A server as it is added.
struct NewServer: Encodable {
    var id: String?
    var url: String

    /// [NAME=]URL, where a URL may be a host alone. `port`: where none is named.
    init(_ text: String, port: Int) throws {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let place = parts.last ?? ""
        guard !place.isEmpty, parts.count < 2 || !parts[0].isEmpty else {
            throw ValidationError("\"\(text)\" is no server; servers are named like NAME=http://HOST:PORT.")
        }
        id = parts.count == 2 ? parts[0] : nil
        let isBare = !place.contains("://") && (!place.contains(":") || place.hasSuffix("]"))
        url = isBare ? "\(place):\(port)" : place
    }
}

extension ProxyOptions {
    /// One change after the other. What is refused is said, and the others go on.
    func change<Item>(
        of proxy: Proxy, _ items: [Item], _ request: (Item) throws -> (HTTP.Method, String, Data?)
    ) async throws {
        try await withProxy(of: proxy) { service in
            var failures: [CommandError] = []
            for item in items {
                let (method, path, body) = try request(item)
                do throws(CommandError) {
                    let bytes = try await service.bytes(method, path, body)
                    if asking.json {
                        print(JSONText.pretty(bytes))
                    } else {
                        let change: ChangeAnswer = try service.decode(bytes)
                        print("\(change.id): \(change.message)")
                    }
                } catch {
                    Progress.say("\(error)")
                    failures.append(error)
                }
            }
            try CommandError.finish(failures, of: items.count)
        }
    }
}
