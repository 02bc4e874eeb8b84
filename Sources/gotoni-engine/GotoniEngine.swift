import ArgumentParser
import Dispatch
import Foundation
import GotoniEngines
import GotoniSimulation
import NIOCore
import NIOHTTP1
import NIOPosix

/// What its users asked for that cannot be had, with the status of ArgumentParser's errors.
extension Refusal { var validation: ValidationError { ValidationError(description) } }

@main
struct GotoniEngine: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gotoni-engine",
        abstract: "A simulated LLM engine that speaks SGLang's HTTP interface: no GPU, no weights, true timing.",
        discussion: """
            Prompts are prefilled, cached and decoded in real time as the engine
            model says (gotoni simulate --help has the presets and their sources);
            the answers are filler. Without a tokenizer 4 bytes are a token.

              POST  /v1/chat/completions /v1/completions /v1/responses
                    /v1/embeddings /generate
              GET   /health /health_generate /ready /v1/models /metrics
                    /v1/loads /get_load /server_info /get_server_info
                    /model_info /get_model_info, and /flush_cache (or POST)

            For tests, and from this machine only: GET /fault shows and POST /fault
            sets what goes wrong, until the count is used up or the reset.

              {"hang": true}            takes requests, never answers
              {"status": 503, "count": 2, "retry_after": 1, "path": "/health"}
                                        errors (path: default is all that generate)
              {"cut_after_chunks": 3, "count": 1}
                                        closes in the middle of an answer
              {"refuse": true, "count": 5}
                                        closes connections as they are accepted
              {"slow": 4}               takes four times as long
              {"crash": true}           cuts everything, starts with an empty cache
              {"reset": true}           ends all of these, as SIGUSR1 does

            With --kv-events every full block of 16 prompt tokens is published when
            it is cached and when it is evicted, of requests that name the model
            it serves, without adapter and salt. Ids are those of the prompt; of a
            text they are its bytes, four to an id, as the HTTP gateways estimate.

            /fault itself knows no distance. SIGTERM and SIGINT: no new connections,
            and answers under way have 5 seconds to end.
            """,
        version: "0.1.0")

    @Option(help: ArgumentHelp("Address and port; port 0 takes a free one.", valueName: "host:port"))
    var listen = "127.0.0.1:18001"
    @Option(help: "In the first line of output and /server_info.")
    var name = "engine"
    @Option(help: "The model name it serves under.")
    var modelName = "simulated"
    @Option(help: ArgumentHelp("What work costs: \(Self.presets), or a JSON file.", valueName: "engine"))
    var model = "neutral"
    @Option(help: ArgumentHelp("Milliseconds of round trip to this engine.", valueName: "ms"))
    var rttMs = 0.0
    @Option(help: ArgumentHelp("At most this is added to it, by chance.", valueName: "ms"))
    var rttJitterMs = 0.0
    @Option(help: ArgumentHelp("Megabits a second at which bodies come in; without it, at once.", valueName: "mbps"))
    var uploadMbps: Double?
    @Option(help: ArgumentHelp("Times as fast as the model.", valueName: "factor"))
    var speed = 1.0
    @Option(help: ArgumentHelp("Requests at one time (default: the model's).", valueName: "n"))
    var maxRunning: Int?
    @Option(help: ArgumentHelp("Requests that wait; more are answered 503.", valueName: "n"))
    var maxQueued = 4_096
    @Option(help: ArgumentHelp("Tokens of KV cache, and most of a prompt (default: the model's).", valueName: "n"))
    var kvTokens: Int?
    @Option(help: ArgumentHelp("Tokens of an answer whose length the client does not bound.", valueName: "n"))
    var outputTokens = 64
    @Option(help: ArgumentHelp("Of the filler and the jitter.", valueName: "n"))
    var seed: UInt64 = 0
    @Option(help: ArgumentHelp("Clients must send it as bearer token (not for health and metrics).", valueName: "key"))
    var apiKey: String?
    @Option(help: ArgumentHelp("The one for /flush_cache.", valueName: "key"))
    var adminApiKey: String?
    @Option(help: ArgumentHelp("Most of a request's body.", valueName: "MiB"))
    var maxBodyMb = 64
    @Option(help: ArgumentHelp("Connections at one time; more are closed.", valueName: "n"))
    var maxConnections = 4_096
    @Option(help: ArgumentHelp("A fault from the start, as POST /fault takes it.", valueName: "json"))
    var fault: [String] = []
    @Option(
        help: ArgumentHelp(
            "Publish KV events over ZeroMQ at these ports of the address, as SGLang does.",
            valueName: "port[/replay-port]"))
    var kvEvents: String?
    @Flag(help: "Nothing on standard output.")
    var quiet = false
    @Flag(help: "The first line as JSON.")
    var json = false

    private static let presets = EngineModel.presets.map(\.name).joined(separator: ", ")
    private static let grace = TimeAmount.seconds(5)

    func run() throws {
        let settings = try settings()
        var faults = Faults()
        for json in fault {
            do throws(Refusal) {
                let order = try Faults.order(Data(json.utf8))
                guard order.crash == nil else { throw Refusal("an engine cannot begin with a crash") }
                faults.apply(order)
            } catch { throw ValidationError("--fault: \(error)") }
        }
        let address = try address()
        try Self.serve(settings, faults, address) { port in if !quiet { announce(settings, address, port) } }
    }

    /// Until a signal ends it.
    private static func serve(
        _ settings: Settings, _ faults: Faults, _ address: (host: String, port: Int), announce: (Int) -> Void
    ) throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let server: NIOLoopBound<EngineServer>
        do {
            server = try loop.submit { NIOLoopBound(try EngineServer(settings, faults, on: loop), eventLoop: loop) }
                .wait()
        } catch {
            throw ValidationError("--kv-events: \(error)")
        }
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1_024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            // A client that leaves this much unread is dropped.
            .childChannelOption(.writeBufferWaterMark, value: .init(low: 1 << 20, high: 1 << 25))
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard server.value.accepts() else { throw ChannelError.alreadyClosed }
                    var limits = NIOHTTPDecoderLimitConfiguration()
                    limits.maxHeaderListSize = 1 << 16
                    try channel.pipeline.syncOperations.addHandlers([
                        ByteToMessageHandler(HTTPRequestDecoder(limitConfiguration: limits)), Connection(server.value),
                    ])
                }
            }
        let listening: any Channel
        do {
            listening = try bootstrap.bind(host: address.host, port: address.port).wait()
        } catch {
            throw ValidationError("\(address.host):\(address.port) cannot be listened at: \(error)")
        }
        let stopped = loop.makePromise(of: Void.self)
        let signals = signalSources(
            stop: {
                listening.close(promise: nil)
                loop.execute { server.value.stop(grace: grace, stopped) }
            },
            reset: {
                loop.execute {
                    server.value.faults = Faults()
                    server.value.setSlowness()
                }
            })
        announce(listening.localAddress?.port ?? address.port)
        try stopped.futureResult.wait()
        withExtendedLifetime(signals) {}
        try? group.syncShutdownGracefully()
    }

    private static func signalSources(
        stop: @escaping @Sendable () -> Void, reset: @escaping @Sendable () -> Void
    ) -> [any DispatchSourceSignal] {
        [(SIGTERM, stop), (SIGINT, stop), (SIGUSR1, reset)].map { number, action in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler(handler: action)
            source.resume()
            return source
        }
    }

    private func announce(_ settings: Settings, _ address: (host: String, port: Int), _ port: Int) {
        let host = address.host.contains(":") ? "[\(address.host)]" : address.host
        let url = "http://\(host):\(port)"
        let line =
            json
            ? #"{"name":\#(quoted(name)),"url":"\#(url)","port":\#(port),"pid":\#(getpid()),"model":"#
                + #"\#(quoted(settings.model.name)),"model_name":\#(quoted(modelName)),"rtt_ms":\#(rttMs)}"#
            : "gotoni-engine \(name) listening on \(url)"
        // One write, so that nobody reads half a line.
        try? FileHandle.standardOutput.write(contentsOf: Data((line + "\n").utf8))
    }

    // MARK: Options

    private func address() throws -> (host: String, port: Int) {
        guard let colon = listen.lastIndex(of: ":"), let port = UInt16(listen[listen.index(after: colon)...]) else {
            throw ValidationError("--listen \(listen) is not host:port.")
        }
        var host = listen[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard !host.isEmpty else { throw ValidationError("--listen \(listen) has no host; 0.0.0.0 is every address.") }
        return (String(host), Int(port))
    }

    private func settings() throws -> Settings {
        func check<Value: Comparable>(_ option: String, _ value: Value, _ range: ClosedRange<Value>) throws {
            guard range.contains(value) else {
                throw ValidationError("--\(option) must be \(range.lowerBound) to \(range.upperBound).")
            }
        }
        try check("rtt-ms", rttMs, 0...60_000)
        try check("rtt-jitter-ms", rttJitterMs, 0...60_000)
        if let uploadMbps { try check("upload-mbps", uploadMbps, 0.001...1_000_000) }
        try check("speed", speed, 0.001...1_000)
        try check("max-queued", maxQueued, 1...65_536)
        try check("output-tokens", outputTokens, 1...1_000_000)
        try check("max-body-mb", maxBodyMb, 1...1_024)
        try check("max-connections", maxConnections, 1...1_000_000)
        for (option, key) in [("api-key", apiKey), ("admin-api-key", adminApiKey)] where key?.isEmpty == true {
            throw ValidationError("--\(option) is empty.")
        }
        return Settings(
            name: name, modelName: modelName, model: try engineModel(), speed: speed, maxQueued: maxQueued,
            outputTokens: outputTokens, seed: seed, apiKey: apiKey, adminAPIKey: adminApiKey,
            maxBodyBytes: maxBodyMb << 20, maxConnections: maxConnections, roundTrip: UInt64(rttMs * 1e6),
            jitter: UInt64(rttJitterMs * 1e6), uploadRate: uploadMbps, host: try address().host,
            kvEvents: try eventPorts())
    }

    private func eventPorts() throws -> KVEventPorts? {
        guard let kvEvents else { return nil }
        guard let ports = KVEventPorts(kvEvents) else {
            throw ValidationError("--kv-events \(kvEvents) is not port[/replay-port].")
        }
        return ports
    }

    private func engineModel() throws -> EngineModel {
        var chosen: EngineModel
        if let preset = EngineModel.presets.first(where: { $0.name == model }) {
            chosen = preset.model
        } else {
            guard let data = FileManager.default.contents(atPath: model) else {
                throw ValidationError("--model \(model) is neither a preset (\(Self.presets)) nor a file.")
            }
            let keys = EngineModel.CodingKeys.allCases.map(\.rawValue)
            do throws(Refusal) {
                chosen = try JSONObject.read(data, what: "an engine", known: keys, required: keys)
            } catch { throw ValidationError("\(model): \(error)") }
        }
        if let maxRunning { chosen.maxRunning = maxRunning }
        if let kvTokens { chosen.kvTokens = kvTokens }
        do { try chosen.check() } catch { throw ValidationError("\(error)") }
        return chosen
    }
}
