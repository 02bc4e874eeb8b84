"""What several proxies in front of the same servers find cached, alone and sharing over one NATS: see README.md.

    benchmark/sharing/sharing.py --out FOLDER

The same conversations, in the same order, each turn at a proxy drawn at random: through one proxy, through several that know
nothing of each other, and through as many that share. Then, under the same load and one after the other: a proxy is killed,
a new one joins, NATS is frozen and goes on. Writes sharing.json and sharing.md into FOLDER.
Needs Linux, nats-server (Debian: nats-server) and gotoni's programs; Python alone otherwise. Exit status: 0 as it must be (hit share
at least 0.95 of one proxy's; the one that joins at 0.9 of the others' within 5 s; nothing left over), 1 not, 2 there is no
measurement, 130 and 143 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
BIN = HERE.parents[1] / "build" / "bin"
sys.path.append(str(HERE.parent / "peers"))

from processes import BenchError, Program, end_on_signals, free_ports  # noqa: E402

BLOCK = 16
SYSTEM_PROMPTS = 20
LEAST_SHARE = 0.95
LEAST_BACK = 0.9
BACK_S = 5.0
WAIT_S = 20.0


@dataclasses.dataclass(frozen=True)
class Turn:
    """One request: its place among all, its prompt, and which proxy of `among` gets it."""

    number: int
    prompt: list[int]
    draw: int
    # Seconds that its user thinks before it.
    pause_s: float


@dataclasses.dataclass(frozen=True)
class Done:
    number: int
    proxy: int
    begun_s: float
    prompt_tokens: int
    cached_tokens: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=BIN, help="where gotoni-proxy and gotoni-engine are")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FOLDER", help="for sharing.json and sharing.md")
    parser.add_argument("--proxies", type=int, default=8, metavar="N")
    parser.add_argument("--engines", type=int, default=6, metavar="N")
    parser.add_argument("--requests", type=int, default=6_000, metavar="N", help="of each run")
    parser.add_argument("--at-once", type=int, default=48, metavar="N", help="conversations at one time")
    parser.add_argument("--think", type=float, default=0.25, metavar="SECONDS", help="between an answer and the next turn, mean")
    parser.add_argument("--speed", type=float, default=50, metavar="N", help="of the engines: N times a real one's (%(default)s)")
    parser.add_argument("--no-faults", action="store_true", help="only what is found, and what sharing takes")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    options = parser.parse_args()
    end_on_signals(lambda number: 128 + number)
    try:
        for name in ("gotoni-proxy", "gotoni-engine"):
            if not (options.bin / name).exists():
                raise BenchError(f"there is no {options.bin / name}: make bin")
        if not 2 <= options.proxies <= 64 or not 2 <= options.engines <= 64:
            raise BenchError("--proxies and --engines are from 2 to 64")
        if options.requests < 500 or not 1 <= options.at_once <= 256 or options.think < 0:
            raise BenchError("--requests is at least 500, --at-once from 1 to 256, --think not negative")
        options.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as logs:
            found = measure(options, pathlib.Path(logs))
        (options.out / "sharing.json").write_text(json.dumps(found, indent=1) + "\n")
        text, is_good = table(found)
        (options.out / "sharing.md").write_text(text)
    except (BenchError, OSError) as error:
        print(f"sharing: {error}", file=sys.stderr)
        return 2
    print(text, end="")
    return 0 if is_good else 1


# MARK: Load


def conversations(requests: int, at_once: int, think: float, seed: int) -> list[list[Turn]]:
    """Turns of conversations that go on from one of a few system prompts, for each of `at_once` clients, of ids of tokens."""
    chance = random.Random(seed)
    systems = [[chance.randrange(150_000) for _ in range(BLOCK * 20)] for _ in range(SYSTEM_PROMPTS)]
    clients: list[list[Turn]] = []
    for client in range(at_once):
        turns: list[Turn] = []
        while len(turns) < requests // at_once:
            prompt = list(chance.choice(systems))
            for _ in range(chance.randrange(3, 12)):
                prompt = prompt + [chance.randrange(150_000) for _ in range(chance.randrange(20, 400))]
                turns.append(Turn(len(turns) * at_once + client, prompt, chance.randrange(1 << 30), chance.random() * 2 * think))
        clients.append(turns[: requests // at_once])
    return clients


class Load:
    """Clients that send one turn after the other, each to the proxy that was drawn of those in `among` then."""

    def __init__(self, clients: list[list[Turn]], ports: list[int], among: list[int]) -> None:
        self.ports = ports
        self.among = among
        self.done: list[Done] = []
        self.failed: list[str] = []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.client, args=(turns,), daemon=True) for turns in clients]
        for thread in self.threads:
            thread.start()

    def client(self, turns: list[Turn]) -> None:
        for turn in turns:
            time.sleep(turn.pause_s)
            # One that is killed meanwhile is tried no more than once.
            for attempt in range(2):
                with self.lock:
                    proxy = self.among[(turn.draw + attempt) % len(self.among)]
                begun = time.monotonic()
                try:
                    usage = complete(self.ports[proxy], turn.prompt)
                except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                    with self.lock:
                        self.failed.append(f"turn {turn.number} at proxy {proxy}: {error!r}")
                    continue
                with self.lock:
                    self.done.append(Done(turn.number, proxy, begun, *usage))
                break

    def wait_for(self, count: int) -> None:
        """Until so many are done. Errors: BenchError."""
        until(f"{count} requests", lambda: len(self.done) >= count or not self.is_running(), limit=600)

    def is_running(self) -> bool:
        return any(thread.is_alive() for thread in self.threads)

    def end(self) -> None:
        for thread in self.threads:
            thread.join(600)


def complete(port: int, prompt: list[int]) -> tuple[int, int]:
    """Tokens of the prompt, and those of it that the engine had."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        body = json.dumps({"model": "simulated", "max_tokens": 1, "prompt": prompt})
        connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise ValueError(f"status {answer.status}")
        usage = json.loads(text)["usage"]
        return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]
    finally:
        connection.close()


def until(what: str, holds: Callable[[], Any], limit: float = WAIT_S) -> Any:
    end = time.monotonic() + limit
    while not (value := holds()):
        if time.monotonic() > end:
            raise BenchError(f"{what}: not within {limit:.0f} s")
        time.sleep(0.01)
    return value


# MARK: World


@dataclasses.dataclass
class World:
    """Engines, proxies, and NATS if they share."""

    engines: list[Program]
    proxies: list[Program]
    ports: list[int]
    nats: Program | None
    start: Callable[[int], None]

    def status(self, proxy: int) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[proxy]}/proxy/status", timeout=10) as answer:
            return json.load(answer)

    def cpu_s(self) -> tuple[float, float]:
        """Of all proxies, and of NATS."""
        return sum(each.usage().cpu_s for each in self.proxies), self.nats.usage().cpu_s if self.nats else 0.0

    def is_up(self, proxy: int) -> bool:
        try:
            return all(server["healthy"] for server in self.status(proxy)["servers"])
        except OSError:
            return False


@contextlib.contextmanager
def world(options: argparse.Namespace, logs: pathlib.Path, count: int, shares: bool) -> Iterator[World]:
    """`count` proxies that are up; one more port than that, for one that joins."""
    with contextlib.ExitStack() as stack:

        def program(name: str, command: list[object]) -> Program:
            started = Program(name, command, logs / f"{name}-{time.monotonic_ns()}.log")
            stack.callback(started.stop)
            return started

        ports = free_ports(options.engines + count + 2)
        engine_ports, proxy_ports, nats_port = ports[: options.engines], ports[options.engines : -1], ports[-1]
        engines = [
            program(f"engine-{index}", [options.bin / "gotoni-engine", "--listen", f"127.0.0.1:{port}", "--speed", options.speed])
            for index, port in enumerate(engine_ports)
        ]
        words: list[object] = [word for index, port in enumerate(engine_ports)
                               for word in ("--server", f"e{index}=http://127.0.0.1:{port}")]  # fmt: skip
        nats = None
        if shares:
            server = shutil.which("nats-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
            if server is None:
                raise BenchError("there is no nats-server: install it, for example with apt-get install nats-server")
            nats = program("nats", [server, "-js", "-sd", tempfile.mkdtemp(dir=logs), "-a", "127.0.0.1", "-p", nats_port])
            words += ["--nats", f"nats://127.0.0.1:{nats_port}"]
        proxies: list[Program] = []

        def start(index: int) -> None:
            command = [options.bin / "gotoni-proxy", "--listen", f"127.0.0.1:{proxy_ports[index]}", "--threads", "1",
                       "--probe-interval", "200ms", "--max-concurrent", "64", *words]  # fmt: skip
            proxies.append(program(f"proxy-{index}", command))

        here = World(engines, proxies, proxy_ports, nats, start)
        for index in range(count):
            start(index)
        for index in range(count):
            until(f"proxy {index} up", lambda index=index: here.is_up(index))
        if shares:
            for index in range(count):
                until("all hear each other", lambda index=index: here.status(index)["sharing"]["siblings"] == count - 1)
        yield here


# MARK: Runs


def share(done: list[Done]) -> float:
    return sum(each.cached_tokens for each in done) / max(sum(each.prompt_tokens for each in done), 1)


def measure(options: argparse.Namespace, logs: pathlib.Path) -> dict[str, Any]:
    clients = conversations(options.requests, options.at_once, options.think, options.seed)
    found: dict[str, Any] = {"proxies": options.proxies, "requests": sum(len(each) for each in clients), "runs": []}
    for name, count, shares in (("one", 1, False), ("apart", options.proxies, False), ("sharing", options.proxies, True)):
        print(f"sharing: {name}", file=sys.stderr)
        with world(options, logs, count, shares) as here:
            before, began = here.cpu_s(), time.monotonic()
            load = Load(clients, here.ports, list(range(count)))
            load.end()
            seconds, after = time.monotonic() - began, here.cpu_s()
            run = {"name": name, "proxies": count, "hit_share": share(load.done), "failed": load.failed, "seconds": seconds,
                   "proxies_cpu_s": after[0] - before[0], "nats_cpu_s": after[1] - before[1],
                   "left": left_over(here, range(count))}  # fmt: skip
            if shares:
                run["sharing"] = [here.status(index)["sharing"] for index in range(count)]
            found["runs"].append(run)
    if not options.no_faults:
        print("sharing: with faults", file=sys.stderr)
        found["faults"] = faults(options, logs)
    return found


def faults(options: argparse.Namespace, logs: pathlib.Path) -> list[dict[str, Any]]:
    """One world, one load, four times as long; what was found cached between the faults."""
    clients = conversations(4 * options.requests, options.at_once, options.think, options.seed + 1)
    whole = sum(len(each) for each in clients)
    phases: list[dict[str, Any]] = []
    with world(options, logs, options.proxies, shares=True) as here:
        everybody = list(range(options.proxies))
        load = Load(clients, here.ports, list(everybody))

        def phase(name: str, until_share: float) -> list[Done]:
            first = len(load.done)
            begun = time.monotonic()
            load.wait_for(int(whole * until_share))
            done = load.done[first:]
            phases.append({"name": name, "seconds": time.monotonic() - begun, "requests": len(done), "hit_share": share(done),
                           "failed": len(load.failed)})  # fmt: skip
            return done

        phase("warming up", 0.15)
        phase("all", 0.3)
        victim = everybody[-1]
        here.proxies[victim].process.kill()
        with load.lock:
            load.among.remove(victim)
        phase("one killed", 0.45)
        fresh = options.proxies
        here.start(fresh)
        until("the new one up", lambda: here.is_up(fresh))
        began = time.monotonic()
        with load.lock:
            load.among.append(fresh)
        done = phase("a new one", 0.65)
        own = [each for each in done if each.proxy == fresh and each.begun_s < began + BACK_S]
        others = [each for each in done if each.proxy != fresh and each.begun_s < began + BACK_S]
        phases[-1] |= {"own": share(own), "others": share(others), "own_requests": len(own),
                       "catch_up_ms": here.status(fresh)["sharing"]["catch_up_ms"]}  # fmt: skip
        assert here.nats is not None
        here.nats.process.send_signal(signal.SIGSTOP)
        try:
            phase("NATS frozen", 0.8)
        finally:
            here.nats.process.send_signal(signal.SIGCONT)
        alive = load.among
        until("NATS is back", lambda: all(here.status(index)["sharing"]["connected"] for index in alive))
        phase("just healed", 0.88)
        phase("healed", 1)
        load.end()
        phases[-1]["left"] = left_over(here, alive)
        phases[-1]["sharing"] = [here.status(index)["sharing"] for index in alive]
    return phases


def left_over(here: World, proxies: Any) -> int:
    """Tickets and requests that have not ended once nothing is under way."""

    def left() -> int:
        documents = [here.status(index) for index in proxies]
        return sum(each["open_tickets"] + each["under_way"] + each["queue_size"] for each in documents)

    with contextlib.suppress(BenchError):
        until("nothing is left over", lambda: left() == 0)
    return left()


# MARK: Table


def table(found: dict[str, Any]) -> tuple[str, bool]:
    runs = {run["name"]: run for run in found["runs"]}
    one = runs["one"]["hit_share"]
    lines = ["| proxies | hits % | of one proxy's |", "|---|--:|--:|"]
    for run in found["runs"]:
        name = {"one": "one", "apart": f"{run['proxies']}, apart", "sharing": f"{run['proxies']}, sharing"}[run["name"]]
        lines.append(f"| {name} | {run['hit_share'] * 100:.1f} | {run['hit_share'] / one:.3f} |")
    told = runs["sharing"]["sharing"]
    prompts = sum(each["prompts_told"] for each in told)
    bytes_told = sum(each["bytes_told"] for each in told)
    blocks = sum(each["bytes_per_prompt"] * each["prompts_told"] / each["bytes_per_block"] for each in told)
    prompt_bytes = sum(each["bytes_per_prompt"] * each["prompts_told"] for each in told)
    lines += [
        "", f"Told: {bytes_told / max(prompts, 1):.0f} bytes a request, {prompt_bytes / max(blocks, 1):.1f} a block of {BLOCK} tokens; "
        f"{sum(each['messages_told'] for each in told) / max(prompts, 1):.2f} messages a request.",
        "", *processor_time(found["requests"], runs["apart"], runs["sharing"]),
    ]  # fmt: skip
    faulty, back = fault_table(found["faults"]) if "faults" in found else ([], 1.0)
    left = sum(run["left"] for run in found["runs"]) + (found["faults"][-1]["left"] if "faults" in found else 0)
    failed = sum(len(run["failed"]) for run in found["runs"])
    lines += [*faulty, "", f"Left over: {left}. Failed without a fault: {failed}."]
    is_good = runs["sharing"]["hit_share"] >= LEAST_SHARE * one and back >= LEAST_BACK and left == 0 and failed == 0
    return "\n".join(lines) + "\n", is_good


def fault_table(phases: list[dict[str, Any]]) -> tuple[list[str], float]:
    """And what the one that joined found, over what the others did."""
    lines = ["", "| phase | s | requests | hits % | failed |", "|---|--:|--:|--:|--:|"]
    for phase in phases:
        lines.append(
            f"| {phase['name']} | {phase['seconds']:.1f} | {phase['requests']} | {phase['hit_share'] * 100:.1f} | {phase['failed']} |"
        )
    joined = next(phase for phase in phases if "own" in phase)
    lines += [
        "", f"In its first {BACK_S:.0f} s the new one found {joined['own'] * 100:.1f} % cached in {joined['own_requests']} requests, "
        f"the others {joined['others'] * 100:.1f} %; it had caught up after {joined['catch_up_ms']:.0f} ms.",
    ]  # fmt: skip
    return lines, joined["own"] / max(joined["others"], 1e-9)


def processor_time(requests: int, apart: dict[str, Any], sharing: dict[str, Any]) -> list[str]:
    """What sharing takes, all in all: telling, hearing, and the messages of loads."""
    heard = sum(each["prompts_heard"] for each in sharing["sharing"])
    messages = sum(each["messages_heard"] for each in sharing["sharing"])
    extra_s = sharing["proxies_cpu_s"] - apart["proxies_cpu_s"]
    return [
        f"Processor time of all proxies: {1e3 * apart['proxies_cpu_s'] / requests:.2f} ms a request apart, "
        f"{1e3 * sharing['proxies_cpu_s'] / requests:.2f} sharing, at {requests / sharing['seconds']:.0f} requests a second: "
        f"{1e6 * extra_s / heard:.0f} us for each prompt heard, {1e6 * extra_s / messages:.0f} for each message. "
        f"NATS: {1e3 * sharing['nats_cpu_s'] / requests:.2f} ms a request, {1e6 * sharing['nats_cpu_s'] / messages:.0f} us a message delivered."
    ]


if __name__ == "__main__":
    sys.exit(main())
