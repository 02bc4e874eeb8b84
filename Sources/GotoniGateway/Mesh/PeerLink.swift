import GotoniCore
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Synchronization

/// Follows one peer: asks for its news, one question after the other, and tells the router.
struct PeerLink: Sendable {
    let server: Server
    let dispatcher: Dispatcher
    let mesh: Mesh
    let logger: Logger

    /// A peer that has said nothing for so long gets nothing: two heartbeats, and the way. `roundTrip`: in milliseconds.
    static func silence(roundTrip: Double?) -> Nanoseconds {
        Mesh.heartbeat.plus(Mesh.heartbeat).plus(Nanoseconds(milliseconds: way(roundTrip)))
    }

    /// Before it has been measured it may be long.
    private static func way(_ roundTrip: Double?) -> Double { min(roundTrip ?? 1_000, 1_000) }

    /// What has been heard.
    struct Heard {
        var report: NodeReport?
        var memory = PrefixMemory()
        /// It was said that its blocks have another size.
        var hasOtherBlocks = false
    }

    /// `get` asks the peer with a time limit. Until cancelled.
    func run(_ get: (_ path: String, _ timeout: Nanoseconds) async throws -> Fetch.Answer) async {
        var heard = Heard()
        var complaint = ""
        while !Task.isCancelled {
            let (last, known) = (heard.report, heard.memory.next)
            let path =
                "/lb/peer?incarnation=\(last?.incarnation ?? 0)&sequence=\(last?.sequence ?? 0)"
                + (known.map { "&known=\($0)" } ?? "")
            var trouble = ""
            let asked = Clock.now()
            do {
                let answer = try await get(path, patience)
                if answer.status == 200 {
                    try hear(answer.body, &heard, now: Clock.now())
                } else {
                    trouble = "status \(answer.status)"
                }
            } catch {
                trouble = "\(error)"
            }
            if Task.isCancelled { return }
            // What it held is forgotten here when it is ejected as dead: to be told again when it is back.
            if !trouble.isEmpty { heard.memory = PrefixMemory() }
            if !trouble.isEmpty, trouble != complaint {
                logger.warning("peer tells no news", metadata: ["peer": "\(server.name)", "why": "\(trouble)"])
            }
            complaint = trouble
            // A peer that answers at once, whatever is asked, is not asked all the time.
            let interval = mesh.configuration.interval.rawValue
            let pause = trouble.isEmpty ? interval / 2 : interval
            let took = Clock.now().since(asked).rawValue
            if took < pause { try? await Task.sleep(nanoseconds: pause - took) }
        }
    }

    /// The heartbeat and three round trips, one of which may be a new connection's.
    private var patience: Nanoseconds {
        let roundTrip = server.state.withLockedValue(\.rtt.most)
        return Mesh.heartbeat.plus(Nanoseconds(milliseconds: max(300, 3 * Self.way(roundTrip))))
    }

    private func hear(_ body: ByteBuffer, _ heard: inout Heard, now: Nanoseconds) throws {
        mesh.bytesHeard.add(UInt64(body.readableBytes), ordering: .relaxed)
        var bytes = body
        let report = try NodeReport(from: &bytes)
        guard report.incarnation != mesh.incarnation else {
            server.state.withLockedValue { $0.health.drain() }
            dispatcher.mark(server, .draining, now: now)
            throw MeshError.itself
        }
        if heard.report?.incarnation != report.incarnation { heard.memory = PrefixMemory() }
        heard.report = report
        // The report counts also when the news behind it cannot be read.
        let free = dispatcher.hear(report, of: server, now: now)
        let chains = try heard.memory.read(&bytes)
        let isSame = report.blockTokens == dispatcher.configuration.router.blockTokens
        if isSame {
            dispatcher.hold(chains, at: server, now: now)
        } else if !heard.hasOtherBlocks {
            heard.hasOtherBlocks = true
            logger.warning(
                "this peer has blocks of another size: its prompts mean nothing here",
                metadata: ["peer": "\(server.name)", "block_tokens": "\(report.blockTokens)"])
        }
        if free { dispatcher.freed(server) }
    }
}
