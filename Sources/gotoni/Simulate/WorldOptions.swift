public import ArgumentParser
import Foundation
import GotoniCore
public import GotoniSimulation

struct WorldOptions: ParsableArguments {
    enum UploadChoice: String, ExpressibleByArgument, CaseIterable {
        case none
        case slowStart = "slow-start"
        case measured

        var upload: Upload {
            switch self {
            case .none: .none
            case .slowStart: .standard
            case .measured: .measured
            }
        }
    }

    @Option(
        help: ArgumentHelp(
            "Engines, in turn over the servers, with commas: neutral (8,000 tokens/s of prefill, 6 ms + 0.35 ms per request between tokens, 524,288 tokens of cache), a100 (8×A100, Mistral-7B), l40s (2×L40S) and h100 (Qwen3.5-35B), or a JSON file."
        ))
    var engine = "neutral"

    @Option(help: "Servers in each region.")
    var servers = 2

    @Option(
        help:
            "Milliseconds of round trip from the proxy to each region; or: believed (37,279,456), physical (26,120,210)."
    )
    var rtt = "believed"

    @Option(help: "KV cache of every server in tokens, instead of its engine's.")
    var kvTokens: Int?

    @Option(help: "Mean share by which each leg is stretched, exponential.")
    var jitter = 0.0

    @Option(help: "What sending a prompt costs: none, slow-start (TCP), measured (a regression on real logs).")
    var upload = UploadChoice.slowStart

    @Option(help: "Where users are: proxy (beside it) or spread (over the regions).")
    var clients = Scenario.Clients.proxy

    @Option(help: "Proxies of policies that have several (@apart, @sharing, @regions), in turn over the regions.")
    var proxies = 1

    @Option(help: "Seconds between two looks at a server's load and round trip.")
    var probeInterval = 1.0

    @Option(help: "Most requests at one server; more wait at the balancer.")
    var maxConcurrent: UInt32?

    @Option(
        help: ArgumentHelp(
            "What goes wrong, WHAT@SECONDS:WHICH, repeatable: crash@600:1, restart@600+20:1, slow@600:1*3, lost@600:2, found@660:2, rtt@600:2=300. Servers and regions count from 1."
        ))
    var fault: [String] = []

    func scenario(seed: UInt64) throws -> Scenario {
        var network: Network
        switch rtt {
        case "believed": network = .believed
        case "physical": network = .physical
        default:
            network = Network(
                rtt: try rtt.split(separator: ",").map { text in
                    guard let value = Double(text) else { throw ValidationError("--rtt: \(text) is not a number.") }
                    return value
                })
        }
        network.jitter = jitter
        network.upload = upload.upload
        guard !network.rtt.isEmpty else { throw ValidationError("--rtt names no region.") }
        guard maxConcurrent ?? 1 >= 1 else { throw ValidationError("--max-concurrent must be at least 1.") }
        guard (1...1_024).contains(servers) else { throw ValidationError("--servers must be 1 to 1,024 per region.") }
        guard (0.001...86_400).contains(probeInterval) else {
            throw ValidationError("--probe-interval must be 0.001 to 86,400 seconds.")
        }
        let engines = try engine.split(separator: ",").map { try model(String($0)) }
        guard (1...network.rtt.count * servers).contains(engines.count) else {
            throw ValidationError("--engine names \(engines.count) engines for \(network.rtt.count * servers) servers.")
        }
        var scenario = Scenario(
            network: network,
            servers: network.rtt.indices.flatMap { region in
                (0..<servers).map {
                    Scenario.Server(engine: engines[(region * servers + $0) % engines.count], region: region)
                }
            })
        scenario.clients = clients
        scenario.proxies = proxies
        scenario.probeInterval = Nanoseconds(seconds: probeInterval)
        scenario.maxConcurrent = maxConcurrent
        scenario.faults = try fault.flatMap { try Fault.parse($0) }
        scenario.seed = seed
        try scenario.check()
        return scenario
    }

    private func model(_ name: String) throws -> EngineModel {
        var model: EngineModel
        if let preset = EngineModel.presets.first(where: { $0.name == name }) {
            model = preset.model
        } else if let data = try? Data(contentsOf: URL(fileURLWithPath: name)) {
            model = try EngineFile.read(data, name)
        } else {
            let presets = EngineModel.presets.map(\.name).joined(separator: ", ")
            throw ValidationError("--engine \(name) is neither a preset (\(presets)) nor a file.")
        }
        if let kvTokens { model.kvTokens = kvTokens }
        try model.check()
        return model
    }
}

extension Scenario.Clients: ExpressibleByArgument {}

extension Fault {
    /// `what@seconds:which`, and what else the kind needs.
    fileprivate static func parse(_ text: String) throws -> [Fault] {
        let wrong = ValidationError(
            "--fault \(text) is not understood. Write for example crash@600:1, restart@600+20:1, slow@600:1*3, lost@600:2, found@660:2, rtt@600:2=300."
        )
        let parts = text.split(whereSeparator: { "@:+*=".contains($0) }).map(String.init)
        let marks = text.filter { "@:+*=".contains($0) }
        guard parts.count >= 3, let seconds = Double(parts[1]), seconds >= 0, seconds <= 1e9 else { throw wrong }
        let at = Nanoseconds(seconds: seconds)
        func index(_ part: Int) throws -> Int {
            guard let number = Int(parts[part]), number >= 1 else { throw wrong }
            return number - 1
        }
        func number(_ part: Int) throws -> Double {
            guard let number = Double(parts[part]), number >= 0, number.isFinite else { throw wrong }
            return number
        }
        switch (parts[0], marks) {
        case ("crash", "@:"): return [Fault(at: at, .crash(server: try index(2)))]
        case ("start", "@:"): return [Fault(at: at, .start(server: try index(2)))]
        case ("lost", "@:"): return [Fault(at: at, .lost(region: try index(2)))]
        case ("found", "@:"): return [Fault(at: at, .found(region: try index(2)))]
        case ("slow", "@:*"): return [Fault(at: at, .slow(server: try index(2), factor: try number(3)))]
        case ("rtt", "@:="): return [Fault(at: at, .rtt(region: try index(2), milliseconds: try number(3)))]
        case ("restart", "@+:"):
            let server = try index(3)
            let back = Nanoseconds(seconds: seconds + (try number(2)))
            return [Fault(at: at, .crash(server: server)), Fault(at: back, .start(server: server))]
        default: throw wrong
        }
    }
}
