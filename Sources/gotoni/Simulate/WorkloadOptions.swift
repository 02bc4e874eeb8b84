import ArgumentParser
import Foundation
import GotoniSimulation

/// Requests at one load; a comparison has one or more of these.
struct Load: Sendable {
    /// As the table says it.
    var name: String
    var workload: Workload
    /// As many requests under way at all times, instead of the workload's arrivals.
    var concurrency: Int?
}

struct WorkloadOptions: ParsableArguments {
    enum Generator: String, ExpressibleByArgument, CaseIterable {
        case agentic
        case noReuse = "no-reuse"
    }

    @Option(help: "A trace: Mooncake JSONL, Azure CSV or TraceLab CSV.", completion: .file())
    var trace: String?

    @Option(help: "Without a trace: agentic (turns behind shared system prompts) or no-reuse (the control).")
    var workload = Generator.agentic

    @Option(help: "Only the first so many rows of the trace.")
    var limit: Int?

    @Option(help: "Tokens that a hash id of the trace stands for.")
    var blockTokens = 512

    @Option(help: "Users of the agentic workload.")
    var users = AgenticWorkload().users

    @Option(name: .customLong("requests"), help: "Requests of the no-reuse workload.")
    var requestCount = NoReuseWorkload().requests

    @Option(help: "Median prompt tokens of the no-reuse workload.")
    var promptTokens = NoReuseWorkload().promptTokens.median

    @Option(help: "Median answer tokens of the no-reuse workload.")
    var outputTokens = NoReuseWorkload().outputTokens.median

    @Option(help: "Times between requests times this, larger is slower; several with commas are compared.")
    var timeScale = "1"

    @Option(
        help: ArgumentHelp(
            "trace, poisson:RATE, constant:RATE (requests per second), sweep:FROM:TO:STEPS (Poisson, one after the other), concurrent:N (always N under way) or throughput (all at once)."
        ))
    var arrivals = "trace"

    @Option(help: "Everything drawn is drawn from this.")
    var seed: UInt64 = 0

    func validate() throws {
        if let limit, limit < 1 { throw ValidationError("--limit must be at least 1.") }
    }

    func loads() throws -> [Load] {
        let workload = try read()
        return try plans().map { plan in
            var load = Load(name: plan.name, workload: workload, concurrency: plan.concurrency)
            if plan.concurrency == Int.max { load.concurrency = workload.requests.count }
            if let arrivals = plan.arrivals {
                try arrivals.check()
                load.workload.arrive(arrivals, seed: seed)
            }
            return load
        }
    }

    private func read() throws -> Workload {
        guard let trace else {
            switch workload {
            case .agentic:
                var agentic = AgenticWorkload()
                agentic.users = users
                return try agentic.make(seed: seed)
            case .noReuse:
                var noReuse = NoReuseWorkload()
                noReuse.requests = requestCount
                noReuse.promptTokens.median = promptTokens
                noReuse.outputTokens.median = outputTokens
                return try noReuse.make(seed: seed)
            }
        }
        let text: Data
        do {
            text = try Data(contentsOf: URL(fileURLWithPath: trace))
        } catch {
            throw ValidationError("The trace \(trace) cannot be read. Is the path right?")
        }
        let name = URL(fileURLWithPath: trace).lastPathComponent
        return name.hasSuffix(".csv")
            ? try Workload.csv(text, name: name, limit: limit)
            : try Workload.mooncake(text, name: name, blockTokens: blockTokens, limit: limit, seed: seed)
    }

    private typealias Plan = (name: String, arrivals: ArrivalPlan?, concurrency: Int?)

    private func plans() throws -> [Plan] {
        let parts = arrivals.split(separator: ":").map(String.init)
        func number(_ index: Int) throws -> Double {
            guard index < parts.count, let value = Double(parts[index]), value > 0, value.isFinite else {
                throw ValidationError("--arrivals \(arrivals): a number is missing or not above 0.")
            }
            return value
        }
        func only(_ count: Int) throws {
            guard parts.count == count else { throw ValidationError("--arrivals \(arrivals) has too many parts.") }
        }
        switch parts.first {
        case "trace":
            try only(1)
            return try timeScale.split(separator: ",").map { text in
                guard let scale = Double(text) else { throw ValidationError("--time-scale \(text) is not a number.") }
                let plan = ArrivalPlan.scaled(scale)
                try plan.check()
                return ("time scale \(text)", plan, nil)
            }
        case "poisson":
            try only(2)
            return [("poisson \(parts[1])/s", .poisson(perSecond: try number(1)), nil)]
        case "constant":
            try only(2)
            return [("constant \(parts[1])/s", .constant(perSecond: try number(1)), nil)]
        case "sweep":
            try only(4)
            let (from, to, steps) = (try number(1), try number(2), Int(try number(3)))
            guard steps >= 2 else { throw ValidationError("--arrivals sweep needs at least 2 steps.") }
            return (0..<steps).map { step in
                let rate = from + (to - from) * Double(step) / Double(steps - 1)
                return ("poisson \(rate.text(2))/s", .poisson(perSecond: rate), nil)
            }
        case "concurrent":
            try only(2)
            return [("concurrent \(parts[1])", nil, Int(try number(1)))]
        case "throughput":
            try only(1)
            return [("throughput", nil, Int.max)]
        default:
            throw ValidationError("--arrivals \(arrivals) is unknown; see --help.")
        }
    }
}
