"""The endpoints of a node: their keys, and what they change."""

from __future__ import annotations

import json
import socket
from typing import Any

import nodes
from nodes import FakePeer, Node, nobody
from programs import Engine, Proxy, started, until
from wire import OK, Recorder, ask

STATUS = {
    "running", "draining", "node_id", "current_load", "max_load", "running_reqs", "waiting_reqs", "gpu_cache",
    "healthy", "peer_count", "healthy_peers", "queue_size", "queue_enabled", "listen_port", "backend_port",
    "metrics_enabled", "aggregate", "knowledge", "kv_events", "learned",
}  # fmt: skip
AGGREGATE = {
    "total_requests", "requests_local", "requests_forwarded", "requests_queued", "requests_rejected",
    "requests_from_peers", "requests_queued_then_forwarded", "start_time", "uptime_seconds", "downtime_seconds",
    "downtime_intervals",
}  # fmt: skip
PEER = {
    "id", "url", "ip", "port", "available", "healthy", "state", "running_reqs", "waiting_reqs", "total_reqs",
    "max_load", "latency_ms", "age_ms", "held_tokens", "learned",
}  # fmt: skip
CONFIG = {
    "policy", "max_concurrent", "queue_enabled", "queue_timeout", "request_timeout", "metrics_enabled", "listen_port",
    "backend_port", "ms_per_token", "running_cost_factor", "running_threshold",
}  # fmt: skip
METRICS = {"local", "peers", "config", "aggregate", "queue_depth", "mesh"}
LOCAL = {"running_reqs", "waiting_reqs", "total_reqs", "gpu_cache", "max_running", "healthy", "last_updated_ms_ago"}
MESH = {"interval_ms", "bytes_told", "bytes_heard", "bytes_per_second"}


def a_node_follows_its_engines_kv_events() -> None:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = f"{one.getsockname()[1]}/{other.getsockname()[1]}"
    engine = Engine("--kv-events", ports)
    with started(engine):
        node = Node("--kv-events", ports, engine=engine.url)
        with started(node):
            until("events in force", lambda: node.state()["knowledge"] == "kv_events")
            body = {"model": "simulated", "max_tokens": 1, "prompt": list(range(161))}
            assert node.ask("POST", "/v1/completions", body).status == 200
            until("ten blocks", lambda: node.state()["kv_events"]["blocks_stored"] == 10)


def _refused(node: Node, method: str, path: str, status: int, code: str, body: Any = b"") -> None:
    node.ask(method, path, body).problem(status, code)


def documents_have_the_originals_keys() -> None:
    engine = Engine("--name", "own")
    with started(engine), FakePeer() as peer:
        node = Node("--max-concurrent", "4", engine=engine.url, name="here", peers=[f"nodeB={peer.url}"])
        with started(node):
            node.until_peer("nodeB", available=True)
            until("the engine has told its load", lambda: node.state()["gpu_cache"] is not None)
            state = node.state()
            assert set(state) == STATUS and set(state["aggregate"]) == AGGREGATE, state
            facts = {
                "running": True, "draining": False, "node_id": "here", "current_load": 0, "max_load": 4,
                "healthy": True, "peer_count": 1, "healthy_peers": 1, "queue_size": 0, "queue_enabled": True,
                "backend_port": engine.port, "metrics_enabled": True,
            }  # fmt: skip
            assert {key: state[key] for key in facts} == facts, state
            answer = node.ask("GET", "/lb/health")
            assert answer.status == 200 and answer.json() == {"status": "healthy", "running": True}, answer
            listed = node.get("/lb/peers")
            assert set(listed) == {"count", "peers"} and listed["count"] == 1, listed
            assert set(listed["peers"][0]) == PEER, listed
            entry = listed["peers"][0]
            facts = {"id": "nodeB", "ip": "127.0.0.1", "port": peer.port, "state": "up", "max_load": 100}
            assert {key: entry[key] for key in facts} == facts, entry
            document = node.get("/lb/metrics")
            assert set(document) == METRICS and set(document["local"]) == LOCAL, document
            assert set(document["mesh"]) == MESH and set(document["config"]) == CONFIG, document
            # Names are as they were given.
            assert set(document["peers"]) == {"nodeB"} and set(document["peers"]["nodeB"]) == PEER, document
            assert set(document["aggregate"]) == AGGREGATE, document
            assert set(node.get("/lb/config")) == CONFIG
            # What the proxy has, a node has as well.
            assert node.get("/proxy/status")["servers"] and "gotoni" in node.ask("GET", "/metrics").text


def counters_count_what_was_served_here() -> None:
    engine = Engine()
    with started(engine):
        node = Node(engine=engine.url)
        with started(node):
            for number in range(3):
                assert node.chat(f"{number}").status == 200
            counts = node.counts()
            assert counts["total_requests"] == counts["requests_local"] == 3, counts
            rest = [key for key in counts if key.startswith("requests_") and key != "requests_local"]
            assert all(counts[key] == 0 for key in rest), counts


def configuration_is_changed_and_every_change_is_listed() -> None:
    engine = Engine()
    with started(engine):
        node = Node("--max-concurrent", "4", engine=engine.url)
        with started(node):
            wanted: dict[str, Any] = {
                "policy": "least-load", "max_concurrent": 7, "queue_enabled": False, "ms_per_token": 0.5,
                "running_cost_factor": 0.25, "running_threshold": 2,
            }  # fmt: skip
            done = node.post("/lb/config", wanted)
            assert done["success"] and {key: done["config"][key] for key in wanted} == wanted, done
            assert done["changes"] == [
                "policy: gorgo -> least-load", "max_concurrent: 4 -> 7", "queue_enabled: true -> false",
                "ms_per_token: 0.094 -> 0.5", "running_cost_factor: 0.1 -> 0.25", "running_threshold: 0 -> 2",
            ], done  # fmt: skip
            assert node.get("/lb/config") == done["config"] and node.state()["max_load"] == 7
            # Nothing changes by what is so already.
            assert node.post("/lb/config", wanted)["changes"] == []
            done = node.ask("PUT", "/lb/config", {"policy": "gorgo"}).json()
            assert done["changes"] == ["policy: least-load -> gorgo"], done


def a_configuration_with_something_wrong_changes_nothing() -> None:
    engine = Engine()
    with started(engine):
        node = Node(engine=engine.url)
        with started(node):
            before = node.get("/lb/config")
            sound = {"max_concurrent": 3}
            for wrong, code in (
                ({"max_load": 3}, "unknown_key"),
                ({"queue_timeout": "1s"}, "unknown_key"),
                ({"max_concurrent": 0}, "range"),
                ({"max_concurrent": 10_000_000}, "range"),
                ({"running_threshold": -1}, "range"),
                ({"ms_per_token": -1}, "range"),
                ({"running_cost_factor": 1e9}, "range"),
                ({"policy": "gorg"}, "refused"),
                ({"max_concurrent": "many"}, "invalid_body"),
                ({"queue_enabled": 1}, "invalid_body"),
            ):
                _refused(node, "POST", "/lb/config", 400, code, {**sound, **wrong})
            for body in (b"", b"[]", b"{", b"3"):
                _refused(node, "POST", "/lb/config", 400, "invalid_body", body)
            assert node.get("/lb/config") == before


def the_strategy_is_changed_by_any_of_its_names() -> None:
    engine = Engine()
    with started(engine):
        node = Node(engine=engine.url)
        with started(node):
            shown = node.get("/lb/policy")
            assert shown["current"] == "gorgo" and {"gorgo", "prefix-tree", "least-load"} <= set(shown["available"])
            done = node.post("/lb/policy", {"policy": "least-loaded"})
            assert (done["old_policy"], done["new_policy"]) == ("gorgo", "least-load"), done
            assert node.post("/lb/policy", b"prefix_tree")["new_policy"] == "prefix-tree"
            _refused(node, "POST", "/lb/policy", 400, "refused", {"policy": "gorg"})
            _refused(node, "GET", "/lb/policy?set=gorgo", 405, "method")
            assert node.get("/lb/policy")["current"] == "prefix-tree"


def peers_come_and_go() -> None:
    engine = Engine()
    with started(engine), FakePeer() as first, FakePeer() as second:
        node = Node(engine=engine.url)
        with started(node):
            answer = node.ask("POST", "/lb/peers", {"ip": "127.0.0.1", "port": first.port})
            name = f"127.0.0.1:{first.port}"
            assert answer.status == 201, answer
            wanted = {"status": "added", "id": name, "message": "", "peers": 1}
            assert {**answer.json(), "message": ""} == wanted, answer
            answer = node.ask("POST", "/lb/peers", {"id": "again", "url": first.url})
            assert answer.status == 200 and answer.json()["status"] == "exists" and answer.json()["id"] == name, answer
            node.add("second", second.url)
            assert node.state()["peer_count"] == 2
            for name in (name, "second"):
                node.until_peer(name, available=True)
            # By address, and by name.
            answer = node.ask("DELETE", "/lb/peers", {"ip": "127.0.0.1", "port": first.port})
            assert answer.status == 200 and answer.json()["status"] == "removed" and answer.json()["peers"] == 1, answer
            assert node.ask("DELETE", "/lb/peers?id=second").json()["peers"] == 0
            # Nobody asks those that are gone; what was under way when they went may still come.
            for peer in (first, second):

                def is_let_go() -> bool:
                    before = peer.asked
                    return not peer.over.wait(0.3) and peer.asked == before

                until("it is let go", is_let_go)
            for path, body in (
                ("/lb/peers?id=second", b""),
                ("/lb/peers?id=local", b""),
                ("/lb/peers", {"url": second.url}),
                ("/lb/peers", {"url": engine.url}),
            ):
                _refused(node, "DELETE", path, 404, "unknown_peer", body)
            for body, code in (
                ({"url": "ftp://x"}, "server"),
                ({"ip": "127.0.0.1", "port": 70_000}, "port"),
                ({"ip": "127.0.0.1"}, "port"),
                ({}, "server"),
                (b"{", "invalid_body"),
                ({"url": engine.url}, "refused"),
                ({"id": "local", "url": second.url}, "refused"),
                ({"id": "two words", "url": second.url}, "refused"),
            ):
                _refused(node, "POST", "/lb/peers", 400, code, body)
            assert node.get("/lb/peers") == {"count": 0, "peers": []}
            assert node.chat("still here").status == 200


def without_a_mesh_key_no_peer_is_added() -> None:
    engine = Engine()
    with started(engine), FakePeer() as peer:
        node = Node(engine=engine.url, environment={"GOTONI_MESH_KEY": ""})
        with started(node):
            answer = node.ask("POST", "/lb/peers", {"url": peer.url})
            answer.problem(400, "refused")
            assert "GOTONI_MESH_KEY" in answer.text and node.state()["peer_count"] == 0 and not peer.seen, answer


def tokens_of_a_text_are_estimated() -> None:
    engine = Engine()
    with started(engine):
        node = Node(engine=engine.url)
        with started(node):
            for text in ("", "four", "five!", "Käse", "x" * 1000):
                size = len(text.encode())
                document = node.post("/lb/tokenizer", {"text": text})
                tokens = -(-size // 4)
                wanted = {"text": text, "token_count": tokens, "char_count": size, "fallback_estimate": tokens}
                assert document["success"] and document["results"] == [wanted], document
            assert node.get("/lb/tokenizer?text=what+is%20it%3F")["results"][0]["text"] == "what is it?"
            _refused(node, "GET", "/lb/tokenizer", 400, "text")
            _refused(node, "POST", "/lb/tokenizer", 400, "invalid_body", {"texts": "x"})


def a_cleared_cache_is_forgotten() -> None:
    engine = Engine()
    with started(engine):
        node = Node(engine=engine.url)
        with started(node):
            assert node.chat("a prompt of some length " * 40).status == 200
            assert node.get("/proxy/prefix/stats")["nodes"] > 0
            done = node.post("/lb/cache/clear")
            assert set(done) == {"success", "strategy", "nodes_cleared", "message"}, done
            assert done["success"] and done["strategy"] == "gorgo" and done["nodes_cleared"] > 0, done
            assert node.post("/lb/cache/clear")["nodes_cleared"] == 0


def a_trace_is_started_once_and_stopped_once() -> None:
    engine = Engine()
    with started(engine):
        node = Node(engine=engine.url, name="here")
        with started(node):
            _refused(node, "POST", "/lb/trace/stop", 400, "no_trace")
            idle = node.get("/lb/trace/status")
            assert set(idle) == {
                "active", "node_id", "session_id", "duration_ms", "clock_us", "request_count", "start_time"
            }, idle  # fmt: skip
            assert idle["active"] is False and idle["node_id"] == "here" and idle["session_id"] is None, idle
            begun = node.post("/lb/trace/start")
            assert set(begun) == {"status", "session_id", "node_id", "capacity", "hint"}, begun
            assert begun["status"] == "started" and begun["session_id"].startswith("here-"), begun
            _refused(node, "POST", "/lb/trace/start", 409, "trace_active")
            assert node.chat("traced").status == 200
            running = until("it is counted", lambda: (now := node.get("/lb/trace/status"))["request_count"] and now)
            assert running["active"] and running["request_count"] == 1, running
            assert running["session_id"] == begun["session_id"] and running["duration_ms"] >= 0, running
            answer = node.ask("POST", "/lb/trace/stop")
            assert answer.status == 200 and "attachment" in (answer.field("content-disposition") or ""), answer
            trace = json.loads(answer.text)
            assert trace["otherData"]["requests"] == 1 and trace["otherData"]["node_id"] == "here", trace["otherData"]
            _refused(node, "POST", "/lb/trace/stop", 400, "no_trace")
            # The next one begins empty.
            node.post("/lb/trace/start")
            assert node.post("/lb/trace/stop")["otherData"]["requests"] == 0


def what_changes_something_wants_its_method() -> None:
    engine = Engine()
    with started(engine):
        node = Node(engine=engine.url)
        with started(node):
            for path in ("/lb/cache/clear", "/lb/trace/start", "/lb/trace/stop"):
                for method in ("GET", "HEAD", "PUT", "DELETE"):
                    answer = node.ask(method, path)
                    assert answer.status == 405 and answer.field("allow") == "POST", (method, path, answer)
            for method, path in (
                ("POST", "/lb/status"), ("POST", "/lb/metrics"), ("DELETE", "/lb/config"), ("PATCH", "/lb/config"),
                ("PUT", "/lb/peers"), ("POST", "/lb/health"), ("POST", "/lb/trace/status"), ("DELETE", "/lb/policy"),
            ):  # fmt: skip
                _refused(node, method, path, 405, "method", b"{}")
            assert node.get("/lb/trace/status")["active"] is False
            for path in ("/lb", "/lb/", "/lb/nothing", "/lb/peers/x", "/lb/status/"):
                _refused(node, "GET", path, 404, "unknown_endpoint")
            assert engine.served() == 0


def a_node_without_its_engine_says_so() -> None:
    with nobody() as url:
        node = Node(engine=url, ready=False)
        with started(node):
            node.ask("GET", "/lb/health").problem(503, "unhealthy")
            state = node.state()
            assert state["healthy"] is False and state["running"] is True, state
            assert node.get("/lb/metrics")["local"]["healthy"] is False


def the_proxy_has_no_endpoints_of_a_node_and_sends_its_fields_to_no_engine() -> None:
    if not nodes.PROXY:
        return
    with Recorder(lambda _: OK) as server:
        proxy = Proxy(servers=[f"a=http://127.0.0.1:{server.port}"])
        with started(proxy):
            for path in ("/lb/status", "/lb/peers", "/lb/trace/start"):
                proxy.ask("GET", path).problem(404, "unknown_endpoint")
            assert ask(proxy.port, "GET", "/lb/peer").status in (401, 404)
            assert proxy.chat("x", headers=dict.fromkeys(nodes.FIELDS, "1")).status == 200
            assert len(server.seen) == 1 and b"x-lb-" not in server.seen[0].raw.lower(), server.seen
