"""The world: three engines that pretend to be far away, and the proxy in front of them, all on this machine.

Programs listen where the system finds room and say so in their first lines. Only what was started here is ever ended.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import dataclasses
import json
import pathlib
import selectors
import signal
import subprocess
import time
from typing import Iterator, Sequence

import control

START_S = 20.0
STOP_S = 8.0
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class WorldError(Exception):
    """One sentence about why there is no world."""


@dataclasses.dataclass(frozen=True)
class Region:
    name: str
    rtt_ms: float


# From a proxy in us-east to servers there, in eu-west and in ap-north: the round trips of the GORGO paper.
NAMES = ("use", "euw", "apn")
RTT_MS = (37.0, 279.0, 456.0)
# 0.094 ms of prefill a token, from the same paper, and the proxy is told so, as by an operator who has measured it. All
# else about the proxy is as it comes.
ENGINE = "a100"
MS_PER_TOKEN = 0.094
UPLOAD_MBPS = 100.0


class Program:
    """A program, and the lines it begins with."""

    def __init__(self, name: str, command: Sequence[object], log: pathlib.Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as errors:
            try:
                self.process = subprocess.Popen(
                    [str(word) for word in command],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,  # Ctrl-C is ours: we end them in order
                    preexec_fn=die_with_parent,
                )
            except OSError as error:
                raise WorldError(f"{name}: {error}") from error

    def line(self) -> str:
        """The next line of its output."""
        assert self.process.stdout is not None
        found = bytearray()
        deadline = time.monotonic() + START_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not found.endswith(b"\n"):
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise WorldError(f"{self.name} said nothing for {START_S:.0f} s")
                piece = self.process.stdout.raw.read(1)  # type: ignore[attr-defined]
                if not piece:
                    raise WorldError(f"{self.name} ended with status {self.process.wait()}:\n{self.last_words()}")
                found += piece
        return found.decode(errors="replace").strip()

    def check(self) -> None:
        if self.process.poll() is not None:
            raise WorldError(f"{self.name} ended with status {self.process.returncode}:\n{self.last_words()}")

    def last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


def die_with_parent() -> None:
    """Even if the demo is killed nothing stays behind."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclasses.dataclass
class World:
    programs: list[Program]
    regions: tuple[Region, ...]
    engines: dict[str, str]  # region and URL
    host: str
    port: int
    proxy: control.Proxy

    @property
    def dashboard(self) -> str:
        return f"{self.proxy.url}/dashboard"

    def check(self) -> None:
        for program in self.programs:
            program.check()

    def flush(self) -> None:
        """No cache knows anything any more, neither the engines' nor the router's idea of them."""
        # At one time: each knows its distance here too.
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for _ in pool.map(control.post, [f"{url}/flush_cache" for url in self.engines.values()]):
                pass
        self.proxy.clear_cache()

    def settle(self) -> None:
        """Until every server has been measured and is known to be idle, so that no policy inherits another's load."""
        deadline = time.monotonic() + START_S
        while True:
            status = self.proxy.status()
            if status["under_way"] == 0 and all(is_idle(server) for server in status["servers"]):
                return
            self.check()
            if time.monotonic() > deadline:
                states = ", ".join(f"{server['id']} is {server['state']}" for server in status["servers"])
                raise WorldError(f"the servers did not come to rest within {START_S:.0f} s: {states}")
            time.sleep(0.1)


def is_idle(server: dict[str, object]) -> bool:
    latency = server["latency"]
    assert isinstance(latency, dict)
    is_measured = server["state"] == "up" and latency["avg_ms"] is not None
    return is_measured and server["running_reqs"] == 0 and server["waiting_reqs"] == 0


@contextlib.contextmanager
def running(
    engine: pathlib.Path, proxy: pathlib.Path, port: int, regions: tuple[Region, ...], logs: pathlib.Path
) -> Iterator[World]:
    """The world until the block is left, whichever way."""
    programs: list[Program] = []

    def start(name: str, *command: object) -> Program:
        programs.append(Program(name, command, logs / f"{name}.log"))
        return programs[-1]

    try:
        engines = {}
        for region in regions:
            start(
                region.name, engine, "--listen", "127.0.0.1:0", "--name", region.name, "--model", ENGINE,
                "--rtt-ms", region.rtt_ms, "--upload-mbps", UPLOAD_MBPS, "--json",
            )  # fmt: skip
        for region, program in zip(regions, programs):
            engines[region.name] = str(json.loads(program.line())["url"])
        servers = [word for name, url in engines.items() for word in ("--server", f"{name}={url}")]
        # One event loop is plenty here, and all requests then share the connections to an engine: with more, the first
        # request on each loop would pay for a new one.
        program = start(
            "gotoni-proxy", proxy, "--listen", f"127.0.0.1:{port}", "--admin-listen", "127.0.0.1:0", *servers,
            "--ms-per-token", MS_PER_TOKEN, "--threads", 1, "--request-log-size", 10_000,
            "--log-level", "warning",
        )  # fmt: skip
        data = address_of(program.line())
        admin = address_of(program.line())
        yield World(programs, regions, engines, data[0], data[1], control.Proxy(f"http://{admin[0]}:{admin[1]}"))
    finally:
        for program in reversed(programs):
            program.stop()


def address_of(line: str) -> tuple[str, int]:
    """Of a line like `gotoni-proxy listening on http://127.0.0.1:8000`."""
    host, found, port = line.rpartition("http://")[2].rpartition(":")
    if not found or not port.isdigit():
        raise WorldError(f"this is not an address: {line}")
    return host, int(port)
