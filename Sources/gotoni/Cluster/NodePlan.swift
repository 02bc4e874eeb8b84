import Foundation

/// What is to hold on one machine of a cluster, as steps in their order.
struct NodePlan: Sendable {
    /// Programs are made on Ubuntu 22.04 or what is as old (make test looks).
    private static let leastGlibc = "2.35"
    private static let grace = Duration.seconds(60)

    var cluster: Cluster
    var member: Cluster.Member
    /// Files with what nobody else may see: variables of programs, the token of Hugging Face's hub.
    var secrets: String
    var token: String?
    /// How long an engine may load its model.
    var engineLimit: Duration

    private var engine: Cluster.Engine { cluster.engine }
    /// A sandbox is a container already, of the engine's image.
    private var isContainer: Bool { !member.isSandbox && (engine.kind == .sglang || engine.kind == .vllm) }

    /// Programs that are sent.
    static func programs(for engine: EngineKind) -> [String] {
        (engine == .simulated ? ["gotoni-engine"] : []) + ["gotoni-lb"]
    }

    // MARK: Steps

    /// What the machine brings along: looked at, and changed only as far as Docker is started.
    var preparation: [Step] {
        #if arch(arm64)
            let architecture = "aarch64"
        #else
            let architecture = "x86_64"
        #endif
        // A model and its image need far more, but may be there already.
        var steps = [Step("machine", look: "look_system", [architecture, Self.leastGlibc, isContainer ? "20" : "1"])]
        if let token, engine.kind == .sglang || engine.kind == .vllm {
            steps.append(Step("token", look: "look_token", act: "act_token", [], input: token))
        }
        guard isContainer, let image = engine.image else { return steps }
        steps += [
            Step("driver", look: "look_driver", ["\(EngineKind.leastDriver(image))", "\(engine.tensorParallel)"]),
            Step("docker", look: "look_docker", act: "act_docker", []),
            Step("image", look: "look_image", act: "act_image", [image], limit: .seconds(3600)),
        ]
        return steps
    }

    /// Runs what is wanted, and answers.
    var engineStep: Step {
        let label =
            isContainer ? ([engine.image ?? ""] + command).joined(separator: " ") : command.joined(separator: " ")
        let place = Cluster.place(member, engine.port)
        let look = { @Sendable (machine: Machine) async throws(CommandError) -> Step.Finding in
            let found = try await lookAtEngine(label, machine)
            guard case .holds(let info) = found else { return found }
            guard await Health.answers(machine, place, "/health") else {
                guard engine.kind != .external else {
                    throw CommandError("Nobody answers at \(place)/health, where the engine should be.")
                }
                return .wants("wait for the engine to load its model")
            }
            return .holds("\(info), answers at \(place)")
        }
        return Step(
            name: "engine", look: look,
            act: { (machine) throws(CommandError) in
                try await start(label, on: machine)
                let alive = isContainer ? ["alive_container"] : ["alive_service", "engine"]
                try await Health.wait(
                    machine, place, "/health", alive: alive, limit: engineLimit, name: "The engine")
            })
    }

    private var command: [String] { (isContainer ? [] : engine.program) + engine.command(listen: member.listen) }

    private func lookAtEngine(_ label: String, _ machine: Machine) async throws(CommandError) -> Step.Finding {
        if engine.kind == .external { return .holds("not ours") }
        if isContainer { return try await machine.look("look_container", [label]) }
        // It is told nothing that balancers are.
        return try await machine.look("look_service", ["engine", label])
    }

    private func start(_ label: String, on machine: Machine) async throws(CommandError) {
        // One that loads its model is left to that; one that Docker starts again and again is made anew.
        if case .holds = try await lookAtEngine(label, machine) {
            guard isContainer,
                try await machine.cluster("alive_container", expecting: [1], doing: "Looking at the engine").status == 1
            else { return }
        }
        if isContainer {
            _ = try await machine.cluster(
                "act_container", [label, "\(member.listen):\(engine.port)", engine.image ?? ""] + command,
                limit: .seconds(300), doing: "Starting the engine")
        } else {
            _ = try await machine.cluster(
                "act_service", ["engine", label, "30", "\(member.listen):\(engine.port)"] + command,
                limit: Self.grace + Machine.brief, doing: "Starting the engine")
        }
    }

    var balancerStep: Step {
        let balancer = cluster.balancer
        let engineURL = "http://" + Cluster.place(member, engine.port)
        var words = [
            "--engine", engineURL, "--node-id", member.name,
            "--strategy", balancer.strategy, "--max-concurrent", "\(balancer.maxConcurrent)", "--running-threshold",
            "\(balancer.runningThreshold)",
        ]
        for peer in cluster.members where peer.key != member.key {
            words += ["--peer", "\(peer.name)=\(Cluster.url(peer, balancer.port))"]
        }
        return Self.service(
            "lb", program: "gotoni-lb", listen: "\(member.listen):\(balancer.port)", words, secrets: secrets,
            place: Cluster.place(member, balancer.port),
            path: "/lb/status", token: cluster.adminToken)
    }

    /// A program of ours listens there, is told `more` besides, and answers.
    static func service(
        _ name: String, program: String, listen: String, _ more: [String], secrets: String, place: String, path: String,
        token: String
    ) -> Step {
        let words = ["--listen", listen] + more
        let label = ([program] + words).joined(separator: " ")
        return Step(
            name: name,
            look: { (machine) throws(CommandError) in
                let found = try await machine.look("look_service", [name, label], input: secrets)
                guard case .holds(let info) = found else { return found }
                guard await Health.answers(machine, place, path, token: token) else {
                    return .wants("wait for \(program) to answer")
                }
                return .holds("\(info), answers at \(place)")
            },
            act: { (machine) throws(CommandError) in
                if case .wants = try await machine.look("look_service", [name, label], input: secrets) {
                    _ = try await machine.cluster(
                        "act_service", [name, label, "\(grace.components.seconds)", listen, program] + words,
                        input: secrets,
                        limit: grace + Machine.brief, doing: "Starting \(program)")
                }
                try await Health.wait(
                    machine, place, path, token: token, alive: ["alive_service", name], limit: .seconds(30),
                    name: program)
            })
    }

    /// Ends a program of ours; what is under way there may end first.
    static func stop(_ name: String) -> Step {
        Step(
            name: "stop \(name)",
            look: { (machine) throws(CommandError) in
                let answer = try await machine.cluster("status_service", [name], doing: "Looking")
                return answer.value("pid").map { .wants("end \(name), process \($0)") } ?? .holds("does not run")
            },
            act: { (machine) throws(CommandError) in
                let answer = try await machine.cluster(
                    "stop_service", [name, "\(grace.components.seconds)"], expecting: [124],
                    limit: grace + Machine.brief, doing: "Stopping \(name)")
                if let pid = answer.value("slow") {
                    throw CommandError("Process \(pid) was asked to end and still runs after \(grace).", exitCode: 124)
                }
            })
    }

    /// Ends the engine, which its step then starts anew.
    var engineStop: Step? {
        if engine.kind == .external { return nil }
        guard isContainer else { return Self.stop("engine") }
        return Step(
            name: "stop engine",
            look: { (machine) throws(CommandError) in
                let answer = try await machine.cluster("status_container", doing: "Looking")
                return answer.value("runs") == nil ? .holds("does not run") : .wants("end the engine")
            },
            act: { (machine) throws(CommandError) in
                _ = try await machine.cluster("stop_container", limit: .seconds(120), doing: "Stopping the engine")
            })
    }
}
