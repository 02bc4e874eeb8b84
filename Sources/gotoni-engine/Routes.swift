import FoundationEssentials
import GotoniEngines
import GotoniSimulation
import NIOCore
import NIOHTTP1

// What is answered on which path.

extension EngineServer {
    private enum Route {
        case generate(Endpoint)
        case reply(methods: [HTTPMethod], (EngineServer) -> Reply)
    }

    /// SGLang's paths (0.5.23), and those of before that routers still ask for.
    private static func route(_ path: Substring) -> Route? {
        if let endpoint = Endpoint(path: path) { return .generate(endpoint) }
        func get(_ reply: @escaping (EngineServer) -> Reply) -> Route { .reply(methods: [.GET], reply) }
        switch path {
        case "/health", "/health_generate", "/ready":
            return get { _ in Reply(status: .ok, contentType: "text/plain; charset=utf-8", body: "") }
        case "/v1/models": return get { .json($0.models) }
        case "/metrics":
            return get { server in
                let text = server.metrics.text(
                    server.driver, model: server.settings.modelName, started: server.started, now: server.now)
                return Reply(status: .ok, contentType: "text/plain; version=0.0.4; charset=utf-8", body: text)
            }
        case "/v1/loads": return get { .json($0.loads) }
        case "/get_load": return get { .json($0.oldLoad) }
        case "/server_info", "/get_server_info": return get { .json($0.serverInfo) }
        case "/model_info", "/get_model_info": return get { .json($0.modelInfo) }
        case "/flush_cache": return .reply(methods: [.GET, .POST]) { $0.flushCache() }
        default: return nil
        }
    }

    func handle(_ exchange: Exchange) {
        let (head, path) = (exchange.request.head, exchange.request.path)
        // A process that hangs answers nothing, whatever is asked.
        guard !faults.hangs else { return }
        let route = Self.route(path)
        guard isAllowed(head, path) else { return reply(exchange, .error(.unauthorized, "Unauthorized")) }
        var generates = false
        if case .generate? = route { generates = true }
        if let fault = faults.statusNow(path: String(path), generates: generates) {
            var error = Reply.error(HTTPResponseStatus(statusCode: fault.code), "This error was asked for at /fault.")
            if let seconds = fault.retryAfter { error.headers = [("retry-after", "\(seconds)")] }
            return reply(exchange, error)
        }
        switch route {
        case .generate(let endpoint) where head.method == .POST: generate(exchange, endpoint)
        case .reply(let methods, let make) where methods.contains(head.method): reply(exchange, make(self))
        case .generate: reply(exchange, Self.wrongMethod([.POST]))
        case .reply(let methods, _): reply(exchange, Self.wrongMethod(methods))
        case nil: reply(exchange, .error(.notFound, "There is nothing at \(path)."))
        }
    }

    private static func wrongMethod(_ allowed: [HTTPMethod]) -> Reply {
        let names = allowed.map(\.rawValue).joined(separator: ", ")
        var error = Reply.error(.methodNotAllowed, "Here only \(names) is understood.")
        error.headers = [("allow", names)]
        return error
    }

    /// As SGLang has it: health and metrics are open; what administers needs the admin's key if there is one.
    private func isAllowed(_ head: HTTPRequestHead, _ path: Substring) -> Bool {
        if path.hasPrefix("/health") || path == "/ready" || path == "/metrics" { return true }
        let key = path == "/flush_cache" ? settings.adminAPIKey ?? settings.apiKey : settings.apiKey
        guard let key else { return true }
        return head.headers.first(name: "authorization") == "Bearer \(key)"
    }

    // MARK: What the engine says of itself

    private var models: String {
        let name = quoted(settings.modelName)
        return #"{"object":"list","data":[{"id":\#(name),"object":"model","created":\#(Int(started)),"#
            + #""owned_by":"sglang","root":\#(name),"parent":null,"max_model_len":\#(settings.model.kvTokens)}]}"#
    }

    private var loads: String {
        let (load, model, work) = (driver.load, settings.model, driver.engine.work)
        let usage = Double(load.usedTokens) / Double(load.kvTokens)
        let waitingTokens = driver.waitingUncachedTokens
        return #"{"timestamp":"\#(Date().ISO8601Format())","version":"\#(Self.version)","accelerator":"simulated","#
            + #""num_accelerators":1,"loads":[{"dp_rank":0,"num_running_reqs":\#(load.running),"#
            + #""num_waiting_reqs":\#(load.waiting),"num_waiting_uncached_tokens":\#(waitingTokens),"#
            + #""num_used_tokens":\#(load.usedTokens),"num_total_tokens":\#(load.usedTokens + waitingTokens),"#
            + #""max_total_num_tokens":\#(load.kvTokens),"max_running_requests":\#(model.maxRunning),"#
            + #""token_usage":\#(usage),"gen_throughput":\#(metrics.generationRate(now)),"#
            + #""cache_hit_rate":\#(metrics.cacheHitRate),"#
            + #""utilization":\#(Double(load.running) / Double(model.maxRunning)),"#
            + #""total_prefill_uncached_tokens":\#(work.prefilledTokens),"#
            + #""total_prefill_busy_us":\#(driver.prefillBusy / 1_000)}],"#
            + #""aggregate":{"total_running_reqs":\#(load.running),"total_waiting_reqs":\#(load.waiting),"#
            + #""total_reqs":\#(load.running + load.waiting)}}"#
    }

    private var oldLoad: String {
        let load = driver.load
        return #"[{"dp_rank":0,"num_reqs":\#(load.running + load.waiting),"num_waiting_reqs":\#(load.waiting),"#
            + #""num_tokens":\#(load.usedTokens + driver.waitingUncachedTokens)}]"#
    }

    /// The SGLang whose answers these are.
    private static let version = "0.5.23"

    private var serverInfo: String {
        let (name, model) = (quoted(settings.modelName), settings.model)
        return
            #"{"model_path":\#(name),"served_model_name":\#(name),"tokenizer_path":\#(name),"tp_size":1,"dp_size":1,"#
            + #""pp_size":1,"page_size":\#(model.pageTokens),"max_running_requests":\#(model.maxRunning),"#
            + #""max_queued_requests":\#(settings.maxQueued),"chunked_prefill_size":\#(model.chunkTokens),"#
            + #""max_total_num_tokens":\#(model.kvTokens),"max_req_input_len":\#(model.kvTokens - 1),"#
            + #""context_length":\#(model.kvTokens),"schedule_policy":"fcfs","disaggregation_mode":"null","#
            + #""load_balance_method":"round_robin","disable_radix_cache":false,"enable_metrics":true,"#
            + #""enable_cache_report":true,"status":"ready","kv_events":\#(kvEvents),"#
            + #""internal_states":[{"effective_max_running_requests_per_dp":\#(model.maxRunning),"#
            + #""last_gen_throughput":\#(metrics.generationRate(now))}],"version":"\#(Self.version)","#
            + #""simulator":{"name":\#(quoted(settings.name)),"model":\#(quoted(model.name)),"#
            + #""speed":\#(settings.speed),"blocks_named":\#(driver.blocksNamed),"#
            + #""kv_event_batches":\#(publisher?.number ?? 0)}}"#
    }

    private var kvEvents: String {
        guard let ports = settings.kvEvents else { return "null" }
        let replay = ports.replay.map { #","replay_endpoint_port_base":\#($0)"# } ?? ""
        return #"{"publisher":"zmq","endpoint_host":\#(quoted(settings.host)),"endpoint_port_base":\#(ports.events),"#
            + #""topic":"kv","block_size":\#(Blocks.blockTokens),"dp_size":1\#(replay)}"#
    }

    private var modelInfo: String {
        let name = quoted(settings.modelName)
        return #"{"model_path":\#(name),"tokenizer_path":\#(name),"served_model_name":\#(name),"is_generation":true,"#
            + #""preferred_sampling_params":null,"weight_version":"default","has_image_understanding":false,"#
            + #""has_audio_understanding":false,"model_type":"simulated","architectures":["SimulatedForCausalLM"]}"#
    }

    private func flushCache() -> Reply {
        let load = driver.load
        guard load.running == 0, load.waiting == 0 else {
            return Reply(
                status: .badRequest, contentType: "text/plain; charset=utf-8",
                body:
                    "Flush cache failed: there are running or waiting requests, the operation will not be performed.\n")
        }
        driver.restart()
        setSlowness()
        return Reply(status: .ok, contentType: "text/plain; charset=utf-8", body: "Cache flushed.\n")
    }

    // MARK: Faults

    /// For tests only, hence only from this machine, and without the distance.
    func faultReply(_ request: Request, _ connection: Connection) -> Reply {
        guard connection.isLoopback else { return .error(.forbidden, "Faults are switched from this machine only.") }
        switch request.head.method {
        case .GET: return .json(faults.text)
        case .POST:
            do throws(Refusal) {
                let order = try Faults.order(Data(request.body.readableBytesView))
                faults.apply(order)
                setSlowness()
                if order.crash == true { crash(askedBy: connection) }
                return .json(faults.text)
            } catch {
                return .error(.badRequest, error.description)
            }
        default: return Self.wrongMethod([.GET, .POST])
        }
    }
}
