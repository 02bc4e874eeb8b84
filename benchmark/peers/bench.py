"""Runs LLM routers side by side on the same servers and compares them: see README.md.

Three fleets, one after the other: nginx for what a request costs, engine.py for how streams come through, and Dynamo's
simulated engines, since Dynamo's frontend routes to nobody else. All routers are started once for each. In every round
each cell visits all of them, and the servers themselves, in an order drawn anew.
Needs Linux, wrk, nginx with its echo module, haproxy, ip, unshare, setpriv, and matplotlib for the pictures, which `run`
installs. The other peers are installed from PyPI the first time, into --venvs.
Exit status: 0 all thresholds hold, 1 some are missed (each is named), 2 a measurement failed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import platform
import random
import sys
import tempfile
from typing import Any, Iterator, Sequence

import checks
import client
import engine
import outputs
import report
import routers
import servers
import traffic
from processes import BenchError, Program, Usage, end_on_signals, free_ports, go_on_in_own_network, output_of
from statistics_of import median

HERE = pathlib.Path(__file__).resolve().parent
SUFFIXES = (".json", ".md", ".png", ".svg")
VENVS = HERE.parents[1] / "build" / "peers-venv"

Figures = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Cell:
    name: str
    fleet: str  # see servers.STARTS
    body_bytes: int
    connections: int  # of wrk, or streams
    streaming: bool


CELLS = {
    cell.name: cell
    for cell in (
        Cell("1k-c1", "nginx", 1024, 1, False),
        Cell("1k-c16", "nginx", 1024, 16, False),
        Cell("64k-c1", "nginx", 65536, 1, False),
        Cell("64k-c16", "nginx", 65536, 16, False),
        Cell("stream-4", "engine", 1024, 4, True),
        Cell("stream-32", "engine", 1024, 32, True),
        Cell("mocker-c1", "mocker", 1024, 1, False),
        Cell("mocker-c16", "mocker", 1024, 16, False),
        Cell("mocker-stream-4", "mocker", 4096, 4, True),
    )
}
QUICK_CELLS = ("64k-c16", "stream-4", "mocker-stream-4")  # one of each fleet


@dataclasses.dataclass(frozen=True)
class Plan:
    rounds: int
    load_s: float
    stream_requests: int  # on each stream
    mocker_requests: int  # on each stream of the mockers, which answer at once

    @staticmethod
    def of(quick: bool, rounds: int) -> Plan:
        return Plan(1, 1.0, 2, 12) if quick else Plan(rounds, 3.0, 8, 96)


@dataclasses.dataclass
class Target:
    """Something to send requests to: a router, or the servers themselves."""

    name: str
    ports: list[int]
    program: Program | None


def main() -> int:
    arguments = parse_arguments()
    end_on_signals()
    try:
        return compare(arguments)
    except (BenchError, OSError) as error:
        say(str(error))
        return 2


def compare(arguments: argparse.Namespace) -> int:
    outputs.check_writable(suffixed(arguments.out, suffix) for suffix in SUFFIXES)
    install(arguments)
    go_on_in_own_network()
    with tempfile.TemporaryDirectory(prefix="gotoni-peers-") as folder:
        results = Bench(arguments, pathlib.Path(folder)).run()
    results["summary"] = summary(results["rounds"])
    results["errors"] = errors(results["rounds"])
    judged = checks.all_checks(results["summary"], results["errors"], arguments.quick)
    results["checks"] = [dataclasses.asdict(check) for check in judged]
    suffixed(arguments.out, ".json").write_text(json.dumps(without_nan(results), indent=1) + "\n")
    text = report.markdown(results)
    suffixed(arguments.out, ".md").write_text(text)
    print(text)
    plot(arguments.out)
    print(report.checks(results))
    return 1 if any(check["judged"] and not check["passed"] for check in results["checks"]) else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gotoni-proxy", type=pathlib.Path, help="without it gotoni is left out")
    parser.add_argument("--gotoni-threads", type=int, default=1, help="default 1, as envoy and haproxy have")
    parser.add_argument("--gotoni-option", action="append", default=[], help="one more word for gotoni-proxy, repeatable")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="where the results go, without suffix")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", help=f"some of {','.join(routers.ROUTERS)}; direct is always there")
    parser.add_argument("--cells", help=f"some of {','.join(CELLS)}; by default all, but mocker-… only if dynamo is there")
    parser.add_argument("--seed", type=int, default=1, help="of the bodies and of the order")
    quick = f"one short round, by default of {','.join(QUICK_CELLS)}: a smoke test; judges errors only"
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--venvs", type=pathlib.Path, default=VENVS, help="where the peers are installed")
    arguments = parser.parse_args()
    everyone = [name for name in routers.ROUTERS if name != routers.GOTONI or arguments.gotoni_proxy]
    arguments.peers = chosen(parser, arguments.peers, everyone, routers.ROUTERS)
    usual = list(QUICK_CELLS if arguments.quick else CELLS)
    if routers.DYNAMO not in arguments.peers:
        usual = [name for name in usual if CELLS[name].fleet != "mocker"]
    arguments.cells = [CELLS[name] for name in chosen(parser, arguments.cells, usual, CELLS)]
    fleets = {cell.fleet for cell in arguments.cells}
    for name in arguments.peers:
        if not fleets.intersection(routers.ROUTERS[name].fleets):
            parser.error(f"{name} routes to its own workers only: --cells must have one of the mocker's")
    if arguments.rounds < 1 or arguments.gotoni_threads < 1:
        parser.error("--rounds and --gotoni-threads are at least 1")
    if routers.GOTONI in arguments.peers:
        if not arguments.gotoni_proxy or not arguments.gotoni_proxy.is_file():
            parser.error("--gotoni-proxy must name the program")
        arguments.gotoni_proxy = arguments.gotoni_proxy.resolve()
    return arguments


def chosen(parser: argparse.ArgumentParser, text: str | None, default: list[str], known: dict[str, Any]) -> list[str]:
    names = text.split(",") if text else default
    for name in names:
        if name not in known:
            parser.error(f"{name} is none of {', '.join(known)}")
    return names


def install(arguments: argparse.Namespace) -> None:
    servers_of = [routers.DYNAMO] if any(cell.fleet == "mocker" for cell in arguments.cells) else []
    for name in dict.fromkeys([*arguments.peers, *servers_of]):
        routers.install(routers.ROUTERS[name], arguments.venvs, say)


class Bench:
    """One run: all fleets, all routers, all rounds. Nothing it starts outlives it."""

    def __init__(self, arguments: argparse.Namespace, folder: pathlib.Path) -> None:
        self.arguments = arguments
        self.folder = folder
        self.plan = Plan.of(arguments.quick, arguments.rounds)
        self.order = random.Random(arguments.seed)
        self.peers: dict[str, Figures] = {}
        self.refused: dict[str, dict[str, str]] = {}  # cell, peer: what the servers said to a body from this router
        self.rounds: list[Figures] = []

    def run(self) -> dict[str, Any]:
        fleets = {cell.fleet for cell in self.arguments.cells}
        load_before = os.getloadavg()[0]
        for name, start in servers.STARTS.items():
            if name in fleets:
                self.phase(name, [cell for cell in self.arguments.cells if cell.fleet == name], start)
        return {
            "machine": machine(),
            "settings": {
                **dataclasses.asdict(self.plan),
                "quick": self.arguments.quick,
                "seed": self.arguments.seed,
                "load_average_before": load_before,
                "load_average_after": os.getloadavg()[0],
            },
            "peers": self.peers,
            "refused": self.refused,
            "rounds": self.rounds,
        }

    def phase(self, name: str, cells: list[Cell], start: Any) -> None:
        with contextlib.ExitStack() as stack:
            say(f"starting the servers: {name}")
            fleet = start(self.folder, self.arguments.venvs)
            stack.callback(fleet.stop)
            targets = [Target(routers.DIRECT, fleet.ports, None)]
            for peer in self.arguments.peers:
                if name in routers.ROUTERS[peer].fleets:
                    target, refusal = self.start(peer, fleet, stack)
                    if refusal is None:
                        targets.append(target)
                    else:
                        say(f"{peer}: refused by the server: 400 {refusal}")
                        for cell in cells:
                            self.refused.setdefault(cell.name, {})[peer] = refusal
            self.prepare(cells, targets)
            for number in range(self.plan.rounds):
                for cell in cells:
                    self.order.shuffle(targets)
                    for target in targets:
                        say(f"round {number + 1} of {self.plan.rounds}: {cell.name}, {target.name}")
                        bodies = self.file(cell, f"-{number}-{target.name}" if is_fresh(cell) else "")
                        figures = measured(self.measure(cell), cell, target, fleet, bodies)
                        self.rounds.append({"round": number, "cell": cell.name, "peer": target.name, **figures})

    def start(self, name: str, fleet: servers.Fleet, stack: contextlib.ExitStack) -> tuple[Target, str | None]:
        """Also what the servers say if they refuse what this router makes of a body: Dynamo's take no unknown field."""
        say(f"starting {name}")
        router = routers.ROUTERS[name]
        port = free_ports(1)[0]
        setting = routers.Setting(
            port,
            fleet.urls(),
            fleet.registered,
            self.folder,
            self.arguments.venvs,
            self.arguments.gotoni_proxy,
            self.arguments.gotoni_threads,
            self.arguments.gotoni_option,
        )
        program = Program(name, router.command(setting), self.folder / f"{name}-{port}.log")
        stack.callback(program.stop)
        body = traffic.bodies(1024, self.arguments.seed, fields=traffic.ONE_TOKEN)[0]
        strict = 400 if fleet.registered else None
        refusal = client.wait_until_answers(program, port, "POST", client.CHAT, body, strict)
        threads = f"--threads {self.arguments.gotoni_threads}" if name == routers.GOTONI else router.concurrency
        self.peers[name] = {
            "version": version(router, setting),
            "policy": router.policy,
            "concurrency": threads,
            "command": " ".join(program.command),
        }
        return Target(name, [port], program), refusal

    def prepare(self, cells: list[Cell], targets: list[Target]) -> None:
        """Sends every body of the overhead cells to every router once, which also warms them up."""
        of_each_size = {cell.body_bytes: cell for cell in cells if not cell.streaming}
        for cell in of_each_size.values():
            bodies = self.file(cell).read_bytes().splitlines()
            is_right = traffic.has_one_token if cell.fleet == "mocker" else traffic.is_answer
            for target in targets:
                client.check_answers(target.name, target.ports[0], bodies, is_right)

    def file(self, cell: Cell, visit: str = "") -> pathlib.Path:
        """With the bodies of a cell, or of one visit of it, one a line."""
        path = self.folder / f"{cell.name}{visit}.txt"
        if not path.exists():
            seed, size = f"{self.arguments.seed}{visit}", cell.body_bytes
            if is_fresh(cell):
                groups = self.plan.mocker_requests * cell.connections // traffic.BODIES_PER_GROUP
                bodies = traffic.bodies(size, seed, True, traffic.WITH_USAGE, groups)
            else:
                fields = traffic.ONE_TOKEN if cell.fleet == "mocker" else None
                bodies = traffic.bodies(size, seed, cell.streaming, fields)
            path.write_bytes(b"\n".join(bodies) + b"\n")
        return path

    def measure(self, cell: Cell) -> Any:
        if cell.streaming:
            return self.mocked_stream if cell.fleet == "mocker" else self.stream
        return self.load if cell.fleet == "mocker" else self.counted_load

    def counted_load(self, cell: Cell, target: Target, fleet: servers.Fleet, bodies: pathlib.Path) -> Figures:
        """Load on nginx, which says how many requests and connections it saw."""
        assert fleet.status_port is not None
        accepted, served = client.nginx_counters(fleet.status_port)
        figures = self.load(cell, target, fleet, bodies)
        now_accepted, now_served = client.nginx_counters(fleet.status_port)
        if now_served - served < figures["requests"]:
            raise BenchError(f"{target.name} answered requests that no server has seen")
        figures["server_connections"] = now_accepted - accepted - 1  # the second look at the counters is one
        return figures

    def load(self, cell: Cell, target: Target, _: servers.Fleet, bodies: pathlib.Path) -> Figures:
        url = f"http://127.0.0.1:{target.ports[0]}"
        size = ["-t1", f"-c{cell.connections}", f"-d{self.plan.load_s:.0f}s", "--timeout", "5s"]
        text = output_of(["wrk", *size, "-s", HERE / "load.lua", url, "--", bodies], self.plan.load_s + 20)
        figures: Figures = json.loads(text.strip().splitlines()[-1])
        figures["req_s"] = figures["requests"] / figures["seconds"]
        return figures

    def stream(self, cell: Cell, target: Target, _: servers.Fleet, bodies: pathlib.Path) -> Figures:
        return self.streams("stream.py", self.plan.stream_requests, cell, target, bodies)

    def mocked_stream(self, cell: Cell, target: Target, _: servers.Fleet, bodies: pathlib.Path) -> Figures:
        tokens = ["--tokens", traffic.STREAM_TOKENS]
        return self.streams("mocked.py", self.plan.mocker_requests, cell, target, bodies, tokens)

    def streams(
        self, script: str, requests: int, cell: Cell, target: Target, bodies: pathlib.Path, more: Sequence[object] = ()
    ) -> Figures:
        ports = ",".join(str(port) for port in target.ports)
        options = ["--ports", ports, "--bodies", bodies, "--streams", cell.connections, "--seed", self.arguments.seed]
        command = [sys.executable, HERE / script, *options, "--requests", requests, *more]
        limit_s = 30 + 4 * requests * (engine.FIRST_CHUNK_S + engine.CHUNKS * engine.GAP_S)
        figures: Figures = json.loads(output_of(command, limit_s))
        return figures


def is_fresh(cell: Cell) -> bool:
    """Whether each visit has prompts of its own: else the mockers would have cached those of the visitor before."""
    return cell.fleet == "mocker" and cell.streaming


def measured(measure: Any, cell: Cell, target: Target, fleet: servers.Fleet, bodies: pathlib.Path) -> Figures:
    """The measurement, and what it cost the router, and the router and the servers together."""
    before, fleet_before = usage_of(target), fleet.cpu_s()
    figures = measure(cell, target, fleet, bodies)
    fleet.check()
    after, fleet_after = usage_of(target), fleet.cpu_s()
    counted = figures["chunks"] if cell.streaming else figures["requests"]
    unit = "chunk" if cell.streaming else "request"
    own_s = after.cpu_s - before.cpu_s
    figures[f"all_cpu_us_per_{unit}"] = (own_s + fleet_after - fleet_before) * 1e6 / counted if counted else math.nan
    if target.program is None:
        return figures
    figures[f"cpu_us_per_{unit}"] = own_s * 1e6 / counted if counted else math.nan
    return {**figures, "rss_mb": after.rss_mb, "threads": after.threads}


def usage_of(target: Target) -> Usage:
    """Nothing of the servers themselves, which are not a router."""
    if target.program is None:
        return Usage(0, 0, 0)
    target.program.check()
    return target.program.usage()


# ---- results ----

# What is compared with the servers themselves in the same round.
ADDED = ("p50_us", "p99_us", "ttft_p50_ms", "ttft_p99_ms", "transit_p50_ms", "transit_p99_ms")


def summary(rounds: list[Figures]) -> dict[str, dict[str, Figures]]:
    """Cell, peer, figure: the median over the rounds, of errors the sum. `added_…` is what direct of the same round is less."""
    direct = {(r["cell"], r["round"]): r for r in rounds if r["peer"] == routers.DIRECT}
    collected: dict[str, dict[str, dict[str, list[float]]]] = {}
    for r in rounds:
        lists = collected.setdefault(r["cell"], {}).setdefault(r["peer"], {})
        for name, value in with_added(r, direct[r["cell"], r["round"]]):
            lists.setdefault(name, []).append(value)
    return {
        cell: {peer: {name: over_rounds(name, values) for name, values in lists.items()} for peer, lists in peers.items()}
        for cell, peers in collected.items()
    }


def over_rounds(name: str, values: list[float]) -> float:
    return sum(values) if name == "errors" else median(values)


def with_added(figures: Figures, direct: Figures) -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if isinstance(value, (int, float)) and name != "round":
            yield name, value
        if name in ADDED and figures["peer"] != routers.DIRECT:
            yield f"added_{name}", value - direct[name]


def errors(rounds: list[Figures]) -> dict[str, int]:
    """Of all rounds together: a median would hide those of a single one."""
    total: dict[str, int] = {}
    for r in rounds:
        total[r["peer"]] = total.get(r["peer"], 0) + r["errors"]
    return total


def without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def version(router: routers.Router, setting: routers.Setting) -> str:
    try:
        return output_of(router.version(setting), 20).strip().splitlines()[0].partition(" - ")[0]
    except (BenchError, IndexError):
        return "unknown"


def machine() -> dict[str, Any]:
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {"processor": model, "cores": os.cpu_count(), "kernel": platform.release()}


def plot(out: pathlib.Path) -> None:
    command = [sys.executable, HERE / "plot.py", suffixed(out, ".json"), "--out", out]
    print(output_of(command, 60).strip())


def suffixed(prefix: pathlib.Path, suffix: str) -> pathlib.Path:
    return prefix.with_name(prefix.name + suffix)


def say(text: str) -> None:
    print(f"peers: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
