/// What a request would meet at one server, in nanoseconds.
public struct Prediction: Equatable, Sendable, BitwiseCopyable {
    /// There and back, and what every request takes.
    public var network: Int64 = 0
    /// Of sending and reading a long prompt.
    public var upload: Int64 = 0
    /// After its arrival, until the engine has prefilled what came before, or has a place.
    public var wait: Int64 = 0
    /// Of what is not cached.
    public var prefill: Int64 = 0
    /// From the first token of an answer of mean length to its last.
    public var decode: Int64 = 0
    /// By how much it delays those that are there, and those that will ask for what it drives out, summed over them.
    public var others: Int64 = 0
    /// By how much all this may be off because few answers were seen.
    public var doubt: Int64 = 0
    /// What the policy predictive compares: time to the first token, decode and others with their weights, and a draw from
    /// within the doubt.
    public var cost: Int64 = 0

    public var firstToken: Int64 {
        saturatingSum(saturatingSum(network, upload), saturatingSum(wait, prefill))
    }
    public var last: Int64 { saturatingSum(firstToken, decode) }

    /// Nanoseconds of milliseconds; what is too long for anything is two hundred years.
    @inline(__always) static func nanoseconds(_ milliseconds: Double) -> Int64 {
        Int64(min(max(milliseconds * 1e6, -6e18), 6e18))
    }
}

/// The terms of `Prediction.cost`. The laboratory multiplies each by a factor, to see what it is worth and what an error in it
/// does (benchmark/simulation/README.md, what each term is worth). Everywhere else all factors are 1.
package enum PredictionTerm: Int, CaseIterable, Sendable {
    case network
    case upload
    case wait
    case prefill
    case decode
    case others
    case eviction
    case doubt

    /// What a factor may be.
    package static var factors: ClosedRange<Double> { 0...10 }
}

/// What the parts of a prediction count in its cost.
struct PredictionWeights: BitwiseCopyable {
    /// The factors of the laboratory: what is shown of a prediction is without them.
    var network = 1.0
    var upload = 1.0
    var wait = 1.0
    var prefill = 1.0
    var driven = 1.0
    var doubt = 1.0
    /// Knobs times the factors.
    var decode = 0.0
    var others = 0.0
    /// Share of what is driven out that is asked for again.
    var eviction = 0.0
    /// Round trip where none is known, milliseconds.
    var rttPrior = 0.0

    @inline(__always) func roundTrip(_ rtt: UInt64?) -> Double { rtt.map { Double($0) / 1e6 } ?? rttPrior }

    /// What a request costs at least at a server of this model, whatever its prompt, in nanoseconds.
    func floor(rtt: UInt64?, requests: Double, _ model: LearnedSpeed) -> Int64 {
        var least = network * roundTrip(rtt) - doubt * LearnedSpeed.mostDoubt
        if model.observations > 0 {
            least = network * (roundTrip(rtt) + model.speed.overhead) - doubt * model.doubt
            least += decode * model.speed.decode(requests: requests)
            least += others * model.speed.decodePerRequest * requests
        }
        // A microsecond for sums in another order.
        return Prediction.nanoseconds(least) - 1_000
    }
}

extension CandidateTable {
    /// Round trips that a prompt of `tokens` needs beyond the first on a connection that was idle: TCP's slow start begins
    /// with 10 segments of 1,460 bytes and doubles them every round trip (RFC 6928, RFC 5681); a token is about 5 bytes of
    /// JSON.
    static func extraRoundTrips(_ tokens: Int) -> Int { 63 - UInt64(1 + tokens / 2_920).leadingZeroBitCount }

    @inline(__always) private func model(_ slot: Int) -> LearnedSpeed {
        models[slot].observations > 0 ? models[slot] : fleet
    }

    /// `ahead`: of what is owed there, the engine works some off before the request arrives. It has since the last first
    /// token came back, up to the prompt that it works on now, for that one's first token has not been seen; what it did
    /// while that was on its way, and will do while this request is, nobody could see.
    func situation(_ slot: Int) -> Situation {
        let row = rows[slot]
        let load = load(slot)
        let speed = model(slot).speed
        var situation = Situation()
        let rtt = weights.roundTrip(row.rtt)
        situation.rtt = Float(rtt)
        situation.roundTrips = Float(Self.extraRoundTrips(promptTokens))
        situation.prompt = Float(promptTokens) / 1_000
        situation.own = Float(promptTokens - heldBlocks(slot) * blockTokens) / 1_000
        situation.requests = Float(load.requests)
        guard load.owedTokens > 0 else { return situation }
        let slope = speed.prefill(requests: Double(load.requests))
        let owed = Double(load.owedTokens) / 1_000
        let head = slope * owed / max(Double(load.queuedRequests), 1)
        let worked = now.since(row.workingSince).milliseconds
        let onItsWay = rtt + speed.roundTripShare * Double(situation.roundTrips) * rtt
        let done = min(max(worked, 0), head) + onItsWay
        situation.ahead = slope > 0 ? Float(max(0, owed - done / slope)) : Float(owed)
        return situation
    }

    /// What follows from `situation`, that of `slot`.
    func prediction(_ slot: Int, _ situation: Situation) -> Prediction {
        let model = model(slot)
        let speed = model.speed
        let requests = Double(situation.requests)
        let slope = speed.prefill(requests: requests)
        let rtt = Double(situation.rtt)
        let upload =
            speed.roundTripShare * Double(situation.roundTrips) * rtt + speed.reading * Double(situation.prompt)
        var wait = slope * Double(situation.ahead)
        let places = Double(rows[slot].runningLimit)
        if places > 0, requests >= places {
            // As many must end as stand before it in excess of the limit; of so many one ends in this time.
            wait = max(wait, (requests - places + 1) / places * speed.decode(requests: places))
        }
        let prefill = slope * Double(situation.own)
        let decode = speed.decode(requests: requests)
        // All that decode wait for its prefill, and each of its tokens makes one of theirs longer.
        let evicted = matched[slot] == Matches.excluded ? 0 : evictedTokens(slot)
        let others = requests * (prefill + speed.decodePerRequest)
        let driven = weights.eviction * slope * Double(evicted) / 1_000

        var prediction = Prediction()
        prediction.network = Prediction.nanoseconds(rtt + speed.overhead)
        prediction.upload = Prediction.nanoseconds(upload)
        prediction.wait = Prediction.nanoseconds(wait)
        prediction.prefill = Prediction.nanoseconds(prefill)
        prediction.decode = Prediction.nanoseconds(decode)
        prediction.others = Prediction.nanoseconds(others + driven)
        prediction.doubt = Prediction.nanoseconds(model.doubt)
        var cost = weights.network * (rtt + speed.overhead) + weights.upload * upload + weights.wait * wait
        cost += weights.prefill * prefill
        cost += weights.decode * decode
        cost += weights.others * others
        cost += weights.driven * driven
        prediction.cost = Prediction.nanoseconds(cost + weights.doubt * model.doubt * draw(slot))
        return prediction
    }

    /// From -1 to 1, for this decision and server.
    @inline(__always) private func draw(_ slot: Int) -> Double {
        Double(Int64(bitPattern: Key.mix(doubtSeed, UInt64(slot))) >> 11) / 4_503_599_627_370_496
    }
}
