"""Stands in for gotoni-proxy: serves the page and answers proxy/status and proxy/explain from fixtures.

Each scenario lives under a folder of its own (/world/dashboard, /world/proxy/status), as the page's addresses are
relative. To look at the page by hand: python3 mock.py 8080, then http://127.0.0.1:8080/world/dashboard
"""
from __future__ import annotations

import copy
import json
import math
import sys
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "Sources/GotoniGateway/Control/dashboard.html"
TOKEN = "correct-horse.battery/staple+1="
# What the proxy should send with the page: nothing from elsewhere, nothing framed.
POLICY = ("default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
          "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")


def fixture(name: str) -> Any:
    return json.loads((HERE / "fixtures" / f"{name}.json").read_text())


class Scenario:
    """One world. `mode` is what a test sets: ok, gone (connections close unanswered), error (500), text (no JSON)."""

    def __init__(self, name: str, base: str | None = None, token: str | None = None, mode: str = "ok") -> None:
        self.name, self.token, self.mode = name, token, mode
        self.status, self.explain = fixture(f"{base or name}-status"), fixture(f"{base or name}-explain")
        self.moving = (base or name) == "world"
        self.polls = 0
        self.explain_works = True
        self.seen: list[str | None] = []

    def answer(self, path: str) -> Any:
        if path == "status":
            self.polls += 1
            return self.status_now() if self.moving else self.status
        return self.explain_now() if self.moving else self.explain

    def status_now(self) -> Any:
        """The fixture, one second later with each poll: loads come and go, round trips wobble."""
        now, n = copy.deepcopy(self.status), self.polls
        wave = math.sin(n / 9)
        now["uptime_seconds"] += n
        for total in ("total_handled", "total_forwarded"):
            now[total] += 12 * n
        now["requests_per_second"] = round(12.3 + 4 * wave + 1.5 * math.sin(n * 1.7), 2)
        now["queue_size"] = max(0, round(2 + 3 * math.sin(n / 5)))
        now["queue_oldest_ms"] = 184.0 + n % 7 if now["queue_size"] else None
        for name, spread in (("p50", 18), ("p95", 60), ("p99", 150)):
            now["ttft_ms"][name] = round(now["ttft_ms"][name] + spread * wave + spread / 3 * math.sin(n * 2.3), 1)
        for index, server in enumerate(now["servers"]):
            latency, own = server["latency"], server["own"]
            if latency["current_ms"] is not None and n > 1:
                latency["current_ms"] = round(latency["current_ms"] * (1 + 0.01 * math.sin(n * 1.3 + index)), 2)
            if own and server["state"] != "ejected":
                own["running_requests"] = min(server["limit"] - own["queued_requests"], (n + 2 * index) // 2 % 4 + 2)
                server["proxy_tracked_running"] = own["queued_requests"] + own["running_requests"]
                server["requests"] += 5 * n
        return now

    def explain_now(self) -> Any:
        """A new decision with each poll; the last twenty."""
        shapes, start = self.explain["decisions"], datetime(2026, 11, 21, 11, 20, tzinfo=timezone.utc)
        decisions = []
        for serial in range(self.polls + 12, max(-1, self.polls - 8), -1):
            decision = copy.deepcopy(shapes[serial * 5 % len(shapes)])
            decision["request_id"] = f"0af7651916cd43dd-{serial:06d}"
            if decision["first_token_ms"]:   # no prompt and no answer is like the other
                longer = 1.6 ** math.sin(serial * 3.3)
                decision["predicted_first_token_ms"] = round(decision["predicted_first_token_ms"] * longer, 1)
                decision["first_token_ms"] = round(decision["first_token_ms"] * longer * 1.3 ** math.sin(serial * 7.1), 1)
            decision["time"] = (start + timedelta(seconds=serial, milliseconds=123)).isoformat().replace("+00:00", "Z")
            decisions.append(decision)
        return {"decisions": decisions}


def many_servers() -> Scenario:
    """Forty servers, some of one name, and twenty candidates a decision."""
    scenario = Scenario("many", "world")
    scenario.moving = False
    base = scenario.status["servers"]
    scenario.status["servers"] = [{**copy.deepcopy(base[i % 4]), "id": f"node-{i % 36:02d}",
                                   "latency": {"current_ms": 0.4 + (i * 37 % 41) ** 1.6}} for i in range(40)]
    for decision in scenario.explain["decisions"]:
        decision["candidates"] = [{**copy.deepcopy(decision["candidates"][i % 4]), "server": f"node-{i:02d}"} for i in range(20)]
        decision["chosen"] = "node-03"
    return scenario


def whole_answers() -> Scenario:
    """Requests, but no answer streams: nothing is seen of first tokens."""
    scenario = Scenario("whole", "world")
    scenario.moving = False
    for decision in scenario.explain["decisions"]:
        decision["first_token_ms"] = None
    return scenario


def sharing() -> Scenario:
    """One of three proxies that share: with each poll it has told 12 prompts more, and heard 30."""

    class Sharing(Scenario):
        def status_now(self) -> Any:
            now, n = super().status_now(), self.polls
            now["sharing"] = {
                "group": "east", "proxy": "9f1c", "trouble": None, "siblings": 2, "messages_behind": 3, "gaps": 1, "unreadable": 2,
                "dropped": 4, "prompts_lost": 5, "prompts_told": 100 + 12 * n, "prompts_heard": 100 + 30 * n, **self.status.get("sharing", {}),
            }
            return now

    return Sharing("sharing", "world")


def scenarios() -> dict[str, Scenario]:
    quiet = Scenario("quiet", "world")   # as the fixture says, poll after poll: figures can be compared
    quiet.moving = False
    found = [Scenario("world"), quiet, Scenario("empty"), Scenario("hostile"), Scenario("odd"), many_servers(),
             Scenario("guarded", "world", token=TOKEN), Scenario("leaving", "world"), Scenario("long", "world"),
             Scenario("never", "world", mode="gone"), whole_answers(), sharing()]
    return {scenario.name: scenario for scenario in found}


class Mock:
    """Listens on a free port of the loopback; `with` stops it."""

    def __init__(self, port: int = 0) -> None:
        self.scenarios = worlds = scenarios()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                folder, _, path = self.path.lstrip("/").partition("/")
                path = path.partition("?")[0]
                scenario = worlds.get(folder)
                if scenario and path == "dashboard":
                    return self.send(200, PAGE.read_bytes(), "text/html; charset=utf-8", {"Content-Security-Policy": POLICY})
                if scenario is None or path not in ("proxy/status", "proxy/explain"):
                    return self.send(404, b"{}", "application/json")
                self.reply(scenario, path.removeprefix("proxy/"))

            def reply(self, scenario: Scenario, path: str) -> None:
                scenario.seen.append(self.headers["Authorization"])
                if scenario.mode == "gone":
                    self.close_connection = True
                    self.connection.close()
                elif scenario.mode == "error" or (path == "explain" and not scenario.explain_works):
                    self.send(500, b'{"error":"no"}', "application/json")
                elif scenario.mode == "text":
                    self.send(200, b"<html>hello</html>", "text/html")
                elif scenario.token and self.headers["Authorization"] != f"Bearer {scenario.token}":
                    self.send(401, b'{"error":"unauthorized"}', "application/json", {"WWW-Authenticate": "Bearer"})
                else:
                    self.send(200, json.dumps(scenario.answer(path)).encode(), "application/json")

            def send(self, code: int, body: bytes, kind: str, more: dict[str, str] | None = None) -> None:
                self.send_response(code)
                for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store",
                                    "X-Content-Type-Options": "nosniff", **(more or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def handle(self) -> None:
                try:
                    super().handle()
                except (OSError, ValueError):
                    pass  # the browser left, or `gone` closed the connection

            def finish(self) -> None:
                try:
                    super().finish()
                except (OSError, ValueError):
                    pass

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def shutdown_request(self, request: Any) -> None:
                try:
                    super().shutdown_request(request)
                except OSError:
                    pass

        self.server = Server(("127.0.0.1", port), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Mock:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


if __name__ == "__main__":
    with Mock(int(sys.argv[1]) if len(sys.argv) > 1 else 0) as mock:
        print(*(f"{mock.origin}/{name}/dashboard" for name in mock.scenarios), sep="\n", flush=True)
        threading.Event().wait()
