"""Runs LLM routers side by side on the same servers and compares them: see README.md.

Two fleets, one after the other: nginx for what a request costs, engine.py for how streams come through. All routers are
started once for each. In every round each cell visits all of them, and the servers themselves, in an order drawn anew.
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
import signal
import sys
import tempfile
from typing import Any, Iterator

import checks
import client
import engine
import report
import routers
import servers
import traffic
from processes import BenchError, Program, free_ports, output_of
from statistics_of import median

HERE = pathlib.Path(__file__).resolve().parent
VENVS = HERE.parents[1] / "build" / "peers-venv"

Figures = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Cell:
    name: str
    body_bytes: int
    connections: int  # of wrk, or streams
    streaming: bool


CELLS = {
    cell.name: cell
    for cell in (
        Cell("1k-c1", 1024, 1, False),
        Cell("1k-c16", 1024, 16, False),
        Cell("64k-c1", 65536, 1, False),
        Cell("64k-c16", 65536, 16, False),
        Cell("stream-4", 1024, 4, True),
        Cell("stream-32", 1024, 32, True),
    )
}


@dataclasses.dataclass(frozen=True)
class Plan:
    rounds: int
    load_s: float
    stream_requests: int  # on each stream

    @staticmethod
    def of(quick: bool, rounds: int) -> Plan:
        return Plan(1, 1.0, 2) if quick else Plan(rounds, 3.0, 8)


@dataclasses.dataclass
class Target:
    """Something to send requests to: a router, or the servers themselves."""

    name: str
    ports: list[int]
    program: Program | None


def main() -> int:
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that what was started is ended
    try:
        with tempfile.TemporaryDirectory(prefix="gotoni-peers-") as folder:
            os.chmod(folder, 0o755)  # nginx's worker may be another user
            results = Bench(arguments, pathlib.Path(folder)).run()
    except (BenchError, OSError) as error:
        say(str(error))
        return 2
    results["summary"] = summary(results["rounds"])
    results["errors"] = errors(results["rounds"])
    judged = checks.all_checks(results["summary"], results["errors"], arguments.quick)
    results["checks"] = [dataclasses.asdict(check) for check in judged]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
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
    parser.add_argument("--cells", help=f"some of {','.join(CELLS)}")
    parser.add_argument("--seed", type=int, default=1, help="of the bodies and of the order")
    parser.add_argument("--quick", action="store_true", help="one short round: a smoke test; judges errors only")
    parser.add_argument("--venvs", type=pathlib.Path, default=VENVS, help="where the peers are installed")
    arguments = parser.parse_args()
    everyone = [name for name in routers.ROUTERS if name != routers.GOTONI or arguments.gotoni_proxy]
    arguments.peers = chosen(parser, arguments.peers, everyone, routers.ROUTERS)
    arguments.cells = [CELLS[name] for name in chosen(parser, arguments.cells, list(CELLS), CELLS)]
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


class Bench:
    """One run: both fleets, all routers, all rounds. Nothing it starts outlives it."""

    def __init__(self, arguments: argparse.Namespace, folder: pathlib.Path) -> None:
        self.arguments = arguments
        self.folder = folder
        self.plan = Plan.of(arguments.quick, arguments.rounds)
        self.order = random.Random(arguments.seed)
        self.peers: dict[str, Figures] = {}
        self.rounds: list[Figures] = []

    def run(self) -> dict[str, Any]:
        for name in self.arguments.peers:
            routers.install(routers.ROUTERS[name], self.arguments.venvs, say)
        load_before = os.getloadavg()[0]
        self.phase([cell for cell in self.arguments.cells if not cell.streaming], servers.start_nginx)
        self.phase([cell for cell in self.arguments.cells if cell.streaming], servers.start_engine)
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
            "rounds": self.rounds,
        }

    def phase(self, cells: list[Cell], start: Any) -> None:
        if not cells:
            return
        with contextlib.ExitStack() as stack:
            fleet = start(self.folder)
            stack.callback(fleet.program.stop)
            targets = [Target(routers.DIRECT, fleet.ports, None)]
            for name in self.arguments.peers:
                targets.append(self.start(name, fleet, stack))
            files = self.prepare(cells, targets)
            for number in range(self.plan.rounds):
                for cell in cells:
                    self.order.shuffle(targets)
                    for target in targets:
                        say(f"round {number + 1} of {self.plan.rounds}: {cell.name}, {target.name}")
                        measure = self.stream if cell.streaming else self.load
                        figures = measured(measure, cell, target, fleet, files[cell.name])
                        self.rounds.append({"round": number, "cell": cell.name, "peer": target.name, **figures})

    def start(self, name: str, fleet: servers.Fleet, stack: contextlib.ExitStack) -> Target:
        say(f"starting {name}")
        router = routers.ROUTERS[name]
        port = free_ports(1)[0]
        setting = routers.Setting(
            port,
            fleet.urls(),
            self.folder,
            self.arguments.venvs,
            self.arguments.gotoni_proxy,
            self.arguments.gotoni_threads,
            self.arguments.gotoni_option,
        )
        program = Program(name, router.command(setting), self.folder / f"{name}-{port}.log")
        stack.callback(program.stop)
        client.wait_until_answers(program, port, "POST", client.CHAT, traffic.bodies(1024, self.arguments.seed)[0])
        threads = f"--threads {self.arguments.gotoni_threads}" if name == routers.GOTONI else router.concurrency
        self.peers[name] = {
            "version": version(router, setting),
            "policy": router.policy,
            "concurrency": threads,
            "command": " ".join(program.command),
        }
        return Target(name, [port], program)

    def prepare(self, cells: list[Cell], targets: list[Target]) -> dict[str, pathlib.Path]:
        """Writes each cell's bodies, and sends every one of them to every router once, which also warms them up."""
        files = {}
        for cell in cells:
            bodies = traffic.bodies(cell.body_bytes, self.arguments.seed, cell.streaming)
            files[cell.name] = self.folder / f"{cell.name}.txt"
            files[cell.name].write_bytes(b"\n".join(bodies) + b"\n")
            if not cell.streaming and cell.connections == 1:
                for target in targets:
                    client.check_answers(target.name, target.ports[0], bodies, traffic.answer())
        return files

    def load(self, cell: Cell, target: Target, fleet: servers.Fleet, bodies: pathlib.Path) -> Figures:
        assert fleet.status_port is not None
        url = f"http://127.0.0.1:{target.ports[0]}"
        size = ["-t1", f"-c{cell.connections}", f"-d{self.plan.load_s:.0f}s", "--timeout", "5s"]
        accepted, served = client.nginx_counters(fleet.status_port)
        text = output_of(["wrk", *size, "-s", HERE / "load.lua", url, "--", bodies], self.plan.load_s + 20)
        now_accepted, now_served = client.nginx_counters(fleet.status_port)
        figures: Figures = json.loads(text.strip().splitlines()[-1])
        if now_served - served < figures["requests"]:
            raise BenchError(f"{target.name} answered requests that no server has seen")
        figures["req_s"] = figures["requests"] / figures["seconds"]
        figures["server_connections"] = now_accepted - accepted - 1  # the second look at the counters is one
        return figures

    def stream(self, cell: Cell, target: Target, _: servers.Fleet, bodies: pathlib.Path) -> Figures:
        ports = ",".join(str(port) for port in target.ports)
        options = ["--ports", ports, "--bodies", bodies, "--streams", cell.connections, "--seed", self.arguments.seed]
        command = [sys.executable, HERE / "stream.py", *options, "--requests", self.plan.stream_requests]
        limit_s = 30 + 4 * self.plan.stream_requests * (engine.FIRST_CHUNK_S + engine.CHUNKS * engine.GAP_S)
        figures: Figures = json.loads(output_of(command, limit_s))
        return figures


def measured(measure: Any, cell: Cell, target: Target, fleet: servers.Fleet, bodies: pathlib.Path) -> Figures:
    """The measurement, and what it cost the router."""
    if target.program is None:
        return measure(cell, target, fleet, bodies)
    before = target.program.usage()
    figures = measure(cell, target, fleet, bodies)
    target.program.check()
    after = target.program.usage()
    counted = figures["chunks"] if cell.streaming else figures["requests"]
    unit = "chunk" if cell.streaming else "request"
    figures[f"cpu_us_per_{unit}"] = (after.cpu_s - before.cpu_s) * 1e6 / counted if counted else math.nan
    return {**figures, "rss_mb": after.rss_mb, "threads": after.threads}


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
