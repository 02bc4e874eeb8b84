import GotoniCore
import Glibc
import NIOCore
import NIOPosix
import Testing

@testable import GotoniGateway

extension Sockets {
    @Suite struct CongestionControlTests {
        /// Reno is in every kernel, and for everybody. What a connection of a pool has is what its socket says.
        @Test func connectionsToServersHaveTheOneThatIsAskedFor() async throws {
            let engine = try await EngineDouble("a")
            let url = try #require(ServerURL("127.0.0.1:\(engine.port)"))
            let server = Server(id: ServerID(1), name: "a", url: url, tls: nil, limit: 1)
            let loop = MultiThreadedEventLoopGroup.singleton.next()
            let reno = try CongestionControl("reno")
            let name = try await loop.flatSubmit {
                let pool = UpstreamPool(
                    server: server, loop: loop,
                    UpstreamSettings(connectTimeout: Nanoseconds(milliseconds: 5_000), congestion: reno))
                let promise = loop.makePromise(of: InlineArray<16, UInt8>.self)
                pool.connect { result in
                    switch result {
                    case .success(let connection):
                        guard let socket = connection.context?.channel as? any SocketOptionProvider else {
                            return promise.fail(ChannelError.operationUnsupported)
                        }
                        socket.unsafeGetSocketOption(level: .tcp, name: .init(rawValue: TCP_CONGESTION))
                            .cascade(to: promise)
                        promise.futureResult.assumeIsolated().whenComplete { _ in connection.close() }
                    case .failure(let error): promise.fail(error)
                    }
                }
                return promise.futureResult
            }.get()
            #expect(Array("reno\0".utf8) == (0..<5).map { name[$0] })
            try await engine.stop()
        }

        @Test(arguments: ["nonesuch", "", "a-name-much-too-long", "reno\0", "reno "])
        func whatTheKernelDoesNotHaveIsRefusedInASentence(name: String) {
            #expect(throws: GatewayError.self) { try CongestionControl(name) }
        }
    }
}
