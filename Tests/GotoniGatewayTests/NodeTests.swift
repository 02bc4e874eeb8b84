import GotoniCore
import NIOCore
import Synchronization
import TestSupport
import Testing

@testable import GotoniGateway

extension Sockets {
    /// Several nodes that know each other.
    @Suite struct NodeTests {
        @Test func servesHereWhileThereIsRoom() async throws {
            try await withMesh { mesh in
                for node in mesh.nodes.indices {
                    let client = try await mesh.client(at: node)
                    client.post("/v1/chat/completions", chat("at \(node)"))
                    #expect(try await client.answer().status == 200)
                    #expect(mesh.nodes[node].engine.count == 1)
                }
            }
        }

        /// A full node forwards, once, and says who asked; nothing between nodes reaches an engine.
        @Test func forwardsWhenItIsFull() async throws {
            try await withMesh({ $0.maxConcurrent = 1 }) { mesh in
                mesh.nodes[0].engine.hold()
                let first = try await mesh.client(at: 0)
                first.post("/v1/chat/completions", chat("one"))
                let held = try await mesh.nodes[0].engine.next()
                let second = try await mesh.client(at: 0)
                second.post("/v1/chat/completions", chat("two"), fields: "x-request-id: mine\r\n")
                let answer = try await second.answer()
                #expect(answer.status == 200 && answer["x-request-id"] == "mine")
                let other = try #require(mesh.nodes.dropFirst().first { $0.engine.count == 1 })
                let arrival = try await other.engine.next()
                #expect(arrival["x-request-id"] == "mine" && arrival["x-forwarded-for"] == "127.0.0.1, 127.0.0.1")
                #expect(!arrival.fields.contains { $0.name.hasPrefix("x-lb-") })
                #expect(mesh.nodes[0].counters.toPeers.load(ordering: .relaxed) == 1)
                #expect(other.counters.fromPeers.load(ordering: .relaxed) == 1)
                held.answer()
                #expect(try await first.answer().status == 200)
            }
        }

        /// Work that waits leaves for the peer that has room first.
        @Test func queuedWorkLeavesForAPeer() async throws {
            try await withMesh({ $0.maxConcurrent = 1 }) { mesh in
                for node in mesh.nodes { node.engine.hold() }
                var clients: [RawClient] = []
                var held: [Arrival] = []
                for (index, node) in mesh.nodes.enumerated() {
                    let client = try await mesh.client(at: index)
                    client.post("/v1/chat/completions", chat("\(index)"))
                    clients.append(client)
                    held.append(try await node.engine.next())
                }
                try await eventually("peers known to be full") {
                    try ["b", "c"].allSatisfy { try mesh.nodes[0].state(of: $0).limitInForce == 0 }
                }
                let late = try await mesh.client(at: 0)
                late.post("/v1/chat/completions", chat("late"))
                try await eventually("it waits") { mesh.nodes[0].waiting == 1 }
                held[1].answer()
                let arrival = try await mesh.nodes[1].engine.next()
                #expect(arrival.text.contains("late"))
                arrival.answer()
                let answer = try await late.answer()
                #expect(answer.status == 200 && answer["x-queue-wait-ms"] != nil)
                #expect(mesh.nodes[0].counters.queuedToPeers.load(ordering: .relaxed) == 1)
                held[0].answer()
                held[2].answer()
                for client in clients { #expect(try await client.answer().status == 200) }
            }
        }

        /// What a node has forwarded is served where it came, however full that is and however idle others are.
        @Test func aForwardIsNotForwarded() async throws {
            try await withMesh({ $0.maxConcurrent = 1 }) { mesh in
                mesh.nodes[0].engine.hold()
                let first = try await mesh.client(at: 0)
                first.post("/v1/chat/completions", chat("one"))
                let held = try await mesh.nodes[0].engine.next()
                let second = try await mesh.client(at: 0)
                second.post(
                    "/v1/chat/completions", chat("two"), fields: "x-lb-hop: 1\r\nx-lb-key: \(RunningMesh.key)\r\n")
                try await eventually("it waits") { mesh.nodes[0].waiting == 1 }
                held.answer()
                try await mesh.nodes[0].engine.next().answer()
                for client in [first, second] { #expect(try await client.answer().status == 200) }
                #expect(mesh.nodes[0].counters.toPeers.load(ordering: .relaxed) == 0)
            }
        }

        /// An exact repeat is cheapest where it was served, whoever is asked.
        @Test func aRepeatGoesWhereItWasServed() async throws {
            try await withMesh { mesh in
                let prompt = chat(String(repeating: "a long story. ", count: 2_000))
                let first = try await mesh.client(at: 1)
                first.post("/v1/chat/completions", prompt)
                #expect(try await first.answer(within: 20).status == 200)
                for node in [0, 2] {
                    try await eventually("news of it at \(node)") { try mesh.nodes[node].held(by: "b") > 6_000 }
                }
                for node in [0, 1, 2] {
                    // One that still says that it is busy with this prompt costs as much as one that does not have it.
                    for other in [0, 2] {
                        try await eventually("that all is done, at \(other)") {
                            let report = try mesh.nodes[other].state(of: "b").node
                            return report?.queuedRequests == 0 && report?.runningRequests == 0
                        }
                    }
                    let client = try await mesh.client(at: node)
                    client.post("/v1/chat/completions", prompt)
                    #expect(try await client.answer(within: 20).status == 200)
                }
                #expect(mesh.nodes.map(\.engine.count) == [0, 4, 0])
            }
        }

        /// Below the threshold a node serves for itself, whatever it costs.
        @Test func theRunningThresholdKeepsRequestsHere() async throws {
            try await withMesh({ $0.mesh?.runningThreshold = 2 }) { mesh in
                let prompt = chat(String(repeating: "a long story. ", count: 2_000))
                let first = try await mesh.client(at: 1)
                first.post("/v1/chat/completions", prompt)
                #expect(try await first.answer(within: 20).status == 200)
                try await eventually("news of it") { try mesh.nodes[0].held(by: "b") > 6_000 }
                let client = try await mesh.client(at: 0)
                client.post("/v1/chat/completions", prompt)
                #expect(try await client.answer(within: 20).status == 200)
                #expect(mesh.nodes.map(\.engine.count) == [1, 1, 0])
            }
        }

        /// Also with a threshold that the engine cannot reach.
        @Test func aFullNodeForwardsBelowItsThreshold() async throws {
            try await withMesh({
                $0.mesh?.runningThreshold = 100
                $0.maxConcurrent = 1
            }) { mesh in
                mesh.nodes[0].engine.hold()
                let first = try await mesh.client(at: 0)
                first.post("/v1/chat/completions", chat("one"))
                let held = try await mesh.nodes[0].engine.next()
                let second = try await mesh.client(at: 0)
                second.post("/v1/chat/completions", chat("two"))
                #expect(try await second.answer().status == 200)
                #expect(mesh.nodes[1].engine.count + mesh.nodes[2].engine.count == 1)
                held.answer()
                #expect(try await first.answer().status == 200)
            }
        }

        /// A node's engine and peers are not to be changed as a proxy's servers are.
        @Test func aNodeKeepsItsEngine() async throws {
            try await withMesh(nodes: 2) { mesh in
                let client = try await mesh.client(at: 0)
                for method in ["DELETE /proxy/servers?id=local", "POST /proxy/servers"] {
                    client.send("\(method) HTTP/1.1\r\nHost: localhost\r\ncontent-length: 0\r\n\r\n")
                    let answer = try await client.answer()
                    #expect(answer.status == 409 && answer.code == "node")
                }
                #expect(mesh.nodes[0].gateway.dispatcher.fleet.mesh.local != nil)
            }
        }

        /// A peer that is gone gets nothing, and what was on its way there is served elsewhere.
        @Test func aPeerThatIsGoneLosesNothing() async throws {
            try await withMesh({ $0.maxConcurrent = 1 }) { mesh in
                for node in mesh.nodes { node.engine.hold() }
                let first = try await mesh.client(at: 0)
                first.post("/v1/chat/completions", chat("one"))
                let held = try await mesh.nodes[0].engine.next()
                let second = try await mesh.client(at: 0)
                second.post("/v1/chat/completions", chat("two"))
                try await eventually("it is at a peer") { mesh.nodes[1].engine.count + mesh.nodes[2].engine.count == 1 }
                let (there, other) = mesh.nodes[1].engine.count == 1 ? (1, 2) : (2, 1)
                // Its engine breaks every connection: the peer answers 502, and this node asks the third.
                try await mesh.nodes[there].engine.refuse()
                mesh.nodes[there].engine.closeConnections()
                try await mesh.nodes[other].engine.next(within: 20).answer()
                #expect(try await second.answer(within: 20).status == 200)
                held.answer()
                #expect(try await first.answer().status == 200)
            }
        }

        /// Peers without the key, or with another, are told nothing and tell nothing.
        @Test func strangersAreToldNothing() async throws {
            try await withMesh(nodes: 2) { mesh in
                let client = try await mesh.client(at: 0)
                for fields in ["", "authorization: Bearer wrong\r\n", "authorization: Bearer \r\n"] {
                    client.get("/lb/peer?sequence=0", fields: fields)
                    let answer = try await client.answer()
                    #expect(answer.status == 401 && answer.code == "mesh_key")
                }
                client.get("/lb/peer?sequence=0", fields: "authorization: Bearer \(RunningMesh.key)\r\n")
                #expect(try await client.answer().status == 200)
            }
        }

        /// Whatever a request says of itself: it reaches one engine, once, and is forwarded at most once.
        @Test func noRequestIsForwardedTwice() async throws {
            let count = Seeds.scaled(100_000)
            try await withMesh({ $0.maxConcurrent = 2 }) { mesh in
                let forwards = Watched(Set<String>())
                let served = Watched(0)
                let tooFar = Watched(0)
                for node in mesh.nodes {
                    let engine = node.engine
                    engine.react { arrival in
                        let hops = (arrival["x-forwarded-for"] ?? "").split(separator: ",").count - 1
                        if hops > 1 { tooFar.update { $0 += 1 } }
                        if arrival.fields.contains(where: { $0.name.hasPrefix("x-lb-") }) {
                            Issue.record("an engine got \(arrival.fields)")
                        }
                        served.update { $0 += 1 }
                        let id = arrival["x-request-id"] ?? ""
                        let isNew = forwards.update { $0.insert(id).inserted }
                        if !isNew { Issue.record("\(id) came twice") }
                        engine.state.update { ($0.all, $0.taken) = ([], 0) }
                        arrival.answer()
                    }
                }
                let refused = Watched(0)
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for worker in 0..<16 {
                        group.addTask {
                            var random = SplitMix64(seed: UInt64(worker) + 1)
                            // Most ask the first node.
                            let node = worker < 11 ? 0 : worker % 3
                            var client = try await mesh.client(at: node)
                            for number in stride(from: worker, to: count, by: 16) {
                                let (fields, isBad) = Self.hostileFields(&random)
                                client.post(
                                    "/v1/chat/completions", chat("\(random.pick(0...50))"),
                                    fields: "x-request-id: r\(number)\r\n\(fields)")
                                let status = try await client.answer(within: 30).status
                                #expect(status == (isBad ? 400 : 200), "\(fields)")
                                guard isBad else { continue }
                                refused.update { $0 += 1 }
                                // Refused before its body was read: the connection ends.
                                client = try await mesh.client(at: node)
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                #expect(tooFar.read { $0 } == 0)
                #expect(served.read { $0 } + refused.read { $0 } == count)
                func sum(_ counter: (Counters) -> UInt64) -> UInt64 {
                    mesh.nodes.reduce(0) { $0 + counter($1.counters) }
                }
                let forwarded = sum { $0.toPeers.load(ordering: .relaxed) }
                #expect(forwarded > 0)
                // Those that were forwarded, and those that only said so, with the key.
                #expect(sum { $0.fromPeers.load(ordering: .relaxed) } >= forwarded)
            }
        }

        /// What a client may say about hops; true if it knows the key and says nonsense.
        private static func hostileFields(_ random: inout SplitMix64) -> (String, isBad: Bool) {
            let hops = ["0", "1", "2", "-1", "+1", "01", "1e0", "99999999999999999999", "", "one", "1, 0"]
            let hop = hops[random.pick(0...hops.count - 1)]
            let names = ["x-lb-hop", "X-LB-Hop", "X-LB-HOP"]
            let name = names[random.pick(0...2)]
            switch random.pick(0...5) {
            case 0: return ("", false)
            case 1: return ("\(name): \(hop)\r\n", false)
            case 2: return ("\(name): \(hop)\r\nx-lb-key: \(RunningMesh.key)x\r\n", false)
            case 3: return ("\(name): \(hop)\r\nx-lb-key:\r\nx-lb-flow: 7\r\n\(name): 0\r\n", false)
            case 4: return ("x-lb-key: wrong\r\nx-lb-key: \(RunningMesh.key)\r\n\(name): 0\r\n", false)
            default:
                return ("\(name): \(hop)\r\nx-lb-key: \(RunningMesh.key)\r\n", isBad: !["0", "1"].contains(hop))
            }
        }
    }
}
