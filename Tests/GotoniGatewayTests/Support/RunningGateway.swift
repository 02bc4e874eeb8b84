import GotoniCore
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import GotoniGateway

/// A gateway with its doubles, on loopback.
struct RunningGateway: Sendable {
    let gateway: Gateway
    let port: Int
    let adminPort: Int?
    let engines: [EngineDouble]
    private let clients = Watched<[RawClient]>([])

    fileprivate init(gateway: Gateway, port: Int, adminPort: Int?, engines: [EngineDouble]) {
        (self.gateway, self.port, self.adminPort, self.engines) = (gateway, port, adminPort, engines)
    }

    func client(receiveBuffer: Int? = nil) async throws -> RawClient {
        let client = try await RawClient.connect(port, receiveBuffer: receiveBuffer)
        clients.update { $0.append(client) }
        return client
    }

    func server(_ name: String) throws -> Server { try #require(gateway.dispatcher.fleet[name]) }
    func health(_ name: String) throws -> ServerHealth { try server(name).state.withLockedValue(\.health) }
    var counters: Counters { gateway.dispatcher.counters }

    /// Nothing is open, reserved or waiting, and every request ended in exactly one way.
    func isClean(sourceLocation: SourceLocation = #_sourceLocation) async throws {
        try await eventually("no leftovers", sourceLocation: sourceLocation) { gateway.leftovers == (0, 0, 0) }
        for server in gateway.dispatcher.fleet.all {
            #expect(server.state.withLockedValue(\.inFlight) == 0, sourceLocation: sourceLocation)
        }
        let ends =
            counters.forwarded.load(ordering: .relaxed) + counters.rejected.load(ordering: .relaxed)
            + counters.failed.load(ordering: .relaxed) + counters.cancelled.load(ordering: .relaxed)
        #expect(ends == counters.handled.load(ordering: .relaxed), sourceLocation: sourceLocation)
    }

    fileprivate func closeClients() {
        for client in clients.read({ $0 }) { client.close() }
    }
}

extension Gateway {
    static func quiet(_ configuration: GatewayConfiguration) throws -> Gateway {
        try Gateway(configuration, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }
}

/// Starts `servers` doubles named a, b, … and a gateway before them, waits until all are up, runs `body`, then checks that
/// nothing is left over and stops everything.
func withGateway(
    servers: Int = 1, reactsAtHead: Bool = false, checksLeftovers: Bool = true,
    sourceLocation: SourceLocation = #_sourceLocation,
    _ configure: (inout GatewayConfiguration) -> Void = { _ in },
    _ body: (RunningGateway) async throws -> Void
) async throws {
    var engines: [EngineDouble] = []
    for index in 0..<servers {
        engines.append(try await EngineDouble(String(UnicodeScalar(UInt8(97 + index))), reactsAtHead: reactsAtHead))
    }
    var configuration = GatewayConfiguration()
    configuration.listen = .init(host: "127.0.0.1", port: 0)
    configuration.threads = 2
    configuration.servers = try engines.map {
        .init(name: $0.name, url: try #require(ServerURL("http://127.0.0.1:\($0.port)")))
    }
    configuration.policy = .leastRequest
    configuration.knobs = []
    // Tests say when something happens; what goes on by itself would only disturb them.
    configuration.metricsInterval = Nanoseconds(0)
    configuration.probeInterval = Nanoseconds(milliseconds: 3_600_000)
    configuration.drainTimeout = Nanoseconds(milliseconds: 2_000)
    configure(&configuration)
    let gateway = try Gateway.quiet(configuration)
    let (data, admin) = try await gateway.start()
    func port(_ text: String) -> Int { Int(text.split(separator: ":").last ?? "") ?? 0 }
    let running = RunningGateway(gateway: gateway, port: port(data), adminPort: admin.map(port), engines: engines)
    do {
        try await eventually("servers that are up", sourceLocation: sourceLocation) {
            gateway.dispatcher.fleet.all.allSatisfy {
                $0.state.withLockedValue { $0.health.state == .up && $0.rtt.current != nil }
            }
        }
        try await body(running)
        running.closeClients()
        if checksLeftovers { try await running.isClean(sourceLocation: sourceLocation) }
    } catch {
        Issue.record("\(error)", sourceLocation: sourceLocation)
        running.closeClients()
    }
    for engine in engines { try await engine.stop() }
    _ = await gateway.stop(settle: Nanoseconds(0))
}

/// The tests with sockets, one after the other: there are few cores, and some look at times.
@Suite(.serialized) enum Sockets {}
