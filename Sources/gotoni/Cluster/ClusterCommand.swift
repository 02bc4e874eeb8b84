import ArgumentParser

struct ClusterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster", abstract: "Machines with an engine and a balancer each, as one.",
        discussion: """
            gotoni cluster setup makes machines a cluster; the other commands find it again by a file of this user's, \
            ~/.config/gotoni/clusters/NAME.json, which holds its keys.

            Exit status: 7 if something was done on some machines only; what is left is done by the same command again.
            """,
        subcommands: [
            ClusterSetup.self, ClusterStatus.self, ClusterUpload.self, ClusterRestartBalancers.self,
            ClusterStopBalancers.self, ClusterRestartEngines.self, ClusterFlush.self, ClusterStartTrace.self,
            ClusterStopTrace.self, ClusterDoctor.self,
        ])
}
