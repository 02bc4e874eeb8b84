"""Three engines in three namespaces, the distances to them, and one router in front: started for one run and ended after it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import re
import sys
import time
import urllib.request
from typing import Any, Callable, Iterator

import load  # finds the modules of the neighbours too
from contestants import Contestant
from processes import BenchError, Program, free_ports
from routers import Setting

HERE = pathlib.Path(__file__).resolve().parent
ENGINE = HERE.parent / "validity" / "engine.py"
ENGINE_PORT = 8000
READY_S = 60.0
SETTLE_S = 3.0  # after everybody is up: health checks and probes of a router that just started


@dataclasses.dataclass(frozen=True)
class Fleet:
    """What every run has alike."""

    model: pathlib.Path
    rtt_ms: tuple[float, ...]
    slots: int
    context: int


@dataclasses.dataclass(frozen=True)
class World:
    url: str
    engines: list[str]
    router: Program
    programs: list[Program]

    def check(self) -> None:
        for each in self.programs:
            each.check()

    def believed_capacity(self) -> list[int]:
        """Tokens that gotoni-proxy believes each engine to remember."""
        with urllib.request.urlopen(f"{self.url}/proxy/status", timeout=5) as answer:
            return [server["kv_capacity_tokens"] for server in json.load(answer)["servers"]]

    def decisions(self) -> list[dict[str, Any]]:
        """What gotoni-proxy predicted of each server when it decided, and what became of it; milliseconds."""
        with urllib.request.urlopen(f"{self.url}/proxy/metrics/export?format=jsonl", timeout=5) as answer:
            rows = [json.loads(line) for line in answer]
        end = "_predicted_ttft_ms"
        return [
            {
                "server": row["selected_server_id"],
                "ttft_ms": row["ttft_ms"],
                "predicted_ms": {name.removesuffix(end): row[name] for name in row if name.endswith(end)},
            }
            for row in rows
        ]


class Network:
    """A namespace for each engine, and the way to it. Lives as long as its programs."""

    def __init__(self, rtt_ms: tuple[float, ...], logs: pathlib.Path) -> None:
        self.programs: list[Program] = []
        self.hosts = [f"10.87.{number}.2" for number in range(1, len(rtt_ms) + 1)]
        try:
            for number in range(len(rtt_ms)):
                self.programs.append(Program(f"region {number + 1}", ["unshare", "--net", "--", "sleep", "infinity"],
                                             logs / f"region-{number + 1}.log"))
            wait_for_namespaces(self.programs)
            ways = [f"{region.process.pid}:{host[:-2]}:{rtt / 2:g}"
                    for region, host, rtt in zip(self.programs, self.hosts, rtt_ms, strict=True)]
            delayer = Program("delayer", [sys.executable, HERE / "delayer.py", *ways], logs / "delayer.log")
            self.regions, self.programs = self.programs, [*self.programs, delayer]
            until(lambda: "ready" in delayer.last_words(), delayer, "the distances")
        except BaseException:
            self.stop()
            raise

    def inside(self, region: int) -> list[str]:
        """What to put before a command that runs there."""
        return ["nsenter", f"--net=/proc/{self.regions[region].process.pid}/ns/net", "--"]

    def stop(self) -> None:
        for each in reversed(self.programs):
            each.stop()


@contextlib.contextmanager
def world(fleet: Fleet, network: Network, contestant: Contestant, setting: Setting, logs: pathlib.Path) -> Iterator[World]:
    """Fresh engines and a fresh router: every cache is empty."""
    urls = [f"http://{host}:{ENGINE_PORT}" for host in network.hosts]
    started: list[Program] = []
    try:
        for number in range(len(network.hosts)):
            started.append(start_engine(fleet, network, number, logs))
        for url, engine in zip(urls, started, strict=True):
            until(lambda: answers(f"{url}/health"), engine, engine.name)
        port = free_ports(1)[0]
        here = dataclasses.replace(setting, port=port, servers=urls)
        router = Program(contestant.name, contestant.command(here), logs / f"{contestant.file_name()}.log")
        started.append(router)
        url = f"http://127.0.0.1:{port}"
        until(lambda: contestant.is_ready(url), router, contestant.name)
        time.sleep(SETTLE_S)
        yield World(url, urls, router, [*network.programs, *started])
    finally:
        for each in reversed(started):
            each.stop()


def start_engine(fleet: Fleet, network: Network, number: int, logs: pathlib.Path) -> Program:
    """In region `number`, from 0; not ready yet."""
    command = [sys.executable, ENGINE, fleet.model, ENGINE_PORT, "--host", network.hosts[number], "--slots", fleet.slots,
               "--context", fleet.context, "--shared-context", "--similarity", 0.1, "--niceness", 0, "--until-signal"]
    return Program(f"engine {number + 1}", [*network.inside(number), *command], logs / f"engine-{number + 1}.log")


def wait_for_namespaces(regions: list[Program]) -> None:
    """`unshare` makes its namespace a moment after it starts."""
    own = pathlib.Path("/proc/self/ns/net").readlink()
    for region in regions:
        path = pathlib.Path(f"/proc/{region.process.pid}/ns/net")
        until(lambda: path.readlink() != own, region, f"the namespace of {region.name}")


def until(happens: Callable[[], bool], program: Program, what: str) -> None:
    """Waits; what only says "not yet" by an exception has not happened. Errors: BenchError."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        program.check()
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if happens():
                return
        time.sleep(0.05)
    raise BenchError(f"{what}: not ready within {READY_S:.0f} s\n{program.last_words()}")


def answers(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.status == 200


def engine_counters(url: str) -> dict[str, float]:
    """What an engine has prefilled, found cached and answered since it started, in tokens."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as response:
        text = response.read().decode()

    def of(name: str) -> float:
        found = re.search(rf"^llamacpp:{name} (\S+)$", text, re.MULTILINE)
        if found is None:
            raise BenchError(f"{url}/metrics has no llamacpp:{name}")
        return float(found[1])

    return {
        "prefilled": of("prompt_tokens_total"),
        "cached": of("prompt_tokens_cached_total"),
        "answered": of("tokens_predicted_total"),
    }


def milliseconds_per_token(fleet: Fleet, network: Network, logs: pathlib.Path) -> float:
    """Prefill of a prompt of the middle length on an idle engine, for costs that are told it, as an operator would measure it."""
    tokens = 650
    requests = [load.workload.Request(0, tokens, 1, list(range(first, first + tokens // 32 + 1)))
                for first in (1000, 2000, 3000)]
    engine = start_engine(fleet, network, 0, logs)
    try:
        url = f"http://{network.hosts[0]}:{ENGINE_PORT}"
        until(lambda: answers(f"{url}/health"), engine, engine.name)
        times: list[float] = []
        for request in requests:
            record = load.replay(url, [request], [load.body(request, 0)])[0]
            if record.ttft_ms is None:
                raise BenchError(f"the engine did not answer: {record.error}")
            times.append(record.ttft_ms - 2 * fleet.rtt_ms[0])  # a handshake and the request
    finally:
        engine.stop()
    return sorted(times)[1] / tokens
