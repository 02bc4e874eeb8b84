"""The measurements of connections.py: connections of its own, then gotoni-proxy's, in front of engines at their distances."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import random
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import TypeVar

import line
from processes import BenchError, Program, free_ports
from world import Network, answers, until

SETTINGS = pathlib.Path("/proc/sys/net/ipv4")
ENGINE_PORT = 8000
MOST_AT_ONCE = 5
STREAMS_S = 12.0  # how long answers take behind which others come
BETWEEN_S = 1.0  # these
STATES = ("new", "at once", "idle")  # of a connection of our own
DECODE_MS = 20
MS_PER_TOKEN = 0.001
# Prefill costs a little, so that it can be learned; one answer takes long.
MODEL = {
    "name": "connections", "prefill_ms_per_token": MS_PER_TOKEN, "prefill_ms_per_token_kilocontext": 0, "decode_ms": DECODE_MS,
    "decode_ms_per_request": 0, "decode_ms_per_kilocontext": 0, "step_ms": 0, "request_ms": 0, "chunk_tokens": 65536,
    "max_running": 64, "kv_tokens": 8_000_000, "page_tokens": 16,
}

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Plan:
    bin: pathlib.Path
    logs: pathlib.Path
    rtt_ms: tuple[float, ...]
    tokens: tuple[int, ...]
    repetitions: int
    idle_s: float
    seed: int


@dataclasses.dataclass(frozen=True)
class Kernel:
    """What TCP is told. `slow_start_after_idle`: Linux's default is 1."""

    congestion: str
    slow_start_after_idle: int

    def name(self) -> str:
        return f"{self.congestion}, {self.slow_start_after_idle}"


@dataclasses.dataclass(frozen=True)
class Sample:
    """One request. `rtt_ms` 0: no distance. `window`: segments, when the request began; None: nobody has looked."""

    kernel: Kernel
    state: str
    rtt_ms: float
    tokens: int
    ttft_ms: float
    window: int | None = None


@dataclasses.dataclass(frozen=True)
class Learned:
    """By a proxy of the server at that distance, as /proxy/status has it."""

    kernel: Kernel
    rtt_ms: float
    share: float
    reading_ms_per_token: float


@dataclasses.dataclass(frozen=True)
class AtOnce:
    """Through a proxy with so many spare connections: a short request while `under_way` others stream."""

    spares: int
    rtt_ms: float
    under_way: int
    ttft_ms: float


@dataclasses.dataclass
class Results:
    direct: list[Sample] = dataclasses.field(default_factory=list)
    proxied: list[Sample] = dataclasses.field(default_factory=list)
    learned: list[Learned] = dataclasses.field(default_factory=list)
    at_once: list[AtOnce] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Place:
    """An engine; the one without distance is what the others are compared with."""

    rtt_ms: float
    host: str
    port: int


def run(plan: Plan, say: Callable[[str], None]) -> Results:
    """In a network namespace of its own. Errors: BenchError."""
    results = Results()
    with engines(plan) as places:
        for kernel in kernels(places[0], say):
            (SETTINGS / "tcp_slow_start_after_idle").write_text(str(kernel.slow_start_after_idle))
            say(f"{kernel.name()}: connections of our own")
            results.direct += flat(everywhere(places, lambda place: direct(plan, kernel, place)))
            say(f"{kernel.name()}: through gotoni-proxy")
            with proxies(plan, places, "--upstream-congestion", kernel.congestion) as fronts:
                results.proxied += flat(everywhere(fronts, lambda front: proxied(plan, kernel, front)))
                results.learned += [learned(kernel, front) for front in fronts if front.rtt_ms]
        for spares in (0, 1):
            say(f"requests at the same time, {spares} spare connections")
            with proxies(plan, places, "--upstream-spare", str(spares)) as fronts:
                results.at_once += flat(everywhere(fronts, lambda front: at_once(plan, spares, front)))
    return results


def kernels(place: Place, say: Callable[[str], None]) -> list[Kernel]:
    """What this kernel has: cubic, or else reno, as it is by default and with windows kept; and BBR."""
    available = (SETTINGS / "tcp_available_congestion_control").read_text().split()
    usual = next((name for name in ("cubic", "reno") if name in available and is_possible(place, name)), None)
    if usual is None:
        raise BenchError("this kernel lets nobody use cubic or reno")
    found = [Kernel(usual, 1), Kernel(usual, 0)]
    if "bbr" in available and is_possible(place, "bbr"):
        return [*found, Kernel("bbr", 1)]
    say("this kernel has no BBR (modprobe tcp_bbr)")
    return found


def is_possible(place: Place, congestion: str) -> bool:
    try:
        line.Line(place.host, place.port, congestion).close()
    except BenchError:
        return False
    return True


@contextlib.contextmanager
def engines(plan: Plan) -> Iterator[list[Place]]:
    """One here and one at each distance."""
    model = plan.logs / "model.json"
    model.write_text(json.dumps(MODEL))
    network = Network(plan.rtt_ms, plan.logs)
    places = [Place(0, "127.0.0.1", free_ports(1)[0])]
    places += [Place(rtt, host, ENGINE_PORT) for rtt, host in zip(plan.rtt_ms, network.hosts, strict=True)]
    try:
        commands: list[list[object]] = []
        for number, place in enumerate(places):
            inside = network.inside(number - 1) if number else []
            commands.append([*inside, plan.bin / "gotoni-engine", "--listen", f"{place.host}:{place.port}", "--model", model])
        with running(plan, "engine", places, commands):
            yield places
    finally:
        network.stop()


@contextlib.contextmanager
def running(plan: Plan, kind: str, places: list[Place], commands: list[list[object]]) -> Iterator[None]:
    """A program for each place, while they all answer."""
    started: list[Program] = []
    try:
        for number, command in enumerate(commands):
            started.append(Program(f"{kind} {number}", command, plan.logs / f"{kind}-{number}.log"))
        for place, program in zip(places, started, strict=True):
            until(lambda: answers(f"http://{place.host}:{place.port}/health"), program, program.name)
        yield
    finally:
        for each in reversed(started):
            each.stop()


@contextlib.contextmanager
def proxies(plan: Plan, places: list[Place], *options: str) -> Iterator[list[Place]]:
    """One in front of each engine, with one event loop, so that a pool is all its connections."""
    fronts = [Place(place.rtt_ms, "127.0.0.1", port) for place, port in zip(places, free_ports(len(places)), strict=True)]
    commands: list[list[object]] = [
        [plan.bin / "gotoni-proxy", "--listen", f"{front.host}:{front.port}", "--policy", "predictive",
         "--server", f"engine=http://{place.host}:{place.port}", "--threads", "1", "--ms-per-token", str(MS_PER_TOKEN),
         "--max-concurrent", "64", *options]
        for place, front in zip(places, fronts, strict=True)
    ]  # fmt: skip
    with running(plan, "proxy", fronts, commands):
        yield fronts


def everywhere(places: list[Place], measure: Callable[[Place], list[Item]]) -> list[list[Item]]:
    """At all places at the same time: they are idle nearly always. Errors: the first of them."""
    found: list[list[Item] | BaseException] = [[] for _ in places]

    def one(number: int) -> None:
        try:
            found[number] = measure(places[number])
        except BaseException as error:  # noqa: BLE001: raised again where it is waited for
            found[number] = error

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(len(places))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done: list[list[Item]] = []
    for each in found:
        if isinstance(each, BaseException):
            raise each
        done.append(each)
    return done


def flat(lists: list[list[Item]]) -> list[Item]:
    return [each for one in lists for each in one]


def in_order(plan: Plan, place: Place) -> list[tuple[int, int]]:
    """Repetition and tokens of each request, every repetition in an order of its own."""
    chance = random.Random(f"{plan.seed} {place.rtt_ms}")
    return [(repetition, tokens) for repetition in range(plan.repetitions)
            for tokens in chance.sample(plan.tokens, len(plan.tokens))]


def direct(plan: Plan, kernel: Kernel, place: Place) -> list[Sample]:
    """A new connection, the same at once, and after it was idle."""
    samples: list[Sample] = []
    for repetition, tokens in in_order(plan, place):
        with contextlib.closing(line.Line(place.host, place.port, kernel.congestion)) as connection:
            for state in STATES:
                if state == "idle":
                    time.sleep(plan.idle_s)
                begun = connection.opened_at if state == "new" else time.perf_counter()
                window = connection.send(line.prompt(tokens, f"{kernel.name()} {state} {repetition}"))
                ttft_ms = (connection.token() - begun) * 1000
                samples.append(Sample(kernel, state, place.rtt_ms, tokens, ttft_ms, window))
                connection.finish()
    return samples


def proxied(plan: Plan, kernel: Kernel, front: Place) -> list[Sample]:
    """One request after the other, with pauses in which the proxy's connection is idle."""
    samples: list[Sample] = []
    with contextlib.closing(line.Line(front.host, front.port)) as connection:
        # Windows grow as far as they are used: the longest prompt comes first, and does not count.
        for repetition, tokens in [(-1, max(plan.tokens)), *in_order(plan, front)]:
            begun = time.perf_counter()
            connection.send(line.prompt(tokens, f"{kernel.name()} proxied {repetition}"))
            ttft_ms = (connection.token() - begun) * 1000
            if repetition >= 0:
                samples.append(Sample(kernel, "proxied", front.rtt_ms, tokens, ttft_ms))
            connection.finish()
            time.sleep(plan.idle_s)
    return samples


def learned(kernel: Kernel, front: Place) -> Learned:
    with urllib.request.urlopen(f"http://{front.host}:{front.port}/proxy/status", timeout=5) as answer:
        found = json.load(answer)["servers"][0]["learned"]
    return Learned(kernel, front.rtt_ms, found["upload_round_trips"], found["reading_ms_per_token"])


def at_once(plan: Plan, spares: int, front: Place) -> list[AtOnce]:
    """Each while all before it stream, so that each needs a connection more."""
    found: list[AtOnce] = []
    opened: list[line.Line] = []
    try:
        for under_way in range(MOST_AT_ONCE):
            time.sleep(BETWEEN_S)
            connection = line.Line(front.host, front.port)
            opened.append(connection)
            begun = time.perf_counter()
            connection.send(line.prompt(100, f"{spares} at once {under_way}", int(STREAMS_S * 1000 / DECODE_MS)))
            found.append(AtOnce(spares, front.rtt_ms, under_way, (connection.token() - begun) * 1000))
    finally:
        for each in opened:
            each.close()
    return found
