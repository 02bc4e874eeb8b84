/// Where a program of ours listens on a machine, as far as that is known here.
enum ClusterProgram: Sendable {
    case lb, proxy

    struct Place: Sendable {
        var host: String
        var port: Int
        var token: String?
    }

    static func place(_ program: ClusterProgram, on found: MachineOptions.Found, port: Int?) -> Place {
        guard let cluster = Cluster.having(found.key) else { return Place(host: "127.0.0.1", port: port ?? 8000) }
        switch program {
        case .lb:
            return Place(
                host: cluster.host(on: found.key), port: port ?? cluster.balancer.port, token: cluster.adminToken)
        case .proxy:
            let own = cluster.proxy.flatMap { $0.key == found.key ? $0.port : nil }
            return Place(host: "127.0.0.1", port: port ?? own ?? 8000, token: cluster.adminToken)
        }
    }
}
