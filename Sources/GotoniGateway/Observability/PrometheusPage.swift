import GotoniCore
import GotoniEngines
import GotoniTokenizer
import NIOConcurrencyHelpers
import Synchronization

/// /metrics in Prometheus' text format 0.0.4. Unknown figures are left out.
struct PrometheusPage {
    private(set) var text = ""

    init(_ gateway: Gateway) {
        let dispatcher = gateway.dispatcher
        let counters = dispatcher.counters
        let now = Clock.now()
        add("gotoni_info", "gauge", "Version and policy.")
        let policy = (try? dispatcher.router.withRouter { (router) throws(RouterError) in router.policy.name }) ?? ""
        sample("gotoni_info", [("version", gateway.configuration.version), ("policy", "\(policy)")], 1)
        one("gotoni_uptime_seconds", "gauge", "Since the start.", now.since(gateway.startTime).milliseconds / 1000)
        add("gotoni_requests_total", "counter", "Requests by how they ended.")
        for (end, value) in [
            ("forwarded", counters.forwarded.load(ordering: .relaxed)),
            ("rejected", counters.rejected.load(ordering: .relaxed)),
            ("failed", counters.failed.load(ordering: .relaxed)),
            ("cancelled", counters.cancelled.load(ordering: .relaxed)),
        ] { sample("gotoni_requests_total", [("end", end)], Double(value)) }
        one("gotoni_requests_handled_total", "counter", "Requests read.", counters.handled.load(ordering: .relaxed))
        one(
            "gotoni_requests_queued_total", "counter", "Requests that waited.", counters.queued.load(ordering: .relaxed)
        )
        one("gotoni_retries_total", "counter", "Attempts on another server.", counters.retried.load(ordering: .relaxed))
        one(
            "gotoni_stale_retries_total", "counter", "Sent again because an idle connection was closed.",
            counters.staleRetries.load(ordering: .relaxed))
        one("gotoni_ejections_total", "counter", "Servers taken out.", counters.ejections.load(ordering: .relaxed))
        one("gotoni_requests_under_way", "gauge", "Requests not ended.", counters.underWay.load(ordering: .relaxed))
        one("gotoni_queue_length", "gauge", "Requests waiting for a server.", dispatcher.queueLength)
        one(
            "gotoni_client_connections", "gauge", "Open connections of clients.",
            counters.connections.load(ordering: .relaxed))
        one(
            "gotoni_request_bytes_total", "counter", "Bytes of request bodies.",
            counters.bytesIn.load(ordering: .relaxed))
        one("gotoni_response_bytes_total", "counter", "Bytes of answers.", counters.bytesOut.load(ordering: .relaxed))
        histogram("gotoni_ttft_seconds", "Time to the first byte of an answer, queueing included.", counters.ttft)
        router(dispatcher)
        tokens(dispatcher.tokens)
        if let mesh = dispatcher.mesh { node(mesh, counters) }
        if let sharing = dispatcher.sharing { self.sharing(sharing.figures) }
        servers(dispatcher, now: now)
    }

    private mutating func tokens(_ tokens: PromptTokenizer) {
        let statistics = tokens.statistics
        add("gotoni_prompts_tokenized_total", "counter", "Prompts by who said what their tokens are.")
        for (origin, count) in statistics.prompts {
            sample("gotoni_prompts_tokenized_total", [("from", origin.rawValue)], Double(count))
        }
        let meter = statistics.parity
        one("gotoni_parity_prompts_total", "counter", "Exact prompts that the engine counted too.", meter.prompts)
        one("gotoni_parity_equal_total", "counter", "Of these with as many tokens there.", meter.equal)
        one(
            "gotoni_parity_predictions_total", "counter", "Exact prompts expected to be cached in part.",
            meter.predictions)
        one(
            "gotoni_parity_within_block_total", "counter", "Of these cached as expected, to a block.", meter.withinBlock
        )
        one(
            "gotoni_parity_drifting", "gauge", "1: the last of these differ too often.",
            meter.countsDrift || meter.findsDrift ? 1 : 0)
        guard let cache = tokens.model?.cacheStatistics else { return }
        one("gotoni_tokenizer_cache_bytes", "gauge", "Messages lately tokenized, with their tokens.", cache.bytes)
        one("gotoni_tokenizer_cache_hits_total", "counter", "Messages found there.", cache.hits)
        one("gotoni_tokenizer_cache_misses_total", "counter", "Messages not found there.", cache.misses)
    }

    private mutating func node(_ mesh: Mesh, _ counters: Counters) {
        one("gotoni_node_forwards_total", "counter", "Attempts at peers.", counters.toPeers.load(ordering: .relaxed))
        one(
            "gotoni_node_queued_forwards_total", "counter", "Of these after a wait here.",
            counters.queuedToPeers.load(ordering: .relaxed))
        one(
            "gotoni_node_received_forwards_total", "counter", "Requests that peers have forwarded.",
            counters.fromPeers.load(ordering: .relaxed))
        one(
            "gotoni_mesh_told_bytes_total", "counter", "Reports and news to peers, without HTTP around them.",
            mesh.bytesTold.load(ordering: .relaxed))
        one(
            "gotoni_mesh_heard_bytes_total", "counter", "Reports and news from peers.",
            mesh.bytesHeard.load(ordering: .relaxed))
    }

    private mutating func sharing(_ figures: SharingFigures) {
        one("gotoni_sharing_connected", "gauge", "1: NATS is there.", figures.isConnected ? 1 : 0)
        one("gotoni_sharing_siblings", "gauge", "Other proxies heard lately.", figures.siblings)
        for (name, help, told, heard) in [
            ("messages", "Messages", figures.messagesTold, figures.messagesHeard),
            ("bytes", "Their bytes, without NATS around them,", figures.bytesTold, figures.bytesHeard),
            ("prompts", "Prompts", figures.promptsTold, figures.promptsHeard),
        ] {
            one("gotoni_sharing_told_\(name)_total", "counter", "\(help) to other proxies.", told)
            one("gotoni_sharing_heard_\(name)_total", "counter", "\(help) from other proxies.", heard)
        }
        one(
            "gotoni_sharing_lost_prompts_total", "counter", "Prompts that came too fast to be told.",
            figures.promptsLost)
        one(
            "gotoni_sharing_gaps_total", "counter", "Messages that did not follow what was heard before.",
            figures.gaps)
        one("gotoni_sharing_dropped_total", "counter", "Messages that came too fast to be heard.", figures.dropped)
        one("gotoni_sharing_behind", "gauge", "Messages that wait to be applied.", figures.behind)
    }

    private mutating func router(_ dispatcher: Dispatcher) {
        guard
            let (statistics, status) = try? dispatcher.router.withRouter({ (router) throws(RouterError) in
                (router.statistics(), router.tunerStatus())
            })
        else { return }
        one("gotoni_open_tickets", "gauge", "Reservations not finished.", statistics.openTickets)
        one("gotoni_routed_total", "counter", "Decisions.", statistics.routed)
        one("gotoni_refused_total", "counter", "Decisions that found no server.", statistics.refused)
        one(
            "gotoni_expired_tickets_total", "counter", "Tickets ended for silence: a leak if it grows.",
            statistics.expired)
        one("gotoni_prompt_tokens_total", "counter", "Prompt tokens routed.", statistics.promptTokens)
        one("gotoni_matched_tokens_total", "counter", "Of these believed cached.", statistics.matchedTokens)
        one("gotoni_trie_bytes", "gauge", "Memory of the prefix trie.", statistics.bytes)
        one("gotoni_trie_budget_bytes", "gauge", "Its bound.", statistics.budgetBytes)
        tuner(status)
    }

    private mutating func tuner(_ tuner: TunerStatus) {
        add("gotoni_tuner_phase", "gauge", "What the tuner does: 1 for one of them.")
        for phase in TunerPhase.allCases {
            sample("gotoni_tuner_phase", [("phase", "\(phase.name)")], phase == tuner.phase ? 1 : 0)
        }
        guard tuner.phase != .off else { return }
        one("gotoni_tuner_goodput", "gauge", "Mean score of the last thousand requests.", tuner.goodput)
        one("gotoni_tuner_spent_requests", "gauge", "What trials have cost, in good requests.", tuner.spent)
        add("gotoni_tuner_tests_total", "counter", "Candidates by what became of them; incumbents that went home.")
        for (end, count) in [
            ("accepted", tuner.counts.accepted), ("rejected", tuner.counts.rejected),
            ("undecided", tuner.counts.undecided), ("rolled_back", tuner.counts.rolledBack),
            ("went_home", tuner.counts.wentHome),
        ] { sample("gotoni_tuner_tests_total", [("end", end)], Double(count)) }
        add("gotoni_tuner_weight", "gauge", "A weight as it was set, as the incumbent has it, and on trial.")
        for index in 0..<tuner.weightCount {
            let weight = tuner.weights[index]
            for (kind, value) in [("home", weight.home), ("incumbent", weight.incumbent), ("trial", weight.trial)] {
                sample("gotoni_tuner_weight", [("knob", "\(weight.knob.info.name)"), ("as", kind)], value)
            }
        }
    }

    private mutating func servers(_ dispatcher: Dispatcher, now: Nanoseconds) {
        let rows = dispatcher.fleet.all.map { server in
            let info = try? dispatcher.router.withRouter { (router) throws(RouterError) in
                try router.info(server.id, now: now)
            }
            return (server.name, server.state.withLockedValue { $0 }, info)
        }
        func each(_ name: String, _ type: String, _ help: String, _ value: (Server.State, ServerInfo?) -> Double?) {
            add(name, type, help)
            for (server, state, info) in rows {
                if let value = value(state, info) { sample(name, [("server", server)], value) }
            }
        }
        let settings = dispatcher.configuration.healthSettings(.engine)
        each("gotoni_server_up", "gauge", "1: takes requests and answers probes.") { state, _ in
            state.health.isAvailable(settings) ? 1 : 0
        }
        each("gotoni_server_in_flight", "gauge", "Our requests there.") { state, _ in Double(state.inFlight) }
        each("gotoni_server_limit", "gauge", "Most of our requests there now.") { state, _ in Double(state.limitInForce)
        }
        each("gotoni_server_requests_total", "counter", "Requests sent there.") { state, _ in Double(state.requests) }
        each("gotoni_server_failures_total", "counter", "Of these failed.") { state, _ in Double(state.failures) }
        each("gotoni_server_prompt_tokens_total", "counter", "Prompt tokens sent there.") { state, _ in
            Double(state.promptTokens)
        }
        each("gotoni_server_matched_tokens_total", "counter", "Of these believed cached there.") { state, _ in
            Double(state.matchedTokens)
        }
        each("gotoni_server_rtt_seconds", "gauge", "Round trip as the cost has it.") { _, info in
            info?.rtt.map { Double($0) / 1e9 }
        }
        each("gotoni_server_held_tokens", "gauge", "Tokens believed cached there.") { _, info in
            info.map { Double($0.heldTokens) }
        }
        each("gotoni_server_engine_running", "gauge", "Requests running, by the engine.") { state, _ in
            state.report?.running.map(Double.init)
        }
        each("gotoni_server_engine_waiting", "gauge", "Requests waiting, by the engine.") { state, _ in
            state.report?.queued.map(Double.init)
        }
        each("gotoni_server_engine_cache_usage", "gauge", "KV cache in use, 0 to 1, by the engine.") { state, _ in
            state.report?.cacheUsage
        }
        each("gotoni_server_predicted_cached_tokens_total", "counter", "Expected where the engine reported.") {
            _, info in
            info.map { Double($0.parity.predictedTokens) }
        }
        each("gotoni_server_reported_cached_tokens_total", "counter", "Reported by the engine.") { _, info in
            info.map { Double($0.parity.reportedTokens) }
        }
        each("gotoni_server_predictions_total", "counter", "First tokens compared with what was predicted.") {
            _, info in
            info.map { Double($0.learned.predictions) }
        }
        each("gotoni_server_prediction_error_seconds", "gauge", "Mean size of the last errors.") { _, info in
            info.map { $0.learned.error / 1000 }
        }
        each("gotoni_server_prediction_bias_seconds", "gauge", "Observed less predicted, mean of the last.") {
            _, info in
            info.map { $0.learned.bias / 1000 }
        }
        each("gotoni_server_predictions_off", "gauge", "1: the mean error is over half of the mean first token.") {
            _, info in
            info.map { $0.learned.isOff ? 1 : 0 }
        }
        each("gotoni_server_prefill_seconds_per_token", "gauge", "Learned, with nobody beside it.") { _, info in
            info.map { $0.learned.prefillPerToken / 1000 }
        }
        each("gotoni_server_decode_seconds", "gauge", "Learned, of a whole answer alone.") { _, info in
            info.map { $0.learned.decode / 1000 }
        }
        each("gotoni_server_parity_off", "gauge", "1: the last of these differ by more than a fifth.") { state, _ in
            state.parity.isOff ? 1 : 0
        }
        add("gotoni_server_knowledge", "gauge", "1: from where it is known what is cached there.")
        for (server, state, info) in rows {
            for knowledge in Knowledge.allCases {
                sample(
                    "gotoni_server_knowledge", [("server", server), ("from", knowledge.rawValue)],
                    state.knowledge(info) == knowledge ? 1 : 0)
            }
        }
        kvEvents(rows.map { ($0.0, $0.1) }, now: now)
    }

    private mutating func kvEvents(_ rows: [(String, Server.State)], now: Nanoseconds) {
        let known = rows.compactMap { server, state in state.kvEvents.map { (server, state, $0) } }
        guard !known.isEmpty else { return }
        add("gotoni_server_kv_events_connected", "gauge", "1: the engine's KV events come in.")
        for (server, _, figures) in known {
            sample("gotoni_server_kv_events_connected", [("server", server)], figures.isConnected ? 1 : 0)
        }
        add("gotoni_server_kv_events_silent", "gauge", "1: none for ten seconds, though it had prompts to compute.")
        for (server, state, _) in known {
            sample("gotoni_server_kv_events_silent", [("server", server)], state.isSilent(now: now) ? 1 : 0)
        }
        add("gotoni_server_kv_event_age_seconds", "gauge", "Since the last message.")
        for (server, _, figures) in known {
            guard let last = figures.account.lastMessage else { continue }
            sample("gotoni_server_kv_event_age_seconds", [("server", server)], now.since(last).milliseconds / 1000)
        }
        add("gotoni_server_kv_event_messages_total", "counter", "Messages by what became of them.")
        for (server, _, figures) in known {
            for (fate, count) in [
                ("applied", figures.counts.applied), ("ignored", figures.counts.ignored),
                ("unreadable", figures.account.unreadable),
            ] { sample("gotoni_server_kv_event_messages_total", [("server", server), ("fate", fate)], Double(count)) }
        }
        add("gotoni_server_kv_event_troubles_total", "counter", "Gaps, losses, restarts, and events without a place.")
        for (server, _, figures) in known {
            for (kind, count) in [
                ("gap", figures.counts.gaps), ("loss", figures.counts.losses), ("restart", figures.counts.restarts),
                ("refused", figures.account.refused),
            ] { sample("gotoni_server_kv_event_troubles_total", [("server", server), ("kind", kind)], Double(count)) }
        }
    }

    // MARK: The format

    private mutating func add(_ name: String, _ type: String, _ help: String) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
    }

    private mutating func sample(_ name: String, _ labels: [(String, String)], _ value: Double) {
        text += name
        if !labels.isEmpty {
            text += "{" + labels.map { "\($0.0)=\"\(Self.escaped($0.1))\"" }.joined(separator: ",") + "}"
        }
        text += value == value.rounded() && abs(value) < 1e15 ? " \(Int(value))\n" : " \(value)\n"
    }

    private mutating func one(_ name: String, _ type: String, _ help: String, _ value: Double) {
        add(name, type, help)
        sample(name, [], value)
    }
    private mutating func one(_ name: String, _ type: String, _ help: String, _ value: some BinaryInteger) {
        one(name, type, help, Double(value))
    }

    private mutating func histogram(_ name: String, _ help: String, _ histogram: Histogram) {
        add(name, "histogram", help)
        let (cumulative, sum) = histogram.snapshot
        for (bound, count) in zip(Histogram.bounds.map { "\($0)" } + ["+Inf"], cumulative) {
            sample(name + "_bucket", [("le", bound)], Double(count))
        }
        sample(name + "_sum", [], sum)
        sample(name + "_count", [], Double(cumulative.last ?? 0))
    }

    private static func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "\\": result += "\\\\"
            case "\"": result += "\\\""
            case "\n": result += "\\n"
            default: result.append(character)
            }
        }
        return result
    }
}
