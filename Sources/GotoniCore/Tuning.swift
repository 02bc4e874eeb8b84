/// A number that can be turned at run time. `Knob.info` is the single table of names, units, defaults and bounds; the
/// raw values are those of `include/gotoni.h`.
public enum Knob: UInt32, CaseIterable, Sendable, BitwiseCopyable {
    case msPerToken = 1
    case rttWeight = 2
    case queuedWeight = 3
    case runningCostFactor = 4
    case rttPriorMs = 5
    case rttWindowMs = 6
    case rttExcessAlpha = 7
    case metricsTTLMs = 8
    case tokensPerRequestPrior = 9
    case ticketSilenceMs = 10
    case evictionWeight = 11
    case decodeMs = 12
    case decodeMsPerRequest = 13
    case decodeWeight = 14
    case othersWeight = 15
    case learning = 16

    public struct Info: Sendable {
        public let name: StaticString
        public let unit: StaticString
        public let meaning: StaticString
        public let defaultValue: Double
        public let bounds: ClosedRange<Double>
    }

    /// Sources of the defaults: 0.094 ms/token is the regression of the GORGO paper (arXiv 2602.11688v1, 8×A100,
    /// Mistral-7B), 500 its tokens of a request of unknown size. 100 ms is about the median round trip between regions in
    /// its tables. The weights of what is owed, in flight and evicted are the laboratory's (benchmark/simulation/README.md,
    /// what the terms are worth), where a wide plateau around them serves best; the paper has 1, 0.5 and no evictions.
    public var info: Info {
        switch self {
        case .msPerToken:
            Info(
                name: "ms_per_token", unit: "ms/token", meaning: "prefill time of one token",
                defaultValue: 0.094, bounds: 0...1_000)
        case .rttWeight:
            Info(
                name: "rtt_weight", unit: "", meaning: "weight of the round trip time in the cost",
                defaultValue: 1, bounds: 0...1_000)
        case .queuedWeight:
            Info(
                name: "queued_weight", unit: "",
                meaning: "share of the prefill owed to waiting requests that a newcomer waits for",
                defaultValue: 0.5, bounds: 0...1_000)
        case .runningCostFactor:
            Info(
                name: "running_cost_factor", unit: "",
                meaning: "share of the prefill of a prompt in flight there that its decoding costs a newcomer",
                defaultValue: 0.1, bounds: 0...1_000)
        case .rttPriorMs:
            Info(
                name: "rtt_prior_ms", unit: "ms", meaning: "round trip time assumed for a server while it is unknown",
                defaultValue: 100, bounds: 0...60_000)
        case .rttWindowMs:
            Info(
                name: "rtt_window_ms", unit: "ms", meaning: "how long the smallest round trip sample counts",
                defaultValue: 60_000, bounds: 1...86_400_000)
        case .rttExcessAlpha:
            Info(
                name: "rtt_excess_alpha", unit: "",
                meaning: "weight of the newest sample in the average excess round trip time",
                defaultValue: 0.3, bounds: 0...1)
        case .metricsTTLMs:
            Info(
                name: "metrics_ttl_ms", unit: "ms",
                meaning: "how long a metrics observation counts before it is unknown again",
                defaultValue: 5_000, bounds: 1...86_400_000)
        case .tokensPerRequestPrior:
            Info(
                name: "tokens_per_request_prior", unit: "tokens",
                meaning: "tokens of a foreign request whose size is unknown",
                defaultValue: 500, bounds: 0...100_000_000)
        case .ticketSilenceMs:
            Info(
                name: "ticket_silence_ms", unit: "ms", meaning: "silence after which a ticket is ended",
                defaultValue: 600_000, bounds: 1...86_400_000)
        case .evictionWeight:
            Info(
                name: "eviction_weight", unit: "",
                meaning: "share of what a prompt drives out of a full cache that is asked for again",
                defaultValue: 0.5, bounds: 0...1_000)
        case .decodeMs:
            Info(
                name: "decode_ms", unit: "ms",
                meaning: "time of a whole answer alone at a server, until answers have taught better",
                defaultValue: 3_000, bounds: 0...3_600_000)
        case .decodeMsPerRequest:
            Info(
                name: "decode_ms_per_request", unit: "ms",
                meaning: "what each request beside it adds to an answer, until answers have taught better",
                defaultValue: 100, bounds: 0...3_600_000)
        case .decodeWeight:
            Info(
                name: "decode_weight", unit: "",
                meaning: "weight of the time from the first token to the last in what predictive compares",
                defaultValue: 0.6, bounds: 0...1_000)
        case .othersWeight:
            Info(
                name: "others_weight", unit: "",
                meaning: "weight of the delay of other requests in what predictive compares",
                defaultValue: 0.15, bounds: 0...1_000)
        case .learning:
            Info(
                name: "learning", unit: "", meaning: "1: speeds are learned from answers; 0: they stay what they are",
                defaultValue: 1, bounds: 0...1)
        }
    }

    public init(name: Span<UInt8>) throws(RouterError) {
        for knob in Knob.allCases where matches(name, knob.info.name) {
            self = knob
            return
        }
        throw .unknownKnob
    }
}

/// The values in force, and the cost rates that follow from them.
struct Tuning: Equatable, BitwiseCopyable {
    private var values: InlineArray<17, Double> = InlineArray(repeating: 0)
    private var factors: InlineArray<8, Double> = InlineArray(repeating: 1)

    /// Nanoseconds per token of each kind, and of the round trip: cost is computed in whole nanoseconds, so that it is
    /// the same on every machine.
    private(set) var rates = CostRates()
    private(set) var predicted = PredictionWeights()
    /// What servers are believed to take before anything was observed.
    private(set) var speed = Speed()
    var isLearning: Bool { self[.learning] >= 0.5 }
    private(set) var rttWindow = Nanoseconds(0)
    private(set) var metricsTTL = Nanoseconds(0)
    private(set) var ticketSilence = Nanoseconds(0)
    private(set) var tokensPerRequest: UInt64 = 0
    private(set) var rttAlpha = 0.0

    init() {
        for knob in Knob.allCases { values[Int(knob.rawValue)] = knob.info.defaultValue }
        derive()
    }

    subscript(knob: Knob) -> Double { values[Int(knob.rawValue)] }

    /// All else follows from the values and factors.
    static func == (a: Tuning, b: Tuning) -> Bool {
        for i in a.values.indices where a.values[i] != b.values[i] { return false }
        for i in a.factors.indices where a.factors[i] != b.factors[i] { return false }
        return true
    }

    /// They differ in weights at most.
    func hasSameSpeed(as other: Tuning) -> Bool {
        self[.msPerToken] == other[.msPerToken] && self[.decodeMs] == other[.decodeMs]
            && self[.decodeMsPerRequest] == other[.decodeMsPerRequest] && self[.learning] == other[.learning]
    }

    /// Refuses what is outside the bounds; NaN is inside none.
    mutating func set(_ knob: Knob, _ value: Double) throws(RouterError) {
        guard knob.info.bounds.contains(value) else { throw .range }
        values[Int(knob.rawValue)] = value
        derive()
    }

    /// With some weights times a factor, within their bounds.
    func scaled(_ knobs: TunedKnobs, by factors: Tuner.Point) -> Tuning {
        var scaled = self
        for i in 0..<4 {
            guard let knob = knobs[i] else { continue }
            let bounds = knob.info.bounds
            scaled.values[Int(knob.rawValue)] = min(max(self[knob] * factors[i], bounds.lowerBound), bounds.upperBound)
        }
        scaled.derive()
        return scaled
    }

    /// Refuses what is outside `PredictionTerm.factors`.
    mutating func set(_ term: PredictionTerm, factor: Double) throws(RouterError) {
        guard PredictionTerm.factors.contains(factor) else { throw .range }
        factors[term.rawValue] = factor
        derive()
    }

    private func factor(_ term: PredictionTerm) -> Double { factors[term.rawValue] }

    private mutating func derive() {
        let perToken = self[.msPerToken] * 1_000_000
        rates.prefill = Int64(perToken.rounded())
        rates.evicted = Int64((perToken * self[.evictionWeight]).rounded())
        rates.queued = Int64((perToken * self[.queuedWeight]).rounded())
        rates.running = Int64((perToken * self[.runningCostFactor]).rounded())
        let millionths = Int64((self[.rttWeight] * 1_000_000).rounded())
        (rates.rttWhole, rates.rttMillionths) = millionths.quotientAndRemainder(dividingBy: 1_000_000)
        rates.rttPrior = Int64((self[.rttPriorMs] * 1_000_000).rounded())
        predicted.network = factor(.network)
        predicted.upload = factor(.upload)
        predicted.wait = factor(.wait)
        predicted.prefill = factor(.prefill)
        predicted.driven = factor(.eviction)
        predicted.doubt = factor(.doubt)
        predicted.decode = self[.decodeWeight] * factor(.decode)
        predicted.others = self[.othersWeight] * factor(.others)
        predicted.eviction = self[.evictionWeight]
        predicted.rttPrior = self[.rttPriorMs]
        speed = Speed(
            msPerToken: self[.msPerToken], decode: self[.decodeMs], decodePerRequest: self[.decodeMsPerRequest])
        rttWindow = Nanoseconds(milliseconds: self[.rttWindowMs])
        metricsTTL = Nanoseconds(milliseconds: self[.metricsTTLMs])
        ticketSilence = Nanoseconds(milliseconds: self[.ticketSilenceMs])
        tokensPerRequest = UInt64(self[.tokensPerRequestPrior])
        rttAlpha = self[.rttExcessAlpha]
    }
}

/// Whether two names are equal, byte for byte.
func matches(_ name: Span<UInt8>, _ known: StaticString) -> Bool {
    guard name.count == known.utf8CodeUnitCount else { return false }
    for i in 0..<name.count where name[i] != known.utf8Start[i] { return false }
    return true
}
