import ArgumentParser
import Foundation

struct ProxyDeploy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "deploy", abstract: "Start gotoni-proxy on a machine, in front of a cluster's engines.",
        discussion: """
            The machine may be one of the cluster's or another. gotoni proxy --remote MACHINE … then finds it. Clients need \
            no key, so open its port to those who may ask.

            Example:
              gotoni proxy deploy west_2 --listen-port 9000
            """)

    @Argument(help: ArgumentHelp("A machine's name or id, or USER@HOST.", valueName: "MACHINE")) var name: String
    @Option(
        name: [.customLong("listen-port"), .customLong("port")], help: ArgumentHelp("The proxy's port.", valueName: "N")
    )
    var port = 8000
    @Option(help: ArgumentHelp("Which policy routes.", valueName: "NAME")) var policy = "gorgo"
    @Option(help: ArgumentHelp("Milliseconds to prefill a token.", valueName: "X")) var msPerToken: Double?
    @Option(help: ArgumentHelp("What a running token costs beside a queued one.", valueName: "X"))
    var runningCostFactor: Double?
    @Flag(help: "Only look, and print what would be done.") var dryRun = false
    @OptionGroup var options: ClusterOptions

    func validate() throws { try HTTP.Place.check(port: port) }

    func run() async throws {
        let (known, lock) = try await options.clusterToChange()
        defer { lock.release() }
        var cluster = known
        let found = try await options.machines.find([name])
        let key = found[0].key
        if let other = cluster.proxy, other.key != key, !dryRun {
            Progress.say("The proxy of \(cluster.name) was on another machine so far, and goes on there.")
        }
        cluster.proxy = Cluster.CentralProxy(key: key, port: port)
        let wanted = cluster
        try await Work.with(wanted, programs: ["gotoni-proxy"]) { work in
            try await options.machines.connected(found) { machines in
                let plan = work.plan(for: wanted.members[0])
                let steps = [plan.preparation[0]] + work.programs.steps + [service(of: wanted, by: work)]
                let reports = await Steps.run(steps, on: machines[0], isDry: dryRun)
                if !dryRun, !reports.hasFailed { try wanted.write() }
                try options.show([reports])
                if !dryRun, !reports.hasFailed, !options.json {
                    let address = found[0].machine?.ip ?? String(name.split(separator: "@").last ?? "")
                    print("\nThe proxy is http://\(address):\(port); gotoni proxy --remote \(name) status looks at it.")
                }
                try ClusterOptions.finish([reports])
            }
        }
    }

    private func service(of cluster: Cluster, by work: Work) -> Step {
        var words = ["--policy", policy]
        if let msPerToken { words += ["--ms-per-token", "\(msPerToken)"] }
        if let runningCostFactor { words += ["--running-cost-factor", "\(runningCostFactor)"] }
        for member in cluster.members {
            words += ["--server", "\(member.name)=\(Cluster.url(member, cluster.engine.port))"]
        }
        return work.service(
            "proxy", program: "gotoni-proxy", listen: "\(Cluster.anywhere):\(port)", words, place: "127.0.0.1:\(port)",
            path: "/proxy/status")
    }
}
