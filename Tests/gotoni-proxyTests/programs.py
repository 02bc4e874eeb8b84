"""Gateways and engines under test. Only what was started here is ever ended, by its process id."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from wire import LIMIT_S, Answer, ask

PROXY = ""
ENGINE = ""
# For whoever waits for something that has no sound of its own.
PAUSE_S = 0.005


def until(what: str, holds: Callable[[], Any], limit: float = LIMIT_S) -> Any:
    """Asks until it holds, and gives what it was then."""
    end = time.monotonic() + limit
    while not (value := holds()):
        assert time.monotonic() < end, f"{what}: not within {limit} s"
        time.sleep(PAUSE_S)
    return value


class Program:
    """A process whose first line of output names its address."""

    def __init__(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        self.log = pathlib.Path(tempfile.mkstemp(suffix=".log")[1])
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env={**os.environ, **(environment or {})}
            )
        self.output = b""
        self.was_killed = False
        self.line = self.next_line()
        port = self.line.rsplit(":", 1)[1]
        # A Unix socket has none.
        self.port = int(port) if port.isdigit() else 0
        self.pid = self.process.pid

    def next_line(self) -> str:
        """The next line of its output. Not with readline: what that reads ahead is hidden from select."""
        assert self.process.stdout
        end = time.monotonic() + LIMIT_S
        while b"\n" not in self.output:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            data = os.read(self.process.stdout.fileno(), 4096) if ready else b""
            if not data:
                self.kill()
                raise AssertionError(f"it does not start: {self.words()}")
            self.output += data
        line, _, self.output = self.output.partition(b"\n")
        return line.decode().strip()

    def words(self) -> str:
        return self.log.read_text(errors="replace")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, limit: float = LIMIT_S) -> int:
        return self.process.wait(limit)

    def is_running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """At once, as a machine that fails."""
        self.was_killed = self.was_killed or self.process.poll() is None
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


class Engine(Program):
    """A simulated engine: fast, if nothing else is said."""

    def __init__(self, *options: str, port: int = 0, host: str = "127.0.0.1") -> None:
        defaults = [] if "--speed" in options else ["--speed", "20"]
        super().__init__([ENGINE, "--listen", f"{host}:{port}", *defaults, *options])
        self.url = f"http://{host}:{self.port}"

    def fault(self, **order: Any) -> None:
        answer = ask(self.port, "POST", "/fault", order)
        assert answer.status == 200, (order, answer)

    def metric(self, name: str) -> float:
        return metrics(ask(self.port, "GET", "/metrics").text)[f"sglang:{name}"]

    def served(self) -> int:
        """Requests that generate, answered in full or given up."""
        return int(self.metric("num_requests_total") + self.metric("num_aborted_requests_total"))


class Gateway(Program):
    """A program that serves requests at other servers, asked as its clients and its operators do."""

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        return ask(self.port, method, path, body, headers)

    def get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        answer = self.ask("GET", path, headers=headers)
        assert answer.status == 200, (path, answer)
        return json.loads(answer.text)

    def post(self, path: str, body: Any = None) -> Any:
        answer = self.ask("POST", path, body if body is not None else b"")
        assert answer.status in (200, 201), (path, answer)
        return json.loads(answer.text)

    def status(self) -> dict[str, Any]:
        return self.get("/proxy/status")

    def server(self, name: str) -> dict[str, Any]:
        return next(server for server in self.status()["servers"] if server["id"] == name)

    def metric(self, name: str) -> float:
        return metrics(self.ask("GET", "/metrics").text)[name]

    def until_up(self, count: int, limit: float = LIMIT_S) -> None:
        until(f"{count} servers up", lambda: self.ask("GET", "/health").text.startswith(f"healthy: {count}/"), limit)

    def chat(self, content: str, tokens: int = 4, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        return self.ask("POST", "/v1/chat/completions", chat(content, tokens, **more), headers)

    def records(self) -> list[dict[str, Any]]:
        """The request log; a request is there once the answer is out, which the client may know first."""
        return [json.loads(line) for line in self.ask("GET", "/proxy/metrics/export?format=jsonl").text.splitlines()]

    def record(self, request_id: str) -> dict[str, Any]:
        found = until(
            f"a record of {request_id}",
            lambda: [record for record in self.records() if record["request_id"] == request_id],
        )
        assert len(found) == 1, found
        return found[0]

    def is_quiet(self) -> bool:
        status = self.status()
        ends = sum(status[f"total_{end}"] for end in ("forwarded", "rejected", "failed", "cancelled"))
        return (
            status["open_tickets"] == status["under_way"] == status["queue_size"] == 0
            and all(server["proxy_tracked_running"] == 0 for server in status["servers"])
            and status["total_handled"] == ends
        )

    def until_quiet(self, limit: float = LIMIT_S) -> None:
        try:
            until("nothing under way and the account even", self.is_quiet, limit)
        except AssertionError as error:
            kept = ("open_tickets", "under_way", "queue_size")
            figures = {key: value for key, value in self.status().items() if key.startswith("total_") or key in kept}
            raise AssertionError(f"{error}: {figures}") from None

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()


class Proxy(Gateway):
    """A proxy that looks at its servers more often than the default, so that checks are short."""

    DEFAULTS = {"--probe-interval": "50ms", "--metrics-interval": "50ms", "--log-level": "info", "--threads": "2"}

    def __init__(
        self,
        *options: str,
        servers: list[str] | None = None,
        environment: dict[str, str] | None = None,
        listen: str = "127.0.0.1:0",
        ready: bool = True,
    ) -> None:
        defaults = [word for name, value in self.DEFAULTS.items() if name not in options for word in (name, value)]
        named = [word for server in servers or [] for word in ("--server", server)]
        super().__init__([PROXY, "--listen", listen, *named, *defaults, *options], environment)
        self.url = self.line.split()[-1]
        if ready and servers:
            self.until_up(len(servers))


def chat(content: str, tokens: int = 4, **more: Any) -> dict[str, Any]:
    return {"model": "simulated", "max_tokens": tokens, "messages": [{"role": "user", "content": content}], **more}


def metrics(text: str) -> dict[str, float]:
    """By the name with its labels, but for the engine's own four. Every line must be one."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert line.split()[1] in ("HELP", "TYPE"), line
            continue
        name, value = line.rsplit(" ", 1)
        if name.startswith("sglang:"):
            name = name.split("{")[0] if "le=" not in name else name
        assert name not in found or name.startswith("sglang:"), f"{name} twice"
        found[name] = float(value)
    return found


def run(*options: str, environment: dict[str, str] | None = None, program: str = "") -> tuple[int, str]:
    """Status and words of a proxy, or another program, that ends by itself."""
    command = [program or PROXY, *options]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_S, env={**os.environ, **(environment or {})}
    )
    return done.returncode, done.stdout + done.stderr


@contextlib.contextmanager
def started(*programs: Program) -> Iterator[None]:
    """Ends them, whatever happens; a gateway that was not ended by the check must end well."""
    try:
        yield
    except BaseException:
        for program in programs:
            if isinstance(program, Gateway):
                print(f"last words of the gateway at {program.port}: {program.words()[-2000:]}")
        raise
    finally:
        ends = [None if program.was_killed else program.process.poll() for program in programs]
        for program in programs:
            program.kill()
    # A trap ends with a signal; what the check ended by itself is not among these.
    crashed = [
        program.words()
        for program, end in zip(programs, ends)
        if isinstance(program, Gateway) and end is not None and end < 0
    ]
    assert not crashed, f"it crashed: {crashed}"


_shared: tuple[Proxy, list[Engine]] | None = None


def shared() -> tuple[Proxy, list[Engine]]:
    """Three engines and a proxy, for checks that change nothing that others would notice."""
    global _shared
    if _shared is None:
        engines = [Engine("--name", name, "--kv-tokens", "1000000", "--seed", "1") for name in "abc"]
        proxy = Proxy(servers=[f"{name}={engine.url}" for name, engine in zip("abc", engines)])
        _shared = (proxy, engines)
    return _shared


def end_shared() -> None:
    if _shared:
        for program in (_shared[0], *_shared[1]):
            program.kill()


def fresh_text(size: int, counter: Iterator[int] = iter(range(1, 1 << 30))) -> str:
    """Text that no engine has seen, of `size` bytes."""
    return (f"{next(counter):08d} " + "what is it that all of them have seen before? " * (size // 46 + 1))[:size]
