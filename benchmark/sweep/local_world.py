"""A whole world on this machine, for one sweep: simulated engines, balancers or a proxy, and geo_proxy.py in front."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import secrets
import subprocess
import sys
import time
from typing import Iterator, Sequence

from control import HERE, BenchError, Control

sys.path.append(str(HERE.parent / "forms"))

from processes import Program, free_ports  # noqa: E402
from world import MS_PER_TOKEN, READY_S, RTT_MS, is_known  # noqa: E402

GEO = HERE.parent / "geo_proxy.py"
PREPARE = HERE.parent / "prepare_wildchat.py"
SAMPLE = HERE.parent / "geo" / "wildchat_small.jsonl"

# Where the nodes are said to be; distances between them are real here, by the relays of benchmark/forms.
PLACES = (
    ("us-west", 37.8, -122.4), ("eu-central", 50.1, 8.7), ("ap-northeast", 35.7, 139.7), ("us-east", 39.0, -77.5),
    ("sa-east", -23.5, -46.6), ("ap-south", 19.1, 72.9), ("ap-southeast", -33.9, 151.2), ("af-south", -33.9, 18.4),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Shape:
    nodes: int
    form: str  # geo or proxy
    geo_router: str
    programs: pathlib.Path
    seed: int


@dataclasses.dataclass(frozen=True)
class Addresses:
    entry: str
    routers: list[str]
    engines: list[str]
    programs: list[Program]


def rtt_ms(node: int) -> float:
    return RTT_MS[node % len(RTT_MS)]


def check(shape: Shape, policies: Sequence[str]) -> None:
    """That everything is there, and that our programs know the policies; nothing is started that stays."""
    if not 1 <= shape.nodes <= len(PLACES):
        raise BenchError(f"--local {shape.nodes}: from 1 to {len(PLACES)} nodes")
    router = shape.programs / ("gotoni-lb" if shape.form == "geo" else "gotoni-proxy")
    for program in (shape.programs / "gotoni-engine", router):
        if not os.access(program, os.X_OK):
            raise BenchError(f"there is no program {program}: make bin, or --bin")
    if shape.form == "geo" and not GEO.exists():
        raise BenchError(f"there is no {GEO}")
    option = (
        ["--engine", "http://127.0.0.1:1", "--strategy"] if shape.form == "geo" else ["--policy"]
    )  # a node wants one
    for policy in policies:
        words = [router, *option, policy, "--print-config"]
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=READY_S)
        if done.returncode != 0:
            raise BenchError(" ".join(done.stderr.split()) or f"{router.name} refuses the policy {policy}")


def sample(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Prompts and where their users live, of the small data set that comes with the benchmark."""
    for path in (PREPARE, SAMPLE):
        if not path.exists():
            raise BenchError(f"there is no {path}: give --data")
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, str(PREPARE), "--input", str(SAMPLE), "--output-dir", str(folder)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise BenchError(f"prepare_wildchat.py: {' '.join(done.stderr.split())[-300:]}")
    return folder / "wildchat_guidellm.jsonl", folder / "wildchat_location_lookup.json"


@contextlib.contextmanager
def local_world(shape: Shape, folder: pathlib.Path, lookup: pathlib.Path | None) -> Iterator[Addresses]:
    """Started, heard of by everybody, and ended with the block.

    `folder`: for logs; `lookup`: for geo_proxy.py, which without it has everybody at its default place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    started: list[Program] = []
    relays: list[str] = []

    def start(name: str, *command: object) -> None:
        started.append(Program(name, command, folder / f"{name.replace(' ', '-')}.log"))

    def distant(onward: int, milliseconds: float) -> int:
        port = free_ports(1)[0]
        relays.append(f"{port}:{onward}:{milliseconds:g}")
        return port

    ports = free_ports(2 * shape.nodes + 2)
    engines, fronts, entry = ports[: shape.nodes], ports[shape.nodes : 2 * shape.nodes], ports[-1]
    shared = ["--ms-per-token", MS_PER_TOKEN, "--threads", 1, "--log-level", "notice", "--seed", shape.seed]
    try:
        for node, port in enumerate(engines):
            start(
                f"engine {node + 1}",
                shape.programs / "gotoni-engine",
                "--listen",
                f"127.0.0.1:{port}",
                "--model",
                "a100",
                "--seed",
                node,
                "--quiet",
            )
        if shape.form == "geo":
            with mesh_key():
                for node, port in enumerate(fronts):
                    peers: list[str] = []
                    for other, onward in enumerate(fronts):
                        if other != node:
                            way = distant(onward, max(rtt_ms(node), rtt_ms(other)))
                            peers += ["--peer", f"{PLACES[other][0]}=http://127.0.0.1:{way}"]
                    start(
                        f"node {node + 1}",
                        shape.programs / "gotoni-lb",
                        "--listen",
                        f"127.0.0.1:{port}",
                        "--engine",
                        f"http://127.0.0.1:{engines[node]}",
                        "--node-id",
                        PLACES[node][0],
                        *peers,
                        *shared,
                    )
            nodes_file = folder / "nodes.json"
            nodes_file.write_text(json.dumps([
                {"name": name, "url": f"http://127.0.0.1:{port}", "latitude": latitude, "longitude": longitude}
                for (name, latitude, longitude), port in zip(PLACES, fronts)
            ]))  # fmt: skip
            words: list[object] = [
                sys.executable,
                GEO,
                "--port",
                entry,
                "--nodes-file",
                nodes_file,
                "--log-file",
                folder / "geo_proxy.jsonl",
                "--router",
                shape.geo_router,
                "--lookup-file",
                lookup or "none",  # else it would take one that happens to lie in this folder
            ]
            start("geo_proxy", *words)
            routers = fronts
        else:
            servers: list[str] = []
            for node, port in enumerate(engines):
                servers += ["--server", f"{PLACES[node][0]}=http://127.0.0.1:{distant(port, rtt_ms(node))}"]
            start("proxy", shape.programs / "gotoni-proxy", "--listen", f"127.0.0.1:{entry}", *servers, *shared)
            routers = [entry]
        if relays:
            start("relay", sys.executable, HERE.parent / "forms" / "delay.py", *relays)
        made = Addresses(url(entry), [url(port) for port in routers], [url(port) for port in engines], started)
        wait_until_ready(made, shape)
        yield made
    finally:
        for program in reversed(started):
            program.stop()


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def mesh_key() -> Iterator[None]:
    """Nodes take their common secret from the environment; nobody else is to get it."""
    before = os.environ.get("GOTONI_MESH_KEY")
    os.environ["GOTONI_MESH_KEY"] = secrets.token_hex(16)
    try:
        yield
    finally:
        if before is None:
            del os.environ["GOTONI_MESH_KEY"]
        else:
            os.environ["GOTONI_MESH_KEY"] = before


def wait_until_ready(made: Addresses, shape: Shape) -> None:
    """Everybody answers, and every router has measured the way to every server it knows."""
    control = Control()
    deadline = time.monotonic() + READY_S
    why: Exception | None = None
    while time.monotonic() < deadline:
        for program in made.programs:
            program.check()
        try:
            known = [control.json("GET", f"{router}/proxy/status")["servers"] for router in made.routers]
            control.text("GET", f"{made.entry}/health")
            if all(len(servers) == shape.nodes and all(is_known(each) for each in servers) for servers in known):
                return
        except (BenchError, KeyError, TypeError) as error:
            why = error
        time.sleep(0.1)
    raise BenchError(f"the local world was not ready within {READY_S:.0f} s: {why or 'some server is not healthy'}")
