"""Policies are set, caches emptied, statuses checked, on real programs: python3 -m pytest benchmark/sweep"""

from __future__ import annotations

import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
from typing import Callable

import pytest

from conftest import chat, eventually
from control import BenchError, Control
from engines import Engine
from targets import Router, Target

SWEEP = pathlib.Path(__file__).parent / "sweep.py"
PROMPT = "A prompt that is long enough to fill some pages of a prefix cache. " * 20
KEY = "0123456789abcdef0123456789abcdef"
Start = Callable[..., str]


def counted(engine: Engine) -> float:
    counters = engine.counters()
    assert counters is not None
    return counters["requests"]


def through_proxy(start: Start) -> tuple[Target, str]:
    engine = start("gotoni-engine", "--quiet")
    proxy = start("gotoni-proxy", "--server", engine, "--policy", "random")
    control = Control()
    return Target(proxy, [Router(proxy, "proxy", control)], [Engine(engine, control)]), engine


def test_a_prepared_proxy_has_the_policy_and_nobody_remembers_the_prompt(start: Start) -> None:
    target, _ = through_proxy(start)
    assert chat(target.entry, PROMPT) == 0
    assert chat(target.entry, PROMPT) > 0
    target.prepare("prefix-tree")
    assert Control().json("GET", f"{target.entry}/proxy/policy")["current"] == "prefix-tree"
    assert Control().json("GET", f"{target.entry}/proxy/metrics/summary")["count"] == 0
    assert Control().json("GET", f"{target.entry}/proxy/prefix/stats")["held_tokens"] == 0
    assert chat(target.entry, PROMPT) == 0


def test_kept_engine_caches_are_kept(start: Start) -> None:
    target, _ = through_proxy(start)
    chat(target.entry, PROMPT)
    kept = Target(target.entry, target.routers, target.engines, keep_engine_caches=True)
    kept.check(["gorgo"])
    kept.prepare("gorgo")
    assert chat(target.entry, PROMPT) > 0


def test_every_node_gets_the_policy(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOTONI_MESH_KEY", KEY)
    control = Control()
    engines = [start("gotoni-engine", "--quiet") for _ in range(2)]
    nodes = [start("gotoni-lb", "--engine", engine) for engine in engines]
    target = Target(
        nodes[0], [Router(node, "lb", control) for node in nodes], [Engine(each, control) for each in engines]
    )
    target.check(["least-load"])
    target.prepare("least-load")
    assert [control.json("GET", f"{node}/lb/policy")["current"] for node in nodes] == ["least-load"] * 2


def test_a_policy_that_a_router_lacks_is_an_error_before_anything_changes(start: Start) -> None:
    target, _ = through_proxy(start)
    with pytest.raises(BenchError, match="no policy gorgon"):
        target.check(["gorgo", "gorgon"])
    assert Control().json("GET", f"{target.entry}/proxy/policy")["current"] == "random"


def test_a_router_of_the_other_kind_is_an_error(start: Start) -> None:
    target, _ = through_proxy(start)
    with pytest.raises(BenchError, match="404"):
        Router(target.entry, "lb", Control()).policies()


def test_a_flush_that_fails_is_an_error_that_names_the_call(start: Start) -> None:
    target, engine = through_proxy(start)
    Control().json("POST", f"{engine}/fault", {"status": 503, "path": "/flush_cache"})
    with pytest.raises(BenchError, match=r"POST .*/flush_cache was answered 503"):
        target.prepare("gorgo")


class VLLM(http.server.BaseHTTPRequestHandler):
    """What vLLM says on the wire, which does not run here; what its `/reset_prefix_cache` answers is its path's."""

    def do_GET(self) -> None:
        self.say(200, b"vllm:num_requests_running 0\nvllm:num_requests_waiting 0\n")

    def do_POST(self) -> None:
        answers = {"/did": (200, b'{"success": true}'), "/did-not": (200, b'{"success": false}'), "/old": (200, b"")}
        self.say(*answers.get(self.path.removesuffix("/reset_prefix_cache"), (404, b'{"detail": "Not Found"}')))

    def say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


def test_a_vllm_that_did_not_empty_its_cache_is_an_error() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), VLLM) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            at = f"http://127.0.0.1:{server.server_port}"
            Engine(f"{at}/did", Control()).flush()
            Engine(f"{at}/old", Control()).flush()
            with pytest.raises(BenchError, match="was not emptied"):
                Engine(f"{at}/did-not", Control()).flush()
            with pytest.raises(BenchError, match="404.*VLLM_SERVER_DEV_MODE=1"):
                Engine(at, Control()).flush()
        finally:
            server.shutdown()


def test_an_engine_of_an_unknown_kind_can_only_be_kept(start: Start) -> None:
    """A proxy has metrics, but none that an engine has."""
    target, engine = through_proxy(start)
    stranger = Engine(target.entry, Control())
    with pytest.raises(BenchError, match="--keep-engine-caches"):
        stranger.flush()
    assert stranger.counters() is None


def test_counters_tell_what_was_found_cached(start: Start) -> None:
    target, _ = through_proxy(start)
    found = sum(chat(target.entry, PROMPT) for _ in range(3))
    eventually(lambda: counted(target.engines[0]) == 3)
    counters = target.engines[0].counters()
    assert counters is not None and counters["cached_tokens"] == found < counters["prompt_tokens"]


@pytest.fixture
def certificate(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=test", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "key.pem"), "-out", str(path)],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


def test_certificates_are_verified(start: Start, certificate: pathlib.Path) -> None:
    engine = start("gotoni-engine", "--quiet")
    key = certificate.with_name("key.pem")
    proxy = start(
        "gotoni-proxy", "--server", engine, "--tls-cert", str(certificate), "--tls-key", str(key),
        scheme="https", ca=certificate,
    )  # fmt: skip
    assert Router(proxy, "proxy", Control(certificate)).policies()
    with pytest.raises(BenchError, match="(?i)certificate"):
        Router(proxy, "proxy", Control()).policies()


def test_a_file_without_certificates_is_an_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing\n")
    with pytest.raises(BenchError, match="--ca"):
        Control(tmp_path / "ca.pem")


def test_the_admin_token_is_sent_and_its_absence_is_an_error(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = start("gotoni-engine", "--quiet")
    monkeypatch.setenv("GOTONI_ADMIN_TOKEN", "0123456789abcdef")
    proxy = start("gotoni-proxy", "--server", engine)
    assert Router(proxy, "proxy", Control(token="0123456789abcdef")).policies()
    with pytest.raises(BenchError, match="401"):
        Router(proxy, "proxy", Control()).policies()


def swept(*options: str) -> subprocess.CompletedProcess[str]:
    data = ("--synthetic", "prompt_tokens=64,output_tokens=4")
    command = [sys.executable, str(SWEEP), *options, *data, "--tokenizer", "nowhere"]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=os.environ)


def test_a_sweep_ends_at_a_flush_that_fails(start: Start, tmp_path: pathlib.Path) -> None:
    target, engine = through_proxy(start)
    Control().json("POST", f"{engine}/fault", {"status": 503, "path": "/flush_cache"})
    done = swept("--proxy", target.entry, "--out", str(tmp_path / "out"))
    assert done.returncode == 2 and "/flush_cache was answered 503" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "runs.jsonl").exists()
    assert not list((tmp_path / "out").glob("*/guidellm.log"))


def test_a_sweep_with_an_unknown_policy_changes_nothing(start: Start, tmp_path: pathlib.Path) -> None:
    target, _ = through_proxy(start)
    done = swept("--proxy", target.entry, "--policies", "gorgo,gorgon", "--out", str(tmp_path / "out"))
    assert done.returncode == 2 and "has no policy gorgon" in done.stderr
    assert Control().json("GET", f"{target.entry}/proxy/policy")["current"] == "random"
    assert not list(tmp_path.glob("out/*"))


def test_a_dry_run_asks_the_servers_and_changes_nothing(start: Start, tmp_path: pathlib.Path) -> None:
    target, _ = through_proxy(start)
    done = swept("--proxy", target.entry, "--profile", "all", "--dry-run", "--out", str(tmp_path / "out"))
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 5 * 3 + 1
    assert Control().json("GET", f"{target.entry}/proxy/policy")["current"] == "random"
    assert not (tmp_path / "out").exists()


def test_results_are_never_mixed_with_older_ones(start: Start, tmp_path: pathlib.Path) -> None:
    target, _ = through_proxy(start)
    (tmp_path / "runs.jsonl").write_text(json.dumps({}) + "\n")
    done = swept("--proxy", target.entry, "--out", str(tmp_path))
    assert done.returncode == 2 and "is not empty" in done.stderr
