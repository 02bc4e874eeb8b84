import ArgumentParser

struct ClusterUpload: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "upload",
        abstract: "Send the programs that lie beside gotoni; what runs goes on until it is restarted.",
        discussion: "Those of the cluster's nodes; gotoni proxy deploy sends the proxy's.")

    @OptionGroup var options: ClusterOptions

    func run() async throws {
        let (cluster, lock) = try await options.clusterToChange()
        defer { lock.release() }
        try await Work.with(cluster, programs: NodePlan.programs(for: cluster.engine.kind)) { work in
            try await options.withNodes(of: cluster) { nodes in
                let reports = await options.carryOut(on: nodes) { _ in work.programs.steps }
                try options.show(reports)
                try ClusterOptions.finish(reports)
            }
        }
    }
}

struct ClusterRestartBalancers: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restart-lb", abstract: "Start the balancers anew, also as other ones.",
        discussion: """
            Requests under way may end first. What is not given stays as it is.

            Example:
              gotoni cluster restart-lb --strategy prefix-tree --max-concurrent 50
            """)

    @Option(help: ArgumentHelp("How balancers choose: gorgo, prefix-tree, least-load, …", valueName: "NAME"))
    var strategy: String?
    @Option(help: ArgumentHelp("Most requests at an engine.", valueName: "N")) var maxConcurrent: Int?
    @Option(help: ArgumentHelp("Below so many at the engine a request stays.", valueName: "N"))
    var runningThreshold: Int?
    @Flag(help: "One after the other, so that the others go on serving.") var rolling = false
    @OptionGroup var options: ClusterOptions

    func validate() throws {
        guard maxConcurrent ?? 1 >= 1, runningThreshold ?? 0 >= 0 else {
            throw ValidationError("--max-concurrent is 1 or more, --running-threshold is 0 or more.")
        }
    }

    func run() async throws {
        let (known, lock) = try await options.clusterToChange()
        defer { lock.release() }
        var cluster = known
        cluster.balancer.strategy = strategy ?? cluster.balancer.strategy
        cluster.balancer.maxConcurrent = maxConcurrent ?? cluster.balancer.maxConcurrent
        cluster.balancer.runningThreshold = runningThreshold ?? cluster.balancer.runningThreshold
        let wanted = cluster
        try await Work.with(wanted, programs: []) { work in
            try await options.withNodes(of: wanted) { nodes in
                let reports = await options.carryOut(on: nodes, isRolling: rolling) { member in
                    [NodePlan.stop("lb"), work.plan(for: member).balancerStep]
                }
                // Where none took it, what was asked for cannot be.
                if reports.contains(where: { !$0.hasFailed }) { try wanted.write() }
                try options.show(reports)
                try ClusterOptions.finish(reports)
            }
        }
    }
}

struct ClusterStopBalancers: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop-lb", abstract: "End the balancers; requests under way may end first, and engines go on.")

    @OptionGroup var options: ClusterOptions

    func run() async throws {
        let (cluster, lock) = try await options.clusterToChange()
        defer { lock.release() }
        try await options.withNodes(of: cluster) { nodes in
            let reports = await options.carryOut(on: nodes) { _ in [NodePlan.stop("lb")] }
            try options.show(reports)
            try ClusterOptions.finish(reports)
        }
    }
}
