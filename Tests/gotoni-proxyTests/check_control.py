"""What the proxy says of itself, and what can be changed while it runs."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

from programs import Engine, Proxy, fresh_text, metrics, started, until


def _with_engines(count: int, *options: str) -> tuple[list[Engine], Proxy]:
    engines = [Engine("--name", f"e{number}") for number in range(count)]
    return engines, Proxy(*options, servers=[f"e{number}={engine.url}" for number, engine in enumerate(engines)])


def status_says_what_is() -> None:
    engines, proxy = _with_engines(2)
    with started(proxy, *engines):
        for number in range(6):
            assert proxy.chat(f"{number}").status == 200
        proxy.until_quiet()
        status = proxy.status()
        assert status["total_handled"] == status["total_forwarded"] == 6 and status["running"], status
        assert sum(server["requests"] for server in status["servers"]) == 6, status
        for server in status["servers"]:
            assert server["healthy"] and server["state"] in ("up", "slow-start") and server["limit"] >= 1, server
        until("metrics of the engines", lambda: all(s["engine"] == "sglang" for s in proxy.status()["servers"]))
        assert all(server["running_reqs"] == 0 for server in proxy.status()["servers"])
        assert proxy.ask("GET", "/health").text == "healthy: 2/2 servers available\n"


def metrics_parse() -> None:
    engines, proxy = _with_engines(2)
    with started(proxy, *engines):
        for number in range(5):
            proxy.chat(f"{number}", stream=True)
        proxy.until_quiet()
        answer = proxy.ask("GET", "/metrics")
        assert answer.field("content-type") == "text/plain; version=0.0.4; charset=utf-8", answer
        types: dict[str, str] = {}
        for line in answer.text.splitlines():
            if line.startswith("# TYPE"):
                _, _, name, kind = line.split(" ")
                assert name not in types, f"{name} twice"
                types[name] = kind
            elif not line.startswith("#"):
                match = re.fullmatch(r'([a-z_]+)(\{[a-z_]+="[^"\n]*"(,[a-z_]+="[^"\n]*")*\})? (-?[\d.e+-]+)', line)
                assert match, line
                family = re.sub(r"_(bucket|sum|count)$", "", match[1]) if match[1] not in types else match[1]
                assert family in types, line
                assert types[family] != "counter" or match[1].endswith("_total"), line
        found = metrics(answer.text)
        assert found['gotoni_requests_total{end="forwarded"}'] == 5, found
        assert found["gotoni_ttft_seconds_count"] == 5 == found['gotoni_ttft_seconds_bucket{le="+Inf"}'], found
        buckets = [value for name, value in found.items() if name.startswith("gotoni_ttft_seconds_bucket")]
        assert buckets == sorted(buckets), buckets
        assert found['gotoni_server_up{server="e0"}'] == 1, found


def the_request_log_as_csv_and_jsonl() -> None:
    engines, proxy = _with_engines(2)
    with started(proxy, *engines):
        for number in range(8):
            proxy.chat(fresh_text(100), 2, headers={"x-request-id": f'odd, "name" {number}'.replace(" ", "_")})
        proxy.chat("bad", n=99, headers={"x-request-id": "bad"})
        proxy.until_quiet()
        answer = proxy.ask("GET", "/proxy/metrics/export?format=csv")
        assert answer.field("content-type") == "text/csv; charset=utf-8", answer
        assert "attachment" in (answer.field("content-disposition") or ""), answer
        rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
        lines = proxy.records()
        assert len(rows) == len(lines) == 9, (len(rows), len(lines))
        for row, line in zip(rows, lines):
            assert list(row) == list(line), (row, line)
            assert row["request_id"] == line["request_id"] and row["status_code"] == str(line["status_code"])
            assert row["success"] == ("true" if line["success"] else "false")
        good = lines[0]
        assert good["success"] and good["selected_server_id"] in ("e0", "e1") and good["output_tokens"] == 2, good
        assert 0 < good["ttft_ms"] <= good["total_latency_ms"] and good["tokens"] >= 25, good
        assert good["policy"] == "gorgo" and good["e0_cost"] is not None, good
        assert lines[-1]["status_code"] == 400 and not lines[-1]["success"] and lines[-1]["ttft_ms"] is None, lines[-1]
        assert json.loads(proxy.ask("GET", "/proxy/metrics/summary").text)["count"] == 9
        proxy.ask("GET", "/proxy/metrics/export?format=xml").problem(400, "format")
        proxy.post("/proxy/metrics/clear")
        assert proxy.records() == []
        proxy.post("/proxy/metrics/enable", {"enabled": False})
        proxy.chat("unseen")
        proxy.until_quiet()
        assert proxy.records() == []


def policies_and_knobs_change_at_run_time() -> None:
    engines, proxy = _with_engines(2)
    with started(proxy, *engines):
        available = proxy.get("/proxy/policy")["available"]
        assert len(available) == 9 and "predictive" in available, available
        for policy in available:
            assert proxy.post("/proxy/policy", {"policy": policy})["new_policy"] == policy
            assert proxy.chat(f"by {policy}").status == 200
        answer = proxy.ask("POST", "/proxy/policy", {"policy": "gorg"})
        assert answer.status == 400 and "there is no policy" in answer.text, answer
        assert proxy.status()["routing_policy"] == available[-1]
        assert proxy.ask("GET", "/proxy/policy?set=random").status == 405

        assert proxy.post("/proxy/tune", {"ms_per_token": 0.5})["ms_per_token"] == 0.5
        before = proxy.get("/proxy/tune")
        for wrong in ({"ms_per_tokn": 1}, {"ms_per_token": 1, "nonsense": 2}, {"ms_per_token": -1}, {}, [1]):
            answer = proxy.ask("POST", "/proxy/tune", wrong)
            assert answer.status == 400, (wrong, answer)
        assert proxy.get("/proxy/tune") == before


def the_tuner_is_started_looked_at_frozen_and_rolled_back() -> None:
    engines, proxy = _with_engines(2, "--policy", "random")
    with started(proxy, *engines):
        assert proxy.get("/proxy/tune/status")["phase"] == "off"
        answer = proxy.ask("POST", "/proxy/tune/start")
        assert answer.status == 400 and "no weights to tune" in answer.text, answer
        proxy.post("/proxy/policy", {"policy": "gorgo"})
        for wrong in ({"ttft_ms": 0}, {"ttft": 100}, {"itl_ms": "fast"}, [1]):
            answer = proxy.ask("POST", "/proxy/tune/start", wrong)
            assert answer.status == 400, (wrong, answer)
        assert proxy.get("/proxy/tune/status")["phase"] == "off"

        tuner = proxy.post("/proxy/tune/start", {"ttft_ms": 5_000})
        assert (tuner["phase"], tuner["policy"]) == ("warming", "gorgo"), tuner
        assert (tuner["ttft_limit_ms"], tuner["itl_limit_ms"], tuner["goodput"]) == (5_000, 100, None), tuner
        weights = {weight["knob"]: weight for weight in tuner["weights"]}
        assert list(weights) == ["rtt_weight", "queued_weight", "running_cost_factor", "eviction_weight"], weights
        for _ in range(8):
            assert proxy.chat(fresh_text(100), stream=True).status == 200
        proxy.until_quiet()
        tuner = proxy.get("/proxy/tune/status")
        assert tuner["requests"] == tuner["ended"] == 8 and tuner["goodput"] > 0.9, tuner
        assert proxy.metric('gotoni_tuner_phase{phase="warming"}') == 1 and proxy.metric("gotoni_tuner_goodput") > 0.9
        assert proxy.metric('gotoni_tuner_weight{knob="queued_weight",as="home"}') == 0.5
        assert proxy.post("/proxy/tune/freeze")["phase"] == "frozen"
        assert proxy.post("/proxy/tune/start")["ttft_limit_ms"] == 5_000, "limits stay if none are named"
        proxy.post("/proxy/tune", {"queued_weight": 0.25})
        (weight,) = (each for each in proxy.get("/proxy/tune/status")["weights"] if each["knob"] == "queued_weight")
        assert weight["home"] == weight["incumbent"] == 0.25, "what is set by hand is home"
        assert proxy.post("/proxy/tune/rollback")["phase"] == "frozen"
        decisions = json.loads(proxy.ask("GET", "/proxy/explain?last=8").text)["decisions"]
        assert len(decisions) == 8 and not any(each["trial"] for each in decisions), decisions


def looking_changes_nothing() -> None:
    """A GET or a HEAD never changes anything: pages, crawlers and prefetching send them in others' names."""
    engines, proxy = _with_engines(1)
    with started(proxy, *engines):
        proxy.chat(fresh_text(2_000))
        proxy.until_quiet()

        def state() -> tuple[Any, ...]:
            status = proxy.status()
            names = [(server["id"], server["state"] == "draining") for server in status["servers"]]
            return names, status["routing_policy"], proxy.get("/proxy/tune"), len(proxy.records())

        before = state()
        held = proxy.get("/proxy/prefix/stats")["held_tokens"]
        for path in (
            "/proxy/servers/drain?id=e0",
            "/proxy/servers/undrain?id=e0",
            "/proxy/cache/clear",
            "/proxy/metrics/clear",
            "/proxy/metrics/enable?enabled=false",
        ):
            for method in ("GET", "HEAD"):
                answer = proxy.ask(method, path)
                assert answer.status == 405 and answer.field("allow") == "POST", (method, path, answer)
        for path in (
            "/proxy/servers?id=e0&url=http://127.0.0.1:9",
            "/proxy/tune?ms_per_token=9",
            "/proxy/policy?policy=random",
        ):
            assert proxy.ask("GET", path).status in (200, 405), path
        assert state() == before and proxy.get("/proxy/prefix/stats")["held_tokens"] == held > 0


def servers_come_and_go_at_run_time() -> None:
    engines, proxy = _with_engines(1)
    late = Engine("--name", "late")
    with started(proxy, late, *engines):
        proxy.post("/proxy/servers", {"id": "late", "ip": "127.0.0.1", "port": late.port})
        proxy.until_up(2)
        proxy.ask("POST", "/proxy/servers", {"id": "late", "url": "http://127.0.0.1:9"}).problem(409, "server")
        proxy.post("/proxy/policy", {"policy": "round-robin"})
        for number in range(10):
            assert proxy.chat(f"{number}").status == 200
        assert late.served() == 5 == engines[0].served(), (late.served(), engines[0].served())
        answer = proxy.ask("DELETE", "/proxy/servers?id=late")
        assert answer.status == 200, answer
        proxy.ask("DELETE", "/proxy/servers?id=late").problem(404, "unknown_server")
        assert [server["id"] for server in proxy.status()["servers"]] == ["e0"]
        for number in range(4):
            assert proxy.chat(f"after {number}").status == 200
        assert late.served() == 5
        for wrong in ({}, {"ip": "x"}, {"ip": "x", "port": 0}, {"url": "ftp://x"}, {"url": "http://x", "id": "a,b"}):
            assert proxy.ask("POST", "/proxy/servers", wrong).status in (400, 409), wrong


def a_removed_server_finishes_what_it_has() -> None:
    import threading

    slow = Engine("--speed", "1", "--model", "h100")
    with started(slow):
        proxy = Proxy(servers=[f"slow={slow.url}"])
        with started(proxy):
            found = []
            thread = threading.Thread(target=lambda: found.append(proxy.chat("long", 60, stream=True)))
            thread.start()
            until("the stream runs", lambda: slow.metric("num_running_reqs") == 1)
            assert proxy.ask("DELETE", "/proxy/servers?id=slow").status == 200
            thread.join()
            assert found[0].status == 200 and found[0].text.endswith("data: [DONE]\n\n"), found
            proxy.chat("nobody").problem(503, "no_server")
            proxy.until_quiet()


def a_drained_server_gets_nothing_new() -> None:
    engines, proxy = _with_engines(2)
    with started(proxy, *engines):
        proxy.post("/proxy/servers/drain?id=e0")
        assert proxy.server("e0")["state"] == "draining"
        before = engines[0].served()
        for number in range(6):
            assert proxy.chat(f"{number}").status == 200
        assert engines[0].served() == before
        proxy.post("/proxy/servers/undrain?id=e0")
        until("e0 is up", lambda: proxy.server("e0")["healthy"])
        proxy.post("/proxy/policy", {"policy": "round-robin"})
        for number in range(6):
            assert proxy.chat(f"{number} again").status == 200
        assert engines[0].served() > before
        proxy.ask("POST", "/proxy/servers/drain?id=none", b"").problem(404, "unknown_server")


def the_trie_can_be_looked_at_and_cleared() -> None:
    engines, proxy = _with_engines(1)
    with started(proxy, *engines):
        text = fresh_text(8_000)
        for _ in range(2):
            proxy.chat(text)
        assert proxy.get("/proxy/prefix/stats")["held_tokens"] >= 2_000
        assert proxy.server("e0")["hit_share"] > 0.4
        proxy.post("/proxy/cache/clear")
        assert proxy.get("/proxy/prefix/stats")["held_tokens"] == 0


def decisions_are_explained() -> None:
    engines, proxy = _with_engines(2)
    with started(proxy, *engines):
        text = fresh_text(4_000)
        proxy.chat(text, headers={"x-request-id": "explain-me"})
        proxy.until_quiet()
        assert "explain-me" in proxy.ask("GET", "/proxy/explain").text
        served = [engine.served() for engine in engines]
        answer = proxy.ask("POST", "/proxy/explain", {"messages": [{"role": "user", "content": text}]})
        assert answer.status == 200 and "e0" in answer.text and "e1" in answer.text, answer
        assert served == [engine.served() for engine in engines], "explaining sent something"


def predictive_learns_from_answers() -> None:
    """Told that a token of prefill takes 10 ms, which is eighty times what it takes here, it finds out."""
    engines, proxy = _with_engines(2, "--policy", "predictive", "--ms-per-token", "10")
    with started(proxy, *engines):
        for _ in range(12):
            # Long enough not to come whole, which teaches nothing.
            assert proxy.chat(fresh_text(4_000), 20, stream=True).status == 200
        proxy.until_quiet()
        learned = [server["learned"] for server in proxy.status()["servers"]]
        assert sum(each["predictions"] for each in learned) == 12, learned
        assert all(each["prefill_ms_per_token"] < 5 for each in learned if each["predictions"] > 3), learned
        assert sum(proxy.metric(f'gotoni_server_predictions_total{{server="e{at}"}}') for at in range(2)) == 12
        body = {"messages": [{"role": "user", "content": fresh_text(4_000)}]}
        (decision,) = json.loads(proxy.ask("POST", "/proxy/explain", body).text)["decisions"]
        costs = {row["server"]: row["predicted"]["cost_ms"] for row in decision["candidates"]}
        assert decision["chosen"] == min(costs, key=lambda name: costs[name]), decision
        last = proxy.records()[-1]
        assert last["e0_predicted_ttft_ms"] > 0 and last["policy"] == "predictive", last
        # What was compared is told, of each request and on the whole.
        told = json.loads(proxy.ask("GET", "/proxy/explain").text)["decisions"]
        assert len(told) == 12 and all(0 < each["first_token_ms"] <= each["ttft_ms"] for each in told), told
        for name, each in ((server["id"], server["learned"]) for server in proxy.status()["servers"]):
            seen = [answer for answer in told if answer["chosen"] == name]
            off = [answer["first_token_ms"] - answer["predicted_first_token_ms"] for answer in seen]
            if seen:
                mean = sum(answer["first_token_ms"] for answer in seen) / len(seen)
                assert abs(each["mean_first_token_ms"] - mean) < 0.01, (each, mean)
                assert abs(each["error_ms"] - sum(map(abs, off)) / len(off)) < 0.1, (each, off)
        assert proxy.chat(fresh_text(100)).status == 200
        proxy.until_quiet()
        whole = json.loads(proxy.ask("GET", "/proxy/explain?last=1").text)["decisions"][0]
        assert whole["first_token_ms"] is None and whole["predicted_first_token_ms"] > 0, whole


def the_dashboard_is_a_page_that_holds_nothing() -> None:
    proxy = Proxy(ready=False)
    with started(proxy):
        answer = proxy.ask("GET", "/dashboard")
        assert answer.status == 200 and (answer.field("content-type") or "").startswith("text/html"), answer.fields
        assert "default-src 'none'" in (answer.field("content-security-policy") or ""), answer.fields
        assert not re.search(r"""(src|href)=["']https?://""", answer.text), "it asks others"
