import ArgumentParser
import Foundation

struct NodePeers: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "peers", abstract: "The peers of nodes: list, add, remove, or make all known to all.",
        subcommands: [List.self, Add.self, Remove.self, Mesh.self], defaultSubcommand: List.self)

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "All of them, and what is known of each.")

        @OptionGroup var options: NodeOptions

        func run() async throws {
            try await options.show(
                .get, "/lb/peers", table: ["PEER", "URL", "STATE", "RUNNING", "WAITING", "LATENCY", "HELD TOKENS"],
                leading: 4
            ) { (_, answer: PeersAnswer) in
                answer.peers.map { peer in
                    [
                        peer.id, peer.url, peer.available ? peer.state : peer.state + ", full", peer.runningReqs.text,
                        peer.waitingReqs.text, peer.latencyMs.milliseconds(2), peer.heldTokens.text,
                    ]
                }
            }
        }
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Make nodes known to the asked ones.")

        @Argument(help: ArgumentHelp("A peer; without a port the one of --port.", valueName: "[NAME=]URL"))
        var peers: [String]
        @OptionGroup var options: NodeOptions

        func run() async throws {
            let new = try peers.map { try NewServer($0, port: options.port ?? 8000) }
            try await options.change(new) { peer in (.post, "/lb/peers", try JSONEncoder().encode(peer)) }
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Take peers away from the asked nodes.")

        @Argument(help: ArgumentHelp("A peer's name.", valueName: "NAME")) var peers: [String]
        @OptionGroup var options: NodeOptions

        func run() async throws {
            try await options.change(peers) { (.delete, "/lb/peers?id=" + JSONService.quoted($0), nil) }
        }
    }

    struct Mesh: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make each of the nodes of --host known to all others.", aliases: ["add-mesh"])

        @OptionGroup var options: NodeOptions

        func run() async throws {
            guard options.remote.isEmpty else {
                throw ValidationError("Nodes know each other by the addresses of --host.")
            }
            try await options.withNodes { targets in
                guard targets.count > 1 else { throw ValidationError("A mesh has two nodes at least: --host A,B.") }
                let statuses = await options.ask(targets, .get, "/lb/status")
                try NodeOptions.finish(statuses)
                var names: [String] = []
                for (target, status) in zip(targets, statuses) {
                    guard let service = target.service, case .success(let bytes) = status else { continue }
                    names.append((try service.decode(bytes) as NodeStatusAnswer).nodeId)
                }
                var all: [Result<Data, CommandError>] = []
                for (index, target) in targets.enumerated() {
                    for (other, peer) in targets.enumerated() where other != index {
                        guard let place = peer.service?.place else { continue }
                        let body = try JSONEncoder().encode(
                            try NewServer("\(names[other])=\(place)", port: options.port ?? 8000))
                        all += await options.ask([target], .post, "/lb/peers", body)
                    }
                    print("\(names[index]): knows \(targets.count - 1) others")
                }
                try NodeOptions.finish(all)
            }
        }
    }
}

extension NodeOptions {
    /// Each change at all nodes.
    func change<Item>(_ items: [Item], _ request: (Item) throws -> (HTTP.Method, String, Data?)) async throws {
        try await withNodes { targets in
            var all: [Result<Data, CommandError>] = []
            for item in items {
                let (method, path, body) = try request(item)
                let answers = await ask(targets, method, path, body)
                for (target, answer) in zip(targets, answers) {
                    guard let service = target.service, case .success(let bytes) = answer else { continue }
                    let change: PeerChangeAnswer = try service.decode(bytes)
                    print(asking.json ? JSONText.pretty(bytes) : "\(target.name): \(change.id): \(change.message)")
                }
                all += answers
            }
            try Self.finish(all)
        }
    }
}
