import Foundation
import GotoniCore
import NIOCore
import Testing

@testable import GotoniGateway

extension Sockets {
    @Suite struct ControlRoutesTests {
        private func object(_ answer: Answer) throws -> [String: Any] {
            #expect(answer["content-type"] == "application/json")
            return try #require(
                try JSONSerialization.jsonObject(with: Data(answer.body)) as? [String: Any], "\(answer.text)")
        }

        private func get(_ client: RawClient, _ path: String) async throws -> [String: Any] {
            client.get(path)
            let answer = try await client.answer()
            #expect(answer.status == 200, "\(path)")
            return try object(answer)
        }

        private func send(_ client: RawClient, _ method: String, _ path: String, _ body: String = "") async throws
            -> Answer
        {
            client.send(
                "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
            return try await client.answer(toHEAD: method == "HEAD")
        }

        /// gotoni-behaviour.md, 3.5: every key of the original is there.
        @Test func theOriginalsKeys() async throws {
            try await withGateway(servers: 2) { running in
                let client = try await running.client()
                for _ in 0..<4 {
                    client.post()
                    _ = try await client.answer()
                }
                let status = try await get(client, "/proxy/status")
                for key in [
                    "running", "uptime_seconds", "routing_policy", "servers", "queue_size", "total_handled",
                    "total_forwarded", "total_queued",
                    "total_rejected", "ms_per_token", "running_cost_factor",
                ] { #expect(status[key] != nil, "\(key)") }
                #expect(
                    status["total_handled"] as? Int == 4 && status["total_forwarded"] as? Int == 4
                        && status["running"] as? Bool == true)
                let servers = try #require(status["servers"] as? [[String: Any]])
                #expect(servers.map { $0["id"] as? String } == ["a", "b"])
                for server in servers {
                    for key in [
                        "id", "ip", "port", "healthy", "running_reqs", "waiting_reqs", "gpu_cache_usage", "latency",
                        "proxy_tracked_running",
                    ] { #expect(server[key] != nil, "\(key)") }
                    let latency = try #require(server["latency"] as? [String: Any])
                    for key in ["current_ms", "avg_ms", "min_ms", "max_ms"] {
                        #expect(latency[key] is Double, "\(key)")
                    }
                    // Unknown is null and not zero.
                    #expect(server["running_reqs"] is NSNull && server["healthy"] as? Bool == true)
                }
                client.get("/proxy/servers")
                let records = try #require(
                    try JSONSerialization.jsonObject(with: Data(await client.answer().body)) as? [[String: Any]])
                for key in ["id", "ip", "port", "metrics", "latency", "latency_avg", "latency_min", "latency_max"] {
                    #expect(records[0][key] != nil, "\(key)")
                }
                #expect(records[0]["latency"] is Int)
                let metrics = try #require(records[0]["metrics"] as? [String: Any])
                for key in [
                    "num_running_reqs", "num_waiting_reqs", "num_total_reqs", "gpu_cache_usage", "max_running_reqs",
                    "healthy", "consecutive_fails",
                ] {
                    #expect(metrics[key] != nil, "\(key)")
                }
                let prefixes = try await get(client, "/proxy/prefix/stats")
                for key in [
                    "nodes", "leaves", "max_depth", "avg_depth", "avg_branching", "avg_prefix_len", "total_server_refs",
                    "unique_server_count",
                ] {
                    #expect(prefixes[key] is NSNumber, "\(key)")
                }
                let latency = try #require(try await get(client, "/proxy/latency")["a"] as? [String: Any])
                for key in ["ip", "port", "current_ms", "avg_ms", "min_ms", "max_ms", "healthy"] {
                    #expect(latency[key] != nil, "\(key)")
                }
                let policy = try await get(client, "/proxy/policy")
                #expect(policy["current"] as? String == "least-request" && policy["hint"] is String)
                let available = try #require(policy["available"] as? [String])
                for name in ["gorgo", "least-load", "prefix-tree"] { #expect(available.contains(name)) }
                let summary = try await get(client, "/proxy/metrics/summary")
                for key in [
                    "count", "success_count", "fail_count", "avg_total_latency_ms", "avg_ttft_ms",
                    "avg_network_latency_ms",
                    "avg_prefix_cache_hit_ratios", "metrics_collection_enabled",
                ] { #expect(summary[key] != nil, "\(key)") }
                #expect(summary["count"] as? Int == 4)
                #expect((summary["avg_prefix_cache_hit_ratios"] as? [String: Double])?["a"] != nil)
            }
        }

        @Test func health() async throws {
            try await withGateway(servers: 2) { running in
                let client = try await running.client()
                for path in ["/health", "/proxy/health"] {
                    client.get(path)
                    let answer = try await client.answer()
                    #expect(
                        answer.status == 200
                            && answer.text.trimmingCharacters(in: .whitespacesAndNewlines)
                                == "healthy: 2/2 servers available"
                    )
                }
                #expect(try await send(client, "HEAD", "/health").status == 200)
                for name in ["a", "b"] { _ = running.gateway.drainServer(name: name, true) }
                client.get("/health")
                let answer = try await client.answer()
                #expect(answer.status == 503 && answer.text.hasPrefix("unhealthy: 0/2 servers available"))
            }
        }

        @Test(arguments: [
            ("/health", "GET"), ("/proxy/status", "GET"), ("/proxy/servers", "DELETE, GET, POST"),
            ("/proxy/servers/drain", "POST"),
            ("/proxy/tune", "GET, POST"), ("/proxy/policy", "GET, POST, PUT"), ("/proxy/cache/clear", "POST"),
            ("/metrics", "GET"),
            ("/dashboard", "GET"), ("/proxy/metrics/clear", "POST"), ("/proxy/metrics/enable", "POST"),
            ("/proxy/explain", "GET, POST"),
        ]) func methods(_ path: String, _ allowed: String) async throws {
            try await withGateway { running in
                let client = try await running.client()
                for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "FOO"]
                where !allowed.contains(method) {
                    if method == "FOO" { continue }
                    let answer = try await send(client, method, path)
                    #expect(answer.status == 405 && answer["allow"] == allowed && answer.code == "method", "\(method)")
                }
                #expect(running.engines[0].count == 0)
            }
        }

        @Test(arguments: [
            "/proxy", "/proxy/", "/proxy/nothing", "/proxy/status/", "/proxy//status", "/proxy/%73tatus",
            "/proxy/../v1/chat/completions",
        ])
        func unknownEndpoints(_ path: String) async throws {
            try await withGateway { running in
                let client = try await running.client()
                for method in ["GET", "POST"] {
                    let answer = try await send(client, method, path)
                    #expect(answer.status == 404 && answer.code == "unknown_endpoint")
                }
                #expect(running.engines[0].count == 0)
            }
        }

        /// Only these very bytes are control endpoints. What merely looks so after decoding goes to a server as it is: a
        /// server that decodes it finds no control endpoint of ours.
        @Test(arguments: [
            "/%70roxy/status", "//proxy/status", "/v1/../proxy/status", "/Proxy/status", "/./proxy/status",
            "/proxy%2Fstatus", "/proxy;x/status",
        ])
        func lookalikes(_ path: String) async throws {
            try await withGateway({ $0.adminToken = "secret" }) { running in
                let client = try await running.client()
                client.get(path)
                #expect(try await client.answer().status == 200)
                #expect(try await running.engines[0].next().target == path)
            }
        }

        @Test func tuningIsAllOrNothing() async throws {
            try await withGateway { running in
                let client = try await running.client()
                let before = try await get(client, "/proxy/tune") as NSDictionary
                for (body, code) in [
                    ("{\"ms_per_token\":0.5,\"running_cost_factro\":1}", "unknown_knob"),
                    ("{\"ms_per_token\":0.5,\"running_cost_factor\":-1}", "range"),
                    ("{\"ms_per_token\":0.5,\"running_cost_factor\":1e9}", "range"),
                    ("{\"ms_per_token\":\"0.5\"}", "invalid_body"), ("{}", "knobs"),
                    ("", "invalid_body"), ("[]", "invalid_body"), ("{\"ms_per_token\":null}", "invalid_body"),
                    ("nonsense", "invalid_body"),
                ] {
                    let answer = try await send(client, "POST", "/proxy/tune", body)
                    #expect(answer.status == 400 && answer.code == code, "\(body)")
                    #expect(try await get(client, "/proxy/tune") as NSDictionary == before)
                }
                let changed = try object(
                    try await send(client, "POST", "/proxy/tune", "{\"ms_per_token\":0.5,\"running_cost_factor\":1}"))
                #expect(changed["ms_per_token"] as? Double == 0.5 && changed["running_cost_factor"] as? Double == 1)
                #expect(try await get(client, "/proxy/status")["ms_per_token"] as? Double == 0.5)
            }
        }

        @Test func policies() async throws {
            try await withGateway { running in
                let client = try await running.client()
                for (method, body, name) in [
                    ("POST", "{\"policy\":\"prefix_tree\"}", "prefix-tree"), ("PUT", "leastload", "least-load"),
                    ("POST", "gorgo\n", "gorgo"),
                ] {
                    let change = try object(try await send(client, method, "/proxy/policy", body))
                    #expect(
                        change["success"] as? Bool == true && change["new_policy"] as? String == name
                            && change["old_policy"] is String)
                    #expect(try await get(client, "/proxy/policy")["current"] as? String == name)
                }
                for body in ["{\"policy\":\"gorgoo\"}", "nothing", "", "{\"policy\":1}", "{}", "{"] {
                    #expect(try await send(client, "POST", "/proxy/policy", body).status == 400, "\(body)")
                }
                // What changes something is no GET.
                #expect(try await send(client, "GET", "/proxy/policy?set=gorgo").status == 405)
                #expect(try await get(client, "/proxy/policy")["current"] as? String == "gorgo")
            }
        }

        @Test func servers() async throws {
            try await withGateway { running in
                let client = try await running.client()
                let extra = try await EngineDouble("extra")
                let added = try await send(
                    client, "POST", "/proxy/servers", "{\"ip\":\"127.0.0.1\",\"port\":\(extra.port)}")
                #expect(added.status == 201)
                #expect(try object(added)["id"] as? String == "127.0.0.1:\(extra.port)")
                #expect(
                    try await send(client, "POST", "/proxy/servers", "{\"ip\":\"127.0.0.1\",\"port\":\(extra.port)}")
                        .status == 409)
                for body in [
                    "", "{}", "{\"ip\":\"127.0.0.1\"}", "{\"ip\":\"127.0.0.1\",\"port\":0}",
                    "{\"ip\":\"127.0.0.1\",\"port\":65536}",
                    "{\"ip\":\"a b\",\"port\":1}", "{\"url\":\"ftp://a\"}",
                    "{\"url\":\"http://a\",\"ip\":\"b\",\"port\":1}", "{\"ip\":\"x\",\"port\":\"1\"}",
                ] { #expect(try await send(client, "POST", "/proxy/servers", body).status == 400, "\(body)") }
                #expect(running.gateway.dispatcher.fleet.all.count == 2)
                #expect(try await send(client, "POST", "/proxy/servers/drain?id=127.0.0.1:\(extra.port)").status == 200)
                #expect(try running.health("127.0.0.1:\(extra.port)").state == .draining)
                #expect(
                    try await send(client, "POST", "/proxy/servers/undrain?id=127.0.0.1%3A\(extra.port)").status == 200)
                #expect(try running.health("127.0.0.1:\(extra.port)").state != .draining)
                for path in ["/proxy/servers/drain", "/proxy/servers/drain?id="] {
                    #expect(try await send(client, "POST", path).status == 400)
                }
                #expect(try await send(client, "DELETE", "/proxy/servers").status == 400)
                #expect(try await send(client, "DELETE", "/proxy/servers?id=nobody").status == 404)
                #expect(try await send(client, "POST", "/proxy/servers/drain?id=nobody").status == 404)
                #expect(try await send(client, "DELETE", "/proxy/servers?id=127.0.0.1:\(extra.port)").status == 200)
                #expect(running.gateway.dispatcher.fleet.all.map(\.name) == ["a"])
                try await extra.stop()
            }
        }

        @Test func explaining() async throws {
            try await withGateway(servers: 2, { $0.policy = .gorgo }) { running in
                let client = try await running.client()
                let text = String(repeating: "a prompt of some length ", count: 100)
                client.post("/v1/chat/completions", chat(text), fields: "x-request-id: first\r\n")
                _ = try await client.answer()
                let answer = try await send(client, "POST", "/proxy/explain", chat(text))
                #expect(answer.status == 200)
                let decision = try #require((try object(answer)["decisions"] as? [[String: Any]])?.first)
                let rows = try #require(decision["candidates"] as? [[String: Any]])
                #expect(rows.count == 2 && decision["policy"] as? String == "gorgo")
                let served = try #require(running.engines.first { $0.count == 1 }).name
                #expect(decision["chosen"] as? String == served)
                #expect(decision["matched_tokens"] as? Int ?? 0 > 100)
                for row in rows {
                    for key in [
                        "server", "verdict", "matched_tokens", "uncached_tokens", "cost_ms", "rtt_ms", "prefill_ms",
                        "queued_ms", "running_ms",
                    ] {
                        #expect(row[key] != nil, "\(key)")
                    }
                    #expect(row["verdict"] as? String == "eligible")
                }
                // Nothing is reserved, nothing was sent, and it is not among the decisions.
                #expect(running.gateway.leftovers == (0, 0, 0) && running.engines.map(\.count).reduce(0, +) == 1)
                let last = try #require(try await get(client, "/proxy/explain?last=5")["decisions"] as? [[String: Any]])
                #expect(last.map { $0["request_id"] as? String } == ["first"])
                for path in ["/proxy/explain?last=0", "/proxy/explain?last=101", "/proxy/explain?last=x"] {
                    #expect(try await send(client, "GET", path).status == 400)
                }
                #expect(try await send(client, "POST", "/proxy/explain", "{").status == 400)
                #expect(try await send(client, "POST", "/proxy/explain?endpoint=/x", chat("a")).status == 400)
                #expect(
                    try await send(client, "POST", "/proxy/explain?endpoint=/v1/completions", "{\"prompt\":\"x\"}")
                        .status == 200)
                _ = running.gateway.drainServer(name: "a", true)
                _ = running.gateway.drainServer(name: "b", true)
                let none = try object(try await send(client, "POST", "/proxy/explain", chat(text)))
                #expect(((none["decisions"] as? [[String: Any]])?.first)?["chosen"] is NSNull)
            }
        }

        @Test func theTrieIsCleared() async throws {
            try await withGateway { running in
                let client = try await running.client()
                client.post("/v1/chat/completions", chat(String(repeating: "long ", count: 500)))
                _ = try await client.answer()
                #expect(try await get(client, "/proxy/prefix/stats")["nodes"] as? Int ?? 0 > 0)
                #expect(try await send(client, "POST", "/proxy/cache/clear?id=nobody").status == 404)
                let cleared = try object(try await send(client, "POST", "/proxy/cache/clear"))
                #expect(cleared["success"] as? Bool == true && cleared["nodes"] as? Int ?? 0 > 0)
                let held = try await get(client, "/proxy/prefix/stats")["held_tokens"] as? Int
                #expect(held == 0)
            }
        }

        @Test func theRequestLogOverHTTP() async throws {
            try await withGateway { running in
                let client = try await running.client()
                #expect(try await get(client, "/proxy/metrics/summary")["message"] is String)
                client.post(fields: "x-request-id: r-1\r\n")
                _ = try await client.answer()
                client.get("/proxy/metrics/export")
                let csv = try await client.answer()
                #expect(csv.status == 200 && csv["content-type"] == "text/csv; charset=utf-8")
                #expect(csv["content-disposition"]?.hasPrefix("attachment; filename=\"proxy_metrics_20") == true)
                #expect(csv.text.hasPrefix("request_id,timestamp,prompt_length,") && csv.text.contains("r-1,"))
                client.get("/proxy/metrics/export?format=jsonl")
                let lines = try await client.answer()
                #expect(try object(Answer(copying: lines))["request_id"] as? String == "r-1")
                #expect(try await send(client, "GET", "/proxy/metrics/export?format=xml").status == 400)
                #expect(
                    try object(try await send(client, "POST", "/proxy/metrics/enable", "{\"enabled\":false}"))[
                        "enabled"] as? Bool == false)
                #expect(try await send(client, "POST", "/proxy/metrics/enable", "{}").status == 400)
                client.post()
                _ = try await client.answer()
                #expect(try object(try await send(client, "POST", "/proxy/metrics/clear"))["cleared"] as? Int == 1)
            }
        }

        @Test func thePrometheusPage() async throws {
            try await withGateway(servers: 2, { $0.version = "1.0 \"x\"\\\n" }) { running in
                let client = try await running.client()
                for _ in 0..<5 {
                    client.post()
                    _ = try await client.answer()
                }
                client.get("/metrics")
                let answer = try await client.answer()
                #expect(answer["content-type"] == "text/plain; version=0.0.4; charset=utf-8")
                let page = samples(answer.text)
                func value(_ name: String, _ labels: [String: String] = [:]) -> Double? {
                    page.first { sample in
                        sample.name == name && labels.allSatisfy { sample.labels[$0.key] == $0.value }
                    }?.value
                }
                #expect(page.allSatisfy { $0.value.map(\.isFinite) == true })
                #expect(
                    value("gotoni_requests_total", ["end": "forwarded"]) == 5
                        && value("gotoni_requests_handled_total") == 5)
                #expect(
                    value("gotoni_ttft_seconds_count") == 5 && value("gotoni_ttft_seconds_bucket", ["le": "+Inf"]) == 5)
                #expect((value("gotoni_ttft_seconds_sum") ?? 0) > 0)
                #expect(
                    value("gotoni_server_up", ["server": "a"]) == 1
                        && value("gotoni_server_in_flight", ["server": "b"]) == 0)
                #expect(
                    (value("gotoni_server_requests_total", ["server": "a"]) ?? 0)
                        + (value("gotoni_server_requests_total", ["server": "b"]) ?? 0) == 5)
                #expect(page.first { $0.name == "gotoni_info" }?.labels["version"] == "1.0 \\\"x\\\"\\\\\\n")
                // Each family is announced once and then in one piece; buckets only grow.
                var families: [String] = []
                for line in answer.text.split(separator: "\n") where line.hasPrefix("# TYPE ") {
                    families.append(String(line.split(separator: " ")[2]))
                }
                #expect(Set(families).count == families.count)
                var seen: [String] = []
                for sample in page {
                    let family = try #require(
                        families.filter { sample.name.hasPrefix($0) }.max { $0.count < $1.count }, "\(sample.name)")
                    if seen.last != family { seen.append(family) }
                }
                #expect(Set(seen).count == seen.count)
                let buckets = page.compactMap { $0.name == "gotoni_ttft_seconds_bucket" ? $0.value : nil }
                #expect(buckets.count == Histogram.bounds.count + 1)
                #expect(buckets == buckets.sorted())
            }
        }

        @Test func theDashboard() async throws {
            try await withGateway({ $0.adminToken = "secret" }) { running in
                let client = try await running.client()
                client.get("/dashboard")
                let page = try await client.answer()
                #expect(
                    page.status == 200 && page["content-type"] == "text/html; charset=utf-8"
                        && page.text.contains("<html"))
                #expect(
                    page["content-security-policy"]?.hasPrefix("default-src 'none'") == true
                        && page["x-frame-options"] == "DENY")
                client.get("/proxy/status")
                #expect(try await client.answer().status == 401)
                client.get("/proxy/status", fields: "Authorization: Bearer secret\r\n")
                #expect(try await client.answer().status == 200)
            }
        }

        @Test func foreignPagesAreRefused() async throws {
            try await withGateway { running in
                let client = try await running.client()
                client.send(
                    "POST /proxy/cache/clear HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\n\r\n"
                )
                #expect(try await client.answer().code == "origin")
                client.send("GET /proxy/status HTTP/1.1\r\nHost: evil.example\r\n\r\n")
                #expect(try await client.answer().code == "host")
            }
        }

        @Test func theAdminListenerServesNothingElse() async throws {
            try await withGateway({ $0.adminListen = .init(host: "127.0.0.1", port: 0) }) { running in
                let client = try await RawClient.connect(try #require(running.adminPort))
                client.get("/proxy/status")
                #expect(try await client.answer().status == 200)
                client.post()
                #expect(try await client.answer().status == 404)
                #expect(running.engines[0].count == 0)
                client.close()
            }
        }
    }
}

extension Answer {
    /// The same, taken for one JSON document.
    fileprivate init(copying other: Answer) {
        self = other
        fields = [("content-type", "application/json")]
    }
}
