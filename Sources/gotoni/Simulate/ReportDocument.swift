import Foundation
import GotoniCore
import GotoniSimulation

/// All figures of a comparison: what the table shows and `--json` writes. The same arguments give the same bytes, so
/// nothing of the machine or the time of day is in it.
struct ReportDocument: Encodable {
    struct Server: Encodable {
        var engine: EngineModel
        var region: Int
    }

    /// What the servers stand in.
    struct World: Encodable {
        var clients: String
        var upload: String
        var jitter: Double
        var probeIntervalSeconds: Double
        var maxConcurrent: UInt32?
        var faults: [String]
    }

    struct Cell: Encodable {
        var load: String
        var workload: String
        var requests: Int
        var users: Int
        var sessions: Int
        var promptTokens: Int
        var outputTokens: Int
        var reusableShare: Double
        var policies: [PolicyReport]
    }

    var version = 1
    var gotoni = Gotoni.number
    var seed: UInt64
    var rtt: [Double]
    var servers: [Server]
    var world: World
    var limits: ServiceLimits
    var cells: [Cell] = []

    enum CodingKeys: String, CodingKey {
        case version, gotoni, seed, servers, world, limits, cells
        case rtt = "rtt_ms"
    }

    init(_ scenario: Scenario, _ limits: ServiceLimits, seed: UInt64) {
        self.seed = seed
        self.limits = limits
        rtt = scenario.network.rtt
        world = World(
            clients: scenario.clients.rawValue, upload: scenario.network.upload.name, jitter: scenario.network.jitter,
            probeIntervalSeconds: scenario.probeInterval.seconds, maxConcurrent: scenario.maxConcurrent,
            faults: scenario.faults.map { "\($0.at.seconds) s: \($0.kind)" })
        servers = scenario.servers.map { Server(engine: $0.engine, region: $0.region + 1) }
    }

    mutating func add(_ load: Load, _ scenario: Scenario, _ runs: [RunResult]) {
        let workload = load.workload
        let reusable = workload.reusableTokens()
        let oracle = runs.first { $0.policy.label == "oracle" }
        cells.append(
            Cell(
                load: load.name, workload: workload.name, requests: workload.requests.count, users: workload.users,
                sessions: workload.sessions, promptTokens: workload.promptTokens, outputTokens: workload.outputTokens,
                reusableShare: Double(reusable) / Double(max(workload.promptTokens, 1)),
                policies: runs.map {
                    PolicyReport($0, workload, scenario, limits, reusable: reusable, oracle: oracle)
                }))
    }

    func json() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return try encoder.encode(self) + Data("\n".utf8)
    }
}

/// A CSV line for every request.
struct RequestLog {
    private(set) var text =
        "index,scheduled_ms,server,prompt_tokens,cached_tokens,output_tokens,ttft_ms,e2e_ms,itl_ms,outcome,attempts,policy,load\n"

    mutating func add(_ run: RunResult, _ load: Load) {
        for (index, (result, request)) in zip(run.requests, load.workload.requests).enumerated() {
            let times = Times(result, request.outputTokens)
            let fields: [String] = [
                "\(index)", result.scheduled.milliseconds.text(3), result.server.map { "\($0 + 1)" } ?? "",
                "\(request.promptTokens)", "\(result.cachedTokens)", "\(request.outputTokens)",
                times?.ttft.text(3) ?? "", times?.e2e.text(3) ?? "", times?.itl?.text(3) ?? "", result.outcome.rawValue,
                "\(result.attempts)", run.policy.label, load.name,
            ]
            text += fields.joined(separator: ",") + "\n"
        }
    }
}
