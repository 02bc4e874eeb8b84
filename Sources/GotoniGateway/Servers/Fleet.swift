import GotoniCore
import NIOConcurrencyHelpers

/// The servers by id and by name. Looked into once for every decision; changed by operators.
final class Fleet: Sendable {
    private struct State {
        var byID: [UInt64: Server] = [:]
        /// By what other proxies call them.
        var byKey: [UInt64: Server] = [:]
        /// In the order in which they were added.
        var ordered: [Server] = []
        var peers: [ServerID] = []
        var local: Server?
        var nextID: UInt64 = 1

        mutating func noteRoles() {
            local = ordered.first { $0.role == .local }
            peers = ordered.filter { $0.role == .peer }.map(\.id)
        }
    }
    private let state = NIOLockedValueBox(State())

    /// Names are unique, and so are URLs. Throws a sentence otherwise.
    func add(_ name: String, _ url: ServerURL, make: (ServerID) throws -> Server) throws -> Server {
        try state.withLockedValue { state in
            if let other = state.ordered.first(where: { $0.name == name || $0.url == url }) {
                throw GatewayError("there is a server \(other.name) at \(other.url) already")
            }
            let server = try make(ServerID(state.nextID))
            state.nextID += 1
            state.byID[server.id.rawValue] = server
            state.byKey[server.key] = server
            state.ordered.append(server)
            state.noteRoles()
            return server
        }
    }

    func remove(name: String) -> Server? {
        state.withLockedValue { state in
            guard let index = state.ordered.firstIndex(where: { $0.name == name }) else { return nil }
            let server = state.ordered.remove(at: index)
            state.byID[server.id.rawValue] = nil
            state.byKey[server.key] = nil
            state.noteRoles()
            return server
        }
    }

    /// The engine of this node, and the other nodes; neither where it is no node.
    var mesh: (local: Server?, peers: [ServerID]) { state.withLockedValue { ($0.local, $0.peers) } }

    subscript(id: ServerID) -> Server? { state.withLockedValue { $0.byID[id.rawValue] } }
    subscript(name: String) -> Server? { state.withLockedValue { $0.ordered.first { $0.name == name } } }
    var byKey: [UInt64: Server] { state.withLockedValue { $0.byKey } }
    var all: [Server] { state.withLockedValue { $0.ordered } }
}
