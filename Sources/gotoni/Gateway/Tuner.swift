import ArgumentParser
import Foundation

/// What a gateway's tuner can be told.
enum TunerOrder: String, CaseIterable, ExpressibleByArgument {
    case start, status, freeze, rollback

    /// Below /proxy/tune/ and /lb/tune/.
    var method: HTTP.Method { self == .status ? .get : .post }

    static let help = """
        The tuner looks for better weights of the policies gorgo and predictive while requests are served, without serving
        them worse:
          start      begin, or go on after a freeze; --ttft-ms and --itl-ms say what a good request keeps within
          status     what it does, and what it has found
          freeze     keep the weights of now
          rollback   back to the weights that were set, and freeze
        Of proxies that share over NATS one tunes and the others follow; freeze and rollback at any of them hold for all. When
        the one that tunes is gone its weights stay, until another is started.
        """
}

/// What a good request keeps within.
struct TunerLimits: ParsableArguments {
    @Option(help: ArgumentHelp("For start: most milliseconds to the first token (default: 2000).", valueName: "MS"))
    var ttftMs: Double?
    @Option(help: ArgumentHelp("For start: most milliseconds between tokens (default: 100).", valueName: "MS"))
    var itlMs: Double?

    private struct Body: Encodable {
        var ttft_ms: Double?
        var itl_ms: Double?
    }

    /// Nil where there is nothing to say. Errors: limits for something else than start.
    func body(of order: TunerOrder?) throws -> Data? {
        guard ttftMs != nil || itlMs != nil else { return nil }
        guard order == .start else { throw ValidationError("--ttft-ms and --itl-ms belong to start.") }
        return try JSONEncoder().encode(Body(ttft_ms: ttftMs, itl_ms: itlMs))
    }
}

struct TunerAnswer: Decodable {
    struct Weight: Decodable {
        var knob: String
        var home: Double
        var incumbent: Double
        var trial: Double
    }
    var phase: String
    /// Nil: no proxies share, or it is older than this.
    var tunedBy: String?
    var policy: String
    var ttftLimitMs: Double
    var itlLimitMs: Double
    var weights: [Weight]
    var goodput: Double?
    var ended: Int
    var spentRequests: Double
    var rounds: Int
    var difference: Double?
    var accepted: Int
    var rejected: Int
    var undecided: Int
    var rolledBack: Int
    var wentHome: Int

    static let heading = [
        "PHASE", "GOODPUT", "REQUESTS", "ACCEPTED", "REJECTED", "ROLLED BACK", "WENT HOME", "WEIGHTS",
    ]

    var row: [String] {
        [
            phase, goodput?.text(3) ?? "-", "\(ended)", "\(accepted)", "\(rejected + undecided)", "\(rolledBack)",
            "\(wentHome)", weights.map { "\($0.knob)=\($0.incumbent.text(3))" }.joined(separator: " "),
        ]
    }

    var text: String {
        var facts = Facts()
        let leader = phase == "following" ? tunedBy.map { " \($0)" } ?? "" : ""
        facts.add("Tuner", phase == "off" ? "off; it is begun with start" : "\(phase)\(leader) (\(policy))")
        guard phase != "off" else { return facts.lines.joined(separator: "\n") }
        facts.add("Good", "first token within \(ttftLimitMs.text(0)) ms, tokens within \(itlLimitMs.text(0)) ms")
        facts.add("Goodput", "\(goodput?.text(3) ?? "-") of the last thousand requests; \(ended) in all")
        if let difference {
            facts.add("Trial", "ahead by \(difference.text(3)) after \(rounds) rounds")
        }
        facts.add("Trials cost", "\(spentRequests.text(1)) good requests")
        facts.add("Accepted", accepted)
        facts.add("Rejected", "\(rejected), \(undecided) undecided, \(rolledBack) ended early")
        facts.add("Went home", wentHome)
        var table = TextTable(["WEIGHT", "SET", "INCUMBENT", "ON TRIAL"])
        for weight in weights {
            table.add([weight.knob, weight.home.text(3), weight.incumbent.text(3), weight.trial.text(3)])
        }
        return (facts.lines + [""] + table.lines).joined(separator: "\n")
    }
}
