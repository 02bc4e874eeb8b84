"""The runs of real.py: each contestant in each repetition, engines and routers anew for each."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import random
import sys
import tempfile
import time
from typing import Any

import calibration
import contestants
import load
import plot
import tables
import world
from processes import BenchError, end_on_signals, go_on_in_own_network, program
from routers import Setting, install
from statistics_of import percentile

BUILD = pathlib.Path(__file__).resolve().parents[2] / "build"
ENGINES = 3
ATTEMPTS = 3
LATEST_P95_MS = 50.0  # a client later than that has measured the machine
QUICK_FIELD = ["gotoni gorgo", "gotoni least-load", "haproxy leastconn"]


def main(options: argparse.Namespace) -> int:
    end_on_signals(lambda number: 128 + number)
    try:
        plan = settle(options)
        for router in {each.router.name: each.router for each in plan.field}.values():
            install(router, BUILD / "peers-venv", say)
        go_on_in_own_network()
        return run(options, plan)
    except (BenchError, OSError) as error:
        print(f"real: {error}", file=sys.stderr)
        return 2


@dataclasses.dataclass(frozen=True)
class Plan:
    field: list[contestants.Contestant]
    repetitions: int
    rtt_ms: tuple[float, ...]


def settle(options: argparse.Namespace) -> Plan:
    """Everything that can be wrong with the options is found before anything is installed or started."""
    usual = QUICK_FIELD if options.quick else list(contestants.FIELD)
    field = contestants.named(options.field.split(",") if options.field else usual)
    if any(each.is_ours() for each in field) and not options.gotoni_proxy.exists():
        raise BenchError(f"there is no {options.gotoni_proxy}: make bin")
    if any(each.router.name == "haproxy" for each in field):
        program("haproxy")
    if options.repetitions < 1 or options.time_scale <= 0 or options.slots < 1:
        raise BenchError("--repetitions, --time-scale and --slots must be above 0")
    try:
        rtt_ms = tuple(float(word) for word in options.rtt.split(","))
    except ValueError:
        rtt_ms = ()
    if len(rtt_ms) != ENGINES or min(rtt_ms) < 0:
        raise BenchError(f"--rtt {options.rtt}: {ENGINES} numbers of milliseconds, by comma")
    if options.trace:
        load.read_trace(options.trace)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.touch()
    return Plan(field, 1 if options.quick else options.repetitions, rtt_ms)


def run(options: argparse.Namespace, plan: Plan) -> int:
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        logs = pathlib.Path(folder)
        tiny = logs / "tiny.gguf"
        load.model.write_model(tiny)
        fleet = world.Fleet(tiny, plan.rtt_ms, options.slots, options.context)
        network = world.Network(plan.rtt_ms, logs)
        try:
            rate = options.ms_per_token or round(world.milliseconds_per_token(fleet, network, logs), 3)
            say(f"an engine alone prefills a token in {rate:g} ms")
            setting = Setting(
                port=0, servers=[], registered=None, folder=logs, venvs=BUILD / "peers-venv",
                gotoni_proxy=options.gotoni_proxy, gotoni_threads=1,
                gotoni_options=["--ms-per-token", f"{rate:g}", "--log-level", "notice", *options.gotoni_option],
            )
            began = time.monotonic()
            runs = [(repetition, each) for repetition in range(plan.repetitions)
                    for each in in_order(plan.field, options.seed, repetition)]
            for number, (repetition, each) in enumerate(runs):
                left = (time.monotonic() - began) / number * (len(runs) - number) if number else 0
                say(f"{number + 1} of {len(runs)}: {each.name}" + (f", {left / 60:.0f} min left" if number else ""))
                requests = trace(options, repetition)
                bodies = [load.body(request, options.seed * 1000 + repetition) for request in requests]
                for _ in range(ATTEMPTS):
                    with world.world(fleet, network, each, setting, logs) as made:
                        result = measure(made, each, repetition, requests, bodies)
                    if result["late_p95_ms"] <= LATEST_P95_MS or options.quick:
                        break
                    say(f"    the client was late (p95 {result['late_p95_ms']:.0f} ms): the machine is busy, once more")
                else:
                    raise BenchError(f"the client was late in {ATTEMPTS} runs of {each.name}: the machine is too busy")
                results.append(result)
                say(f"    {tables.one_line(result)}")
                write(options, results, rate)
        finally:
            network.stop()
    plot.draw(results, options.json)
    print(tables.tables(results) + "\n" + calibration.tables(results))
    return 1 if any(record["error"] for result in results for record in result["records"]) else 0


def in_order(field: list[contestants.Contestant], seed: int, repetition: int) -> list[contestants.Contestant]:
    return random.Random(f"{seed}-{repetition}").sample(field, len(field))


def trace(options: argparse.Namespace, repetition: int) -> list[load.workload.Request]:
    requests = load.read_trace(options.trace) if options.trace else load.own_trace(options.seed * 1000 + repetition)
    scaled = [dataclasses.replace(each, timestamp=round(each.timestamp / options.time_scale)) for each in requests]
    return [each for each in scaled if each.timestamp < 10_000] if options.quick else scaled


def measure(
    made: world.World, contestant: contestants.Contestant, repetition: int,
    requests: list[load.workload.Request], bodies: list[bytes],
) -> dict[str, Any]:
    before = [world.engine_counters(url) for url in made.engines]
    load_before = os.getloadavg()[0]
    cpu_before = made.router.usage().cpu_s
    records = load.replay(made.url, requests, bodies)
    made.check()
    usage = made.router.usage()
    after = [world.engine_counters(url) for url in made.engines]
    prompt = sum(each.input_length for each in requests)
    return {
        "contestant": contestant.name,
        "repetition": repetition,
        "records": [dataclasses.asdict(record) for record in records],
        "late_p95_ms": percentile([record.late_ms for record in records], 95),
        "engines": [{name: b[name] - a[name] for name in a} for a, b in zip(before, after, strict=True)],
        "decisions": made.decisions() if contestant.is_ours() else [],
        "believed_capacity": made.believed_capacity() if contestant.is_ours() else None,
        "reusable": sum(load.workload.reusable_tokens(requests)) / prompt,
        "router_cpu_s": usage.cpu_s - cpu_before,
        "router_rss_mb": usage.rss_mb,
        "load_before": load_before,
        "load_after": os.getloadavg()[0],
    }


def write(options: argparse.Namespace, results: list[dict[str, Any]], rate: float) -> None:
    """After every run, so that an interrupted benchmark leaves what it has."""
    facts = {
        "options": {name: str(value) if isinstance(value, pathlib.Path) else value for name, value in vars(options).items()},
        "ms_per_token": rate,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "congestion_control": pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
    }
    options.json.write_text(json.dumps({"facts": facts, "results": results}) + "\n")
    options.json.with_suffix(".md").write_text(tables.tables(results) + "\n" + calibration.tables(results))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

