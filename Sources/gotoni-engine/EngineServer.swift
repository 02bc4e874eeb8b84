import FoundationEssentials
import GotoniCore
import GotoniEngines
import GotoniSimulation
import NIOCore
import NIOHTTP1
import NIOPosix
import ZeroMQ

/// What an engine is started with; all of it checked.
struct Settings: Sendable {
    var name: String
    /// In /v1/models and the metrics.
    var modelName: String
    var model: EngineModel
    /// How many times as fast as the model.
    var speed: Double
    var maxQueued: Int
    /// Of an answer whose length the client does not bound.
    var outputTokens: Int
    var seed: UInt64
    var apiKey: String?
    var adminAPIKey: String?
    var maxBodyBytes: Int
    var maxConnections: Int
    var roundTrip: UInt64
    var jitter: UInt64
    /// Megabits a second.
    var uploadRate: Double?
    var host: String
    /// Where KV events are published; nil: nowhere.
    var kvEvents: KVEventPorts?

    /// Of the requests whose blocks are published: those that name this model, without an adapter or a salt.
    var namespace: UInt64 {
        var name = modelName
        return name.withUTF8 { Key.namespace(model: $0.span.bytes, adapter: RawSpan(), salt: RawSpan()) }
    }
}

/// The engine over HTTP: takes requests, brings them to the engine model and its tokens back, both after the time that
/// the distance takes.
///
/// Everything runs on one event loop, and time is that of the monotonic clock. What happens later is in the agenda, and
/// one timer is set for the earliest of it and of the engine's own times.
final class EngineServer {
    enum Action {
        /// The request is at the engine; the engine has read it; the client's end of the connection is noticed.
        case arrive(Exchange)
        case submit(Exchange)
        case leave(Exchange)
        case write(Connection, ByteBuffer, Ending)
    }

    let settings: Settings
    private let loop: any EventLoop
    private var agenda = Agenda<Action>()
    private var timer: (due: UInt64, task: Scheduled<Void>)?
    private var distance: Distance
    private var connections: [ObjectIdentifier: Connection] = [:]
    private let reader = BodyReader()
    private var nextJob = 1
    private var jobs: [Int: (exchange: Exchange, choices: Range<Int>)] = [:]
    private var events: [(UInt64, EngineDriver.Event)] = []
    /// In the midst of passing on; of what is due.
    private var isTelling = false
    private var isTicking = false
    private var stopped: EventLoopPromise<Void>?
    let publisher: KVEventPublisher?
    private let publicNamespace: UInt64
    var driver: EngineDriver
    var metrics = SGLangMetrics()
    var faults = Faults()
    /// Seconds since 1970; a crash begins anew.
    var started = Date().timeIntervalSince1970

    var isStopping: Bool { stopped != nil }
    var now: UInt64 { NIODeadline.now().uptimeNanoseconds }

    /// On `loop`. Throws what is wrong with where KV events are to be published.
    init(_ settings: Settings, _ faults: Faults, on loop: any EventLoop) throws(ZMQError) {
        self.settings = settings
        self.loop = loop
        publisher = try settings.kvEvents.map { (ports) throws(ZMQError) in
            try KVEventPublisher(host: settings.host, ports)
        }
        publicNamespace = settings.namespace
        driver = EngineDriver(settings.model, publishes: settings.kvEvents != nil)
        distance = Distance(seed: settings.seed)
        distance.roundTrip = settings.roundTrip
        distance.jitter = settings.jitter
        distance.uploadRate = settings.uploadRate
        self.faults = faults
        setSlowness()
    }

    // MARK: Connections

    /// Whether another connection is taken.
    func accepts() -> Bool { connections.count < settings.maxConnections && !isStopping && !faults.refusesNow() }

    func opened(_ connection: Connection) { connections[ObjectIdentifier(connection)] = connection }

    func closed(_ connection: Connection) {
        connections.removeValue(forKey: ObjectIdentifier(connection))
        if let exchange = connection.exchange, !exchange.isOver { plan(.leave(exchange), at: now + distance.leg()) }
        if isStopping, connections.isEmpty { stopped?.succeed() }
    }

    /// Takes a request. Returns nil if it is answered already.
    func receive(_ request: Request, _ connection: Connection) -> Exchange? {
        if request.path == "/fault" {
            connection.write(faultReply(request, connection).bytes(keepAlive: true), .done(keepAlive: true))
            return nil
        }
        let exchange = Exchange(connection, request)
        let way = distance.wayIn(bodyBytes: request.body.readableBytes, isFirstOfConnection: request.isFirst)
        // Not at once even if there is no distance: the connection does not know its exchange yet.
        plan(.arrive(exchange), at: now + way)
        return exchange
    }

    /// Ends within `grace`: no new connections, and those that wait for nothing are closed.
    func stop(grace: TimeAmount, _ promise: EventLoopPromise<Void>) {
        guard stopped == nil else { return promise.succeed() }
        stopped = promise
        if connections.isEmpty { return promise.succeed() }
        for connection in connections.values where connection.exchange == nil { connection.close() }
        loop.assumeIsolated().scheduleTask(in: grace) { promise.succeed() }
    }

    // MARK: Time

    private func plan(_ action: Action, at due: UInt64) {
        agenda.add(action, at: due)
        if !isTicking { setTimer() }
    }

    private func setTimer() {
        let next = min(agenda.next ?? .max, driver.nextWake ?? .max)
        guard next < .max else { return }
        if let timer {
            guard next < timer.due else { return }
            timer.task.cancel()
        }
        let task = loop.assumeIsolated().scheduleTask(deadline: .uptimeNanoseconds(next)) { self.tick() }
        timer = (next, task)
    }

    private func tick() {
        timer = nil
        isTicking = true
        let now = now
        while let (action, due) = agenda.pop(now) { perform(action, at: due) }
        driver.advance(to: now, &events)
        tellEvents()
        isTicking = false
        setTimer()
    }

    private func perform(_ action: Action, at time: UInt64) {
        switch action {
        case .arrive(let exchange):
            guard !exchange.isOver else { return }
            exchange.arrived = time
            handle(exchange)
        case .submit(let exchange):
            guard !exchange.isOver else { return }
            submit(exchange, at: time)
        case .leave(let exchange):
            end(exchange, at: time)
        case .write(let connection, let bytes, let ending):
            connection.writesUnderWay -= 1
            connection.write(bytes, ending)
        }
    }

    // MARK: Requests that generate

    func generate(_ exchange: Exchange, _ endpoint: Endpoint) {
        let question: Question
        do throws(Refusal) {
            question = try Question(exchange.request.body, endpoint, reader)
        } catch {
            return reply(exchange, .error(.badRequest, error.description))
        }
        let room = settings.model.kvTokens - question.facts.promptTokens
        guard room >= 1 else {
            return reply(
                exchange,
                .error(
                    .badRequest,
                    "The input (\(question.facts.promptTokens) tokens) is longer than the model's context length "
                        + "(\(settings.model.kvTokens) tokens)."))
        }
        exchange.request.body = ByteBuffer()
        exchange.outputTokens = min(outputTokens(question), room)
        var prompts = (0..<question.samples).map { _ in
            driver.name(
                reader.tokens, namespace: question.facts.namespace,
                isPublic: question.facts.namespace == publicNamespace && question.prompts == 1)
        }
        keepAnswer(&prompts, question, exchange.outputTokens)
        exchange.jobs = prompts.map { prompt in
            defer { nextJob += 1 }
            return (nextJob, prompt)
        }
        let choices = (0..<question.samples * question.prompts).map { index in
            let seed = prompts[0].digest ^ settings.seed &+ UInt64(index)
            return Answer.Choice(filler: Filler(seed: seed), tokens: exchange.outputTokens)
        }
        exchange.answer = Answer(
            question, number: exchange.jobs[0].id, created: Int(Date().timeIntervalSince1970),
            model: question.model ?? settings.modelName, choices: choices, isChunked: exchange.request.isChunkable)
        exchange.chunksUntilCut = faults.cutNow()
        let reading = settings.model.request * 1e6 / settings.speed
        plan(.submit(exchange), at: exchange.arrived + UInt64(reading))
    }

    private func outputTokens(_ question: Question) -> Int {
        if question.endpoint == .embeddings { return 1 }
        let wanted = question.tool?.pieces.count ?? question.facts.maxOutputTokens ?? settings.outputTokens
        return max(min(wanted, question.facts.maxOutputTokens ?? wanted), 1)
    }

    /// The next turn of a conversation has the answer in its prompt: the engine keeps it.
    private func keepAnswer(_ prompts: inout [Blocks.Prompt], _ question: Question, _ outputTokens: Int) {
        guard question.tool == nil, question.prompts == 1, !question.facts.isExact else { return }
        let filler = Filler(seed: prompts[0].digest ^ settings.seed)
        let tail = reader.tokens.suffix(prompts[0].tail)
        guard
            let tokens = Continuation.tokens(
                behind: Array(tail), endpoint: question.endpoint, answer: filler.text(outputTokens), reader)
        else { return }
        tokens.withUnsafeBufferPointer {
            driver.keepAnswer(of: &prompts[0], continuation: $0, generated: outputTokens)
        }
    }

    private func submit(_ exchange: Exchange, at time: UInt64) {
        guard let answer = exchange.answer else { return }
        driver.advance(to: time, &events)
        let isFull = driver.load.waiting + exchange.jobs.count > settings.maxQueued
        for (index, job) in exchange.jobs.enumerated() {
            guard let prompt = job.prompt else { continue }
            exchange.jobs[index].prompt = nil
            if isFull {
                driver.drop(prompt)
                continue
            }
            let count = answer.question.prompts
            jobs[job.id] = (exchange, index * count..<(index + 1) * count)
            driver.submit(
                job.id, prompt, outputTokens: exchange.outputTokens, streams: answer.question.facts.streams, now: time,
                &events)
        }
        if isFull {
            exchange.jobs = []
            metrics.abortedRequests += 1
            reply(exchange, .error(.serviceUnavailable, "The request queue is full."))
        }
        tellEvents()
    }

    /// Nobody waits for the answer any more.
    private func end(_ exchange: Exchange, at time: UInt64) {
        exchange.isOver = true
        guard !exchange.jobs.isEmpty else { return }
        metrics.abortedRequests += 1
        for (id, prompt) in exchange.jobs {
            if let prompt { driver.drop(prompt) }
            if jobs.removeValue(forKey: id) != nil { driver.cancel(id, now: time, &events) }
        }
        exchange.jobs = []
        tellEvents()
    }

    // MARK: Answers

    /// Passes on what the engine has said. What it says meanwhile comes after that.
    private func tellEvents() {
        publishChanges()
        guard !isTelling else { return }
        isTelling = true
        defer { isTelling = false }
        while !events.isEmpty {
            let now = events
            events = []
            for (time, event) in now {
                switch event {
                case .token(let job, let number, let cachedTokens): told(job, number, cachedTokens, at: time)
                case .finished(let job): finished(job, at: time)
                }
            }
        }
    }

    /// Before the tokens that they made possible.
    private func publishChanges() {
        let changes = driver.takeKVChanges()
        guard let publisher, !changes.isEmpty else { return }
        let batch = KVEventBatch(changes, blockTokens: Blocks.blockTokens, time: Date().timeIntervalSince1970)
        publisher.publish(batch.bytes)
    }

    private func told(_ job: Int, _ number: Int, _ cachedTokens: Int, at time: UInt64) {
        guard let (exchange, choices) = jobs[job], let answer = exchange.answer else { return }
        if number == 1 {
            exchange.answer?.cachedTokens = cachedTokens
            metrics.prefilled(answer.promptTokens, cached: cachedTokens)
            metrics.timeToFirstToken.observe(seconds(exchange, time))
        }
        if answer.question.endpoint != .embeddings { metrics.generated(choices.count, now: time) }
        // The last token goes with the end.
        guard answer.question.facts.streams, number < exchange.outputTokens else { return }
        exchange.answer?.latency = seconds(exchange, time)
        for index in choices { exchange.answer?.sendToken(index) }
        sendEvents(exchange, at: time)
    }

    private func finished(_ job: Int, at time: UInt64) {
        guard let (exchange, choices) = jobs.removeValue(forKey: job) else { return }
        exchange.jobs.removeAll { $0.id == job }
        exchange.answer?.latency = seconds(exchange, time)
        let streams =
            exchange.answer?.question.facts.streams == true && exchange.answer?.question.endpoint != .embeddings
        for index in choices {
            if streams {
                exchange.answer?.sendToken(index)
                exchange.answer?.endChoice(index)
            } else {
                exchange.answer?.completeChoice()
            }
        }
        guard let answer = exchange.answer else { return }
        if !streams, answer.question.endpoint != .embeddings {
            metrics.generated((exchange.outputTokens - 1) * choices.count, now: time)
        }
        if answer.isComplete {
            metrics.requests += 1
            metrics.endToEnd.observe(seconds(exchange, time))
        }
        if streams {
            sendEvents(exchange, at: time)
        } else if answer.isComplete {
            reply(exchange, .json(answer.whole), at: time)
        }
    }

    private func seconds(_ exchange: Exchange, _ time: UInt64) -> Double {
        Double(time > exchange.arrived ? time - exchange.arrived : 0) / 1e9
    }

    /// Sends the events that the answer has ready.
    private func sendEvents(_ exchange: Exchange, at time: UInt64) {
        guard var bytes = exchange.answer?.stream.take() else { return }
        let isComplete = exchange.answer?.isComplete == true
        if let left = exchange.chunksUntilCut {
            exchange.chunksUntilCut = left - 1
            // The end is never sent, should the answer have fewer chunks.
            guard left > 0, !isComplete else { return cut(exchange, ByteBuffer(), at: time) }
        }
        if !exchange.hasBegun {
            exchange.hasBegun = true
            var head = ByteBuffer(
                string: Reply.head(
                    .ok, Answer.contentType, length: nil, isChunked: exchange.request.isChunkable,
                    keepAlive: exchange.keepAlive))
            head.writeBuffer(&bytes)
            bytes = head
        }
        if exchange.chunksUntilCut == 0 { return cut(exchange, bytes, at: time) }
        send(exchange, bytes, isComplete ? .done(keepAlive: exchange.keepAlive) : .more, at: time)
    }

    private func cut(_ exchange: Exchange, _ bytes: ByteBuffer, at time: UInt64) {
        send(exchange, bytes, .cut, at: time)
        end(exchange, at: time)
    }

    /// An answer as a whole; at once, if no time is given.
    func reply(_ exchange: Exchange, _ reply: Reply, at time: UInt64? = nil) {
        let time = time ?? exchange.arrived
        let bytes = reply.bytes(keepAlive: exchange.keepAlive, withBody: exchange.request.head.method != .HEAD)
        if let chunks = exchange.chunksUntilCut, reply.status == .ok {
            let part = chunks == 0 ? nil : bytes.getSlice(at: bytes.readerIndex, length: bytes.readableBytes - 8)
            return cut(exchange, part ?? ByteBuffer(), at: time)
        }
        send(exchange, bytes, .done(keepAlive: exchange.keepAlive), at: time)
    }

    /// Writes when the distance lets it, in order.
    private func send(_ exchange: Exchange, _ bytes: ByteBuffer, _ ending: Ending, at time: UInt64) {
        let connection = exchange.connection
        guard !exchange.isOver else { return }
        let due = max(time + distance.leg(), connection.lastDue)
        connection.lastDue = due
        if connection.writesUnderWay == 0, due <= now {
            connection.write(bytes, ending)
        } else {
            connection.writesUnderWay += 1
            plan(.write(connection, bytes, ending), at: due)
        }
    }

    // MARK: Faults

    func setSlowness() {
        driver.slow(faults.slowness / settings.speed, now: now, &events)
        tellEvents()
    }

    /// The process ends and starts again: everything is cut and forgotten, but for the faults and who asked for it.
    func crash(askedBy asking: Connection) {
        for (exchange, _) in jobs.values { exchange.isOver = true }
        jobs = [:]
        for connection in connections.values where connection !== asking {
            if let exchange = connection.exchange {
                exchange.isOver = true
                for case (_, let prompt?) in exchange.jobs { driver.drop(prompt) }
                exchange.jobs = []
            }
            connection.close()
        }
        driver.restart()
        _ = driver.takeKVChanges()
        publisher?.restart()
        setSlowness()
        metrics = SGLangMetrics()
        started = Date().timeIntervalSince1970
        setTimer()
    }
}
