/// What one request meets at one server: the inputs of a prediction. Times in milliseconds, tokens in thousands.
struct Situation: BitwiseCopyable {
    var rtt: Float = 0
    /// Round trips that a long prompt needs besides, on a connection that was idle.
    var roundTrips: Float = 0
    var prompt: Float = 0
    /// To prefill, of its own prompt and of others when it arrives.
    var own: Float = 0
    var ahead: Float = 0
    /// Requests there, before and after their first token.
    var requests: Float = 0

    /// Of the time to the first token beyond the round trip.
    fileprivate var features: InlineArray<5, Double> {
        let work = Double(own) + Double(ahead)
        return [1, work, work * Double(requests) / 10, Double(roundTrips) * Double(rtt) / 100, Double(prompt)]
    }
}

/// What work takes at a server, in milliseconds.
struct Speed: BitwiseCopyable {
    /// Per unit of `Situation.features`, and of 1 and tens of requests.
    fileprivate var firstToken: InlineArray<5, Double> = InlineArray(repeating: 0)
    fileprivate var decode: InlineArray<2, Double> = InlineArray(repeating: 0)

    init() {}

    /// What is believed before anything was observed; `msPerToken` of prefill.
    init(msPerToken: Double, decode: Double, decodePerRequest: Double) {
        firstToken = [0, msPerToken * 1_000, 0, 100, 0]
        self.decode = [decode, decodePerRequest * 10]
    }

    /// Of every request, besides its round trip.
    var overhead: Double { firstToken[0] }
    /// Of a thousand tokens of prefill, beside so many requests.
    @inline(__always) func prefill(requests: Double) -> Double { firstToken[1] + firstToken[2] * requests / 10 }
    /// Of sending a prompt: of each round trip that it needs besides, the share that it really takes; and of reading a
    /// thousand tokens.
    var roundTripShare: Double { firstToken[3] / 100 }
    var reading: Double { firstToken[4] }
    /// Of a whole answer of mean length from its first token on, beside so many requests; and what each of them adds.
    @inline(__always) func decode(requests: Double) -> Double { decode[0] + decode[1] * requests / 10 }
    var decodePerRequest: Double { decode[1] / 10 }

    func firstToken(_ situation: Situation) -> Double {
        let features = situation.features
        var sum = Double(situation.rtt)
        for i in 0..<5 { sum += firstToken[i] * features[i] }
        return sum
    }

    /// No coefficient is longer, in milliseconds; in nanoseconds for a token it still is an integer. NaN is not short.
    static let longest = 1e15

    fileprivate var isTime: Bool {
        for i in 0..<5 where !(0...Self.longest).contains(firstToken[i]) { return false }
        for i in 0..<2 where !(0...Self.longest).contains(decode[i]) { return false }
        return true
    }
}

/// The speed of one server, or of all together, as answers have taught.
struct LearnedSpeed: BitwiseCopyable {
    fileprivate(set) var speed = Speed()
    /// First tokens observed, and after how long the last of them came, their mean.
    fileprivate(set) var observations: UInt64 = 0
    fileprivate(set) var mean = 0.0
    /// Observed less predicted, the mean of the last; and its size.
    fileprivate(set) var bias = 0.0
    fileprivate(set) var error = 0.0
    /// By how much its predictions may be off because few were observed: the standard error of a mean.
    fileprivate(set) var doubt = 0.0

    /// Of the means.
    private static let memory = 200.0
    /// The largest doubt, milliseconds.
    static let mostDoubt = 250.0

    fileprivate mutating func note(observed: Double, predicted: Double) {
        observations += 1
        let share = 1 / min(Double(observations), Self.memory)
        mean += (observed - mean) * share
        bias += (observed - predicted - bias) * share
        error += ((observed - predicted).magnitude - error) * share
        let counted = min(Double(observations), Regression<5>.memory)
        doubt = min(error / (counted + 1).squareRoot(), Self.mostDoubt)
    }
}

/// What a speed is computed from.
struct Evidence: BitwiseCopyable {
    private var firstToken = Regression<5>()
    private var decode = Regression<2>()

    /// How many observations the prior of each coefficient is worth, in the square of its feature: the knobs little, for they
    /// may be anybody's defaults; all servers' speed much to one of them, for most fleets are alike. What tells a server from
    /// others is what work takes there; how that grows with the requests beside it, and what sending takes, is hardly seen apart
    /// from it at one server, whose load varies little: what all have seen is believed, or chance would make favourites.
    struct Trust {
        var firstToken: InlineArray<5, Double>
        var decode: InlineArray<2, Double>

        static var inKnobs: Trust { Trust(firstToken: [5, 4, 50, 5, 25], decode: [5, 5]) }
        static var inFleet: Trust { Trust(firstToken: [10, 20, 20_000, 1_000, 5_000], decode: [200, 2_000]) }
    }

    /// A first token came after `time` where `predicted` was expected.
    mutating func observe(firstToken time: Double, predicted: Double, _ situation: Situation) {
        let rtt = Double(situation.rtt)
        firstToken.observe(situation.features, time - rtt, predicted: predicted - rtt)
    }

    /// An answer of `length` times the mean took `time` from its first token to its last.
    mutating func observe(decode time: Double, predicted: Double, length: Double, requests: Double) {
        decode.observe([length, length * requests / 10], time, predicted: predicted)
    }

    /// Nothing is gained by more work: no coefficient is negative.
    func speed(prior: Speed, _ trust: Trust) -> Speed {
        if isEmpty { return prior }
        var speed = Speed()
        speed.firstToken = firstToken.nonNegativeSolution(prior: prior.firstToken, trust: trust.firstToken)
        speed.decode = decode.nonNegativeSolution(prior: prior.decode, trust: trust.decode)
        // Prefill takes some time, or no backlog would be any.
        speed.firstToken[1] = max(speed.firstToken[1], prior.firstToken[1] / 1_000)
        // Sums too large to be solved teach nothing.
        return speed.isTime ? speed : prior
    }

    fileprivate var isEmpty: Bool { firstToken.weight == 0 && decode.weight == 0 }
}

/// The speed of every server. One that has answered little is believed to be like all others, and these like what the knobs
/// say.
struct Speeds: ~Copyable {
    private let servers: Buffer<LearnedSpeed>
    private let evidence: Buffer<Evidence>
    private(set) var fleet = LearnedSpeed()
    private var fleetEvidence = Evidence()
    private var prior = Speed()
    private var isLearning = true
    /// Tokens of an answer: the mean of the last thousand.
    private var outputTokens = 0.0
    private var answers = 0.0

    init(limit: Int) throws(RouterError) {
        let servers = try Buffer<LearnedSpeed>(count: limit)
        evidence = try Buffer<Evidence>(count: limit)
        self.servers = servers
    }

    func model(_ slot: Slot) -> LearnedSpeed { servers[Int(slot)] }

    /// By slot, for one decision.
    var models: UnsafePointer<LearnedSpeed> { UnsafePointer(servers.base) }

    mutating func forget(_ slot: Slot) {
        servers[Int(slot)] = LearnedSpeed()
        evidence[Int(slot)] = Evidence()
    }

    /// `isLearning` false: speeds stay what they are.
    mutating func set(prior: Speed, isLearning: Bool, slots: Int) {
        self.prior = prior
        self.isLearning = isLearning
        fleet.speed = fleetEvidence.speed(prior: prior, .inKnobs)
        for slot in 0..<slots { servers[slot].speed = evidence[slot].speed(prior: fleet.speed, .inFleet) }
    }

    private func speed(_ slot: Slot) -> Speed {
        servers[Int(slot)].observations > 0 ? servers[Int(slot)].speed : fleet.speed
    }

    /// A request's first token came `time` milliseconds after it was routed.
    mutating func observe(_ slot: Slot, firstToken time: Double, _ situation: Situation) {
        guard isLearning else { return }
        let predicted = speed(slot).firstToken(situation)
        fleet.note(observed: time, predicted: predicted)
        fleetEvidence.observe(firstToken: time, predicted: predicted, situation)
        servers[Int(slot)].note(observed: time, predicted: predicted)
        evidence[Int(slot)].observe(firstToken: time, predicted: predicted, situation)
        solve(slot)
    }

    /// An answer took `time` milliseconds from its first token on, beside so many requests; `tokens`: as many as it had, if
    /// that is known.
    mutating func observe(_ slot: Slot, decode time: Double, tokens: UInt64?, requests: Double) {
        guard isLearning else { return }
        var length = 1.0
        if let tokens {
            answers = min(answers + 1, Regression<2>.memory)
            outputTokens += (Double(tokens) - outputTokens) / answers
            // The first token came before.
            length = max(Double(tokens) - 1, 0) / max(outputTokens - 1, 1)
        }
        let predicted = length * speed(slot).decode(requests: requests)
        fleetEvidence.observe(decode: time, predicted: predicted, length: length, requests: requests)
        evidence[Int(slot)].observe(decode: time, predicted: predicted, length: length, requests: requests)
        solve(slot)
    }

    private mutating func solve(_ slot: Slot) {
        fleet.speed = fleetEvidence.speed(prior: prior, .inKnobs)
        servers[Int(slot)].speed = evidence[Int(slot)].speed(prior: fleet.speed, .inFleet)
    }

    /// For status pages.
    func learned(_ slot: Slot) -> ServerInfo.Learned {
        let (model, speed) = (servers[Int(slot)], speed(slot))
        var learned = ServerInfo.Learned()
        (learned.predictions, learned.mean) = (model.observations, model.mean)
        (learned.bias, learned.error) = (model.bias, model.error)
        learned.overhead = speed.overhead
        learned.prefillPerToken = speed.prefill(requests: 0) / 1_000
        learned.readingPerToken = speed.reading / 1_000
        learned.uploadRoundTrips = speed.roundTripShare
        learned.decode = speed.decode(requests: 0)
        learned.decodePerRequest = speed.decodePerRequest
        return learned
    }
}

// MARK: Snapshot

extension LearnedSpeed {
    /// The speed too, though evidence gives one: this is of when the server was last observed, with all servers' speed of then.
    fileprivate func write(_ out: inout ByteWriter) {
        for i in 0..<5 { out.put(speed.firstToken[i]) }
        for i in 0..<2 { out.put(speed.decode[i]) }
        out.put(observations)
        out.put(mean)
        out.put(bias)
        out.put(error)
        out.put(doubt)
    }

    /// Errors: snapshot.
    fileprivate init(_ input: inout ByteReader) throws(RouterError) {
        self.init()
        for i in 0..<5 { speed.firstToken[i] = try input.getDouble(in: 0...Speed.longest) }
        for i in 0..<2 { speed.decode[i] = try input.getDouble(in: 0...Speed.longest) }
        observations = try input.get(UInt64.self)
        // It must be possible to count on.
        guard observations <= .max / 2 else { throw .snapshot }
        // Nothing observed or predicted comes near, and what is computed with it stays a number.
        let most = 1e100
        mean = try input.getDouble(in: 0...most)
        bias = try input.getDouble(in: -most...most)
        error = try input.getDouble(in: 0...most)
        doubt = try input.getDouble(in: 0...Self.mostDoubt)
    }
}

extension Evidence {
    fileprivate func write(_ out: inout ByteWriter) {
        firstToken.write(&out)
        decode.write(&out)
    }

    /// Errors: snapshot.
    fileprivate init(_ input: inout ByteReader) throws(RouterError) {
        self.init()
        firstToken = try Regression(&input)
        decode = try Regression(&input)
    }
}

extension Speeds {
    /// Of all servers together.
    func writeFleet(_ out: inout ByteWriter) {
        out.put(outputTokens)
        out.put(answers)
        fleet.write(&out)
        fleetEvidence.write(&out)
    }

    /// Errors: snapshot.
    mutating func readFleet(_ input: inout ByteReader) throws(RouterError) {
        outputTokens = try input.getDouble(in: 0...Double(UInt32.max))
        answers = try input.getDouble(in: 0...Regression<2>.memory)
        fleet = try LearnedSpeed(&input)
        fleetEvidence = try Evidence(&input)
    }

    func write(_ slot: Slot, _ out: inout ByteWriter) {
        let isKnown = !evidence[Int(slot)].isEmpty
        out.put(UInt32(isKnown ? 1 : 0))
        guard isKnown else { return }
        servers[Int(slot)].write(&out)
        evidence[Int(slot)].write(&out)
    }

    /// Of a server that has nothing learned yet. Errors: snapshot.
    mutating func read(_ slot: Slot, _ input: inout ByteReader) throws(RouterError) {
        let known = try input.get(UInt32.self)
        guard known <= 1 else { throw .snapshot }
        guard known == 1 else { return }
        servers[Int(slot)] = try LearnedSpeed(&input)
        evidence[Int(slot)] = try Evidence(&input)
    }
}
