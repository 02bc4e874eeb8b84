"""Three engines, what stands in front of them, and the distances: started for one run and ended after it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import re
import sys
import time
from typing import Any, Iterator

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "peers"))

from client import fetch  # noqa: E402
from outputs import check_writable  # noqa: E402
from processes import BenchError, Program, end_on_signals, free_ports, output_of  # noqa: E402
from statistics_of import median, percentile  # noqa: E402

# Of the peers' benchmark, for the rest of this one.
__all__ = ["BenchError", "check_writable", "end_on_signals", "median", "output_of", "percentile"]

RTT_MS = (37.0, 279.0, 456.0)
MS_PER_TOKEN = 0.094  # of --model a100, told to the cost as by an operator who has measured it
READY_S = 30.0
ANSWER_S = 5.0


@dataclasses.dataclass(frozen=True)
class Form:
    """A way to put routers in front of engines."""

    name: str
    policy: str
    at_nodes: bool = False
    options: tuple[str, ...] = ()
    peers: bool = True
    fresh_connections: bool = False


@dataclasses.dataclass
class World:
    entries: list[str]
    engines: list[int]
    fronts: list[int]
    programs: list[Program]
    form: Form

    def cpu_s(self) -> dict[str, float]:
        """By kind of program."""
        spent: dict[str, float] = {}
        for program in self.programs:
            kind = program.name.split()[0]
            spent[kind] = spent.get(kind, 0) + program.usage().cpu_s
        return spent

    def engine_counters(self) -> list[dict[str, float]]:
        return [counters(port) for port in self.engines]

    def forwarded(self) -> int:
        """Requests that the nodes passed on to a peer."""
        if not self.form.at_nodes:
            return 0
        sums = [get(port, "/lb/status")["aggregate"] for port in self.fronts]
        return sum(each["requests_forwarded"] + each["requests_queued_then_forwarded"] for each in sums)

    def queued(self) -> int:
        """Requests that waited at a balancer for a place."""
        return sum(get(port, "/proxy/status")["total_queued"] for port in self.fronts)


@contextlib.contextmanager
def world(form: Form, place: str, programs: pathlib.Path, python: str, logs: pathlib.Path) -> Iterator[World]:
    """`place`: regions (clients in three regions, each beside a node); else all clients are beside the proxy."""
    engines = free_ports(3)
    fronts = free_ports(3 if form.at_nodes else 1)
    relays: list[str] = []
    started: list[Program] = []

    def start(name: str, *command: object) -> None:
        started.append(Program(name, [str(word) for word in command], logs / f"{name.replace(' ', '-')}.log"))

    def distant(onward: int, rtt_ms: float) -> int:
        if rtt_ms == 0:
            return onward
        port = free_ports(1)[0]
        relays.append(f"{port}:{onward}:{rtt_ms:g}")
        return port

    try:
        for region, port in enumerate(engines):
            start(f"engine {region + 1}", programs / "gotoni-engine", "--listen", f"127.0.0.1:{port}", "--model", "a100",
                  "--seed", region, "--quiet")
        shared = ["--ms-per-token", MS_PER_TOKEN, "--threads", 1, "--log-level", "notice", *form.options]
        if form.at_nodes:
            for region, port in enumerate(fronts):
                peers: list[str] = []
                for other, peer in enumerate(fronts):
                    if other != region and form.peers:
                        # Nobody published the way between two regions: the larger of the two, as in the simulator.
                        way = distant(peer, max(RTT_MS[region], RTT_MS[other]))
                        peers += ["--peer", f"n{other + 1}=http://127.0.0.1:{way}"]
                start(f"front {region + 1}", programs / "gotoni-lb", "--listen", f"127.0.0.1:{port}", "--engine",
                      f"http://127.0.0.1:{engines[region]}", "--node-id", f"n{region + 1}", "--strategy", form.policy,
                      *peers, *shared)
            ways = [distant(port, 0 if place == "regions" else RTT_MS[region]) for region, port in enumerate(fronts)]
        else:
            servers: list[str] = []
            for region, port in enumerate(engines):
                servers += ["--server", f"e{region + 1}=http://127.0.0.1:{distant(port, RTT_MS[region])}"]
            start("front", programs / "gotoni-proxy", "--listen", f"127.0.0.1:{fronts[0]}", "--policy", form.policy,
                  *servers, *shared)
            ways = [distant(fronts[0], rtt if place == "regions" else 0) for rtt in RTT_MS]
        if relays:
            start("relay", python, HERE / "delay.py", *relays)
        made = World([f"http://127.0.0.1:{way}" for way in ways], engines, fronts, started, form)
        wait_until_ready(made)
        yield made
    finally:
        for program in reversed(started):
            program.stop()


def wait_until_ready(made: World) -> None:
    """Everybody is up, and every distance has been measured by who uses it."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        for program in made.programs:
            program.check()
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = [get(port, "/proxy/status")["servers"] for port in made.fronts]
            wanted = 3 if made.form.peers or not made.form.at_nodes else 1
            if all(len(servers) == wanted and all(is_known(each) for each in servers) for servers in known):
                time.sleep(2.5)  # a few probes more, over connections that are open
                return
        time.sleep(0.1)
    raise BenchError(f"{made.form.name}: not ready within {READY_S:.0f} s\n{made.programs[-1].last_words()}")


def is_known(server: dict[str, Any]) -> bool:
    return server["healthy"] and server["latency"]["min_ms"] is not None


def get(port: int, path: str) -> Any:
    return json.loads(fetch(f"http://127.0.0.1:{port}{path}", ANSWER_S))


def counters(port: int) -> dict[str, float]:
    """What an engine has done since it was started."""
    text = fetch(f"http://127.0.0.1:{port}/metrics", ANSWER_S).decode()

    def of(name: str) -> float:
        return sum(float(value) for value in re.findall(rf"^sglang:{name}{{[^}}]*}} (\S+)$", text, re.MULTILINE))

    return {
        "requests": of("num_requests_total"),
        "prompt_tokens": of("prompt_tokens_total"),
        "cached_tokens": of("cached_tokens_total"),
    }
