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
        case sharedPrefix = "shared-prefix"
    }

    @Option(help: "A trace: Mooncake JSONL, Azure CSV or TraceLab CSV.", completion: .file())
    var trace: String?

    @Option(
        help:
            "Without a trace: agentic (turns behind shared system prompts; so if not given), no-reuse (the control) or shared-prefix (a storm on one system prompt)."
    )
    var workload: Generator?

    @Option(help: "Only the first so many rows of the trace.")
    var limit: Int?

    @Option(help: "Tokens that a hash id of the trace stands for (512).")
    var blockTokens: Int?

    @Option(help: "Users of the agentic workload (\(AgenticWorkload().users)).")
    var users: Int?

    @Option(name: .customLong("requests"), help: "Requests of no-reuse and of shared-prefix (2,000).")
    var requestCount: Int?

    @Option(help: "Median prompt tokens of no-reuse (2,000), and of the messages of shared-prefix (300).")
    var promptTokens: Double?

    @Option(help: "Median answer tokens of no-reuse and of shared-prefix (150).")
    var outputTokens: Double?

    @Option(help: "Tokens of the system prompt of shared-prefix (\(SharedPrefixWorkload().sharedTokens)).")
    var sharedTokens: Int?

    @Option(help: "Share of requests behind it (\(SharedPrefixWorkload().sharedShare)).")
    var sharedShare: Double?

    @Option(
        help: ArgumentHelp(
            "Times between arrivals times this, larger is slower; several with commas are compared (1). Times between an answer and what follows it stay."
        ))
    var timeScale: String?

    @Option(
        help: ArgumentHelp(
            "trace, poisson:RATE, constant:RATE (per second), sweep:FROM:TO:STEPS (Poisson rates, one after the other), concurrent:N (always N under way) or throughput (all at once). Of requests; of conversations where requests continue others."
        ))
    var arrivals = "trace"

    @Option(help: "Everything drawn is drawn from this.")
    var seed: UInt64 = 0

    func validate() throws {
        if let limit, limit < 1 { throw ValidationError("--limit must be at least 1.") }
        for median in [promptTokens, outputTokens] where !(1...131_072).contains(median ?? 1) {
            throw ValidationError("--prompt-tokens and --output-tokens must be 1 to 131,072.")
        }
        // What would change nothing is a mistake.
        let generated = trace == nil
        func refuse(_ option: String, _ given: Bool, unless applies: Bool, _ when: String) throws {
            if given, !applies { throw ValidationError("\(option) has no effect \(when).") }
        }
        try refuse("--limit", limit != nil, unless: !generated, "without --trace")
        try refuse("--block-tokens", blockTokens != nil, unless: !generated, "without --trace")
        try refuse("--workload", workload != nil, unless: generated, "with --trace")
        let kind = generated ? workload ?? .agentic : nil
        let single = kind == .noReuse || kind == .sharedPrefix
        let whenSingle = "but with --workload no-reuse or shared-prefix"
        try refuse("--users", users != nil, unless: kind == .agentic, "but with --workload agentic")
        try refuse("--requests", requestCount != nil, unless: single, whenSingle)
        try refuse("--prompt-tokens", promptTokens != nil, unless: single, whenSingle)
        try refuse("--output-tokens", outputTokens != nil, unless: single, whenSingle)
        let whenShared = "but with --workload shared-prefix"
        try refuse("--shared-tokens", sharedTokens != nil, unless: kind == .sharedPrefix, whenShared)
        try refuse("--shared-share", sharedShare != nil, unless: kind == .sharedPrefix, whenShared)
        try refuse("--time-scale", timeScale != nil, unless: arrivals == "trace", "with --arrivals \(arrivals)")
    }

    func loads() throws -> [Load] {
        let workload = try read()
        let what = workload.hasConversations ? " conversations/s" : "/s"
        return try plans().map { plan in
            var load = Load(
                name: plan.name.replacingOccurrences(of: "/s", with: what), workload: workload,
                concurrency: plan.concurrency)
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
            switch workload ?? .agentic {
            case .agentic:
                var agentic = AgenticWorkload()
                if let users { agentic.users = users }
                return try agentic.make(seed: seed)
            case .noReuse:
                var noReuse = NoReuseWorkload()
                if let requestCount { noReuse.requests = requestCount }
                if let promptTokens { noReuse.promptTokens.median = promptTokens }
                if let outputTokens { noReuse.outputTokens.median = outputTokens }
                return try noReuse.make(seed: seed)
            case .sharedPrefix:
                var shared = SharedPrefixWorkload()
                if let requestCount { shared.requests = requestCount }
                if let promptTokens { shared.messageTokens.median = promptTokens }
                if let outputTokens { shared.outputTokens.median = outputTokens }
                if let sharedTokens { shared.sharedTokens = sharedTokens }
                if let sharedShare { shared.sharedShare = sharedShare }
                return try shared.make(seed: seed)
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
            : try Workload.mooncake(text, name: name, blockTokens: blockTokens ?? 512, limit: limit, seed: seed)
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
        func whole(_ index: Int, _ bounds: ClosedRange<Int>) throws -> Int {
            guard index < parts.count, let value = Int(parts[index]), bounds.contains(value) else {
                throw ValidationError(
                    "--arrivals \(arrivals): a whole number from \(bounds.lowerBound) to \(bounds.upperBound) is missing."
                )
            }
            return value
        }
        func only(_ count: Int) throws {
            guard parts.count == count else {
                throw ValidationError("--arrivals \(arrivals) has \(parts.count) parts, it needs \(count).")
            }
        }
        switch parts.first {
        case "trace":
            try only(1)
            let scales = (timeScale ?? "1").split(separator: ",")
            guard !scales.isEmpty, Set(scales).count == scales.count else {
                throw ValidationError("--time-scale must name one or more numbers, each once.")
            }
            return try scales.map { text in
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
            let (from, to, steps) = (try number(1), try number(2), try whole(3, 2...100))
            return (0..<steps).map { step in
                let rate = from + (to - from) * Double(step) / Double(steps - 1)
                return ("poisson \(rate.text(2))/s", .poisson(perSecond: rate), nil)
            }
        case "concurrent":
            try only(2)
            let count = try whole(1, 1...1_000_000)
            return [("concurrent \(count)", nil, count)]
        case "throughput":
            try only(1)
            return [("throughput", nil, Int.max)]
        default:
            throw ValidationError("--arrivals \(arrivals) is unknown; see --help.")
        }
    }
}
