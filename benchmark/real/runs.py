"""Real engines behind real distances, one router after the other on the same conversations: see README.md.

    benchmark/real/run --json FILE

Every repetition has conversations of its own and visits all contestants in an order drawn anew. Engines and routers are
started for each run and ended after it. Exit status: 0 done, 1 requests failed, 2 there is no measurement.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import random
import signal
import sys
import tempfile
import time
from typing import Any

import contestants
import load
import plot
import tables
import world
from processes import BenchError, go_on_in_own_network
from routers import Setting, install

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build"


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        field = contestants.named(options.field.split(",") if options.field else list(contestants.FIELD))
        for router in {each.router.name: each.router for each in field}.values():
            install(router, BUILD / "peers-venv", say)
        go_on_in_own_network()
        return run(options, field)
    except BenchError as error:
        print(f"real: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark/real/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=pathlib.Path, required=True, metavar="FILE",
                        help="all records; tables and a picture go beside it, as .md, .png and .svg")
    parser.add_argument("--gotoni-proxy", type=pathlib.Path, default=BUILD / "bin" / "gotoni-proxy")
    parser.add_argument("--field", metavar="A,B", help="contestants, or routers for all that they can [all]")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--trace", type=pathlib.Path, metavar="FILE",
                        help="Mooncake's JSON lines, blocks of 32 tokens [conversations drawn from the seed]")
    parser.add_argument("--rtt", default="2,80,160", metavar="MS,MS,MS", help="to each engine [%(default)s]")
    parser.add_argument("--time-scale", type=float, default=1.0, metavar="X", help="2: twice as many requests a second")
    parser.add_argument("--slots", type=int, default=4, help="prompts that an engine remembers [%(default)s]")
    parser.add_argument("--context", type=int, default=32768, help="tokens of them together [%(default)s]")
    parser.add_argument("--gotoni-option", action="append", default=[], metavar="WORD",
                        help="for every gotoni-proxy, as --gotoni-option=--name=value; repeat for more")
    parser.add_argument("--ms-per-token", type=float, metavar="MS", help="told to gotoni's cost [measured on an engine first]")
    parser.add_argument("--seed", type=int, default=1, help="of conversations, words and order [%(default)s]")
    parser.add_argument("--quick", action="store_true", help="one repetition of 10 s with three contestants, to see that it works")
    return parser.parse_args()


def run(options: argparse.Namespace, field: list[contestants.Contestant]) -> int:
    if not options.gotoni_proxy.exists() and any(each.is_ours() for each in field):
        raise BenchError(f"there is no {options.gotoni_proxy}: make bin")
    if options.repetitions < 1 or options.time_scale <= 0:
        raise BenchError("--repetitions and --time-scale must be above 0")
    if options.quick:
        options.repetitions = 1
        field = contestants.named(["gotoni gorgo", "gotoni least-load", "haproxy leastconn"])
    try:
        rtt_ms = tuple(float(word) for word in options.rtt.split(","))
    except ValueError:
        raise BenchError(f"--rtt {options.rtt}: numbers of milliseconds, by comma") from None
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        logs = pathlib.Path(folder)
        tiny = logs / "tiny.gguf"
        load.model.write_model(tiny)
        fleet = world.Fleet(tiny, rtt_ms, options.slots, options.context)
        network = world.Network(rtt_ms, logs)
        try:
            rate = options.ms_per_token or round(world.milliseconds_per_token(fleet, network, logs), 3)
            say(f"an engine alone prefills a token in {rate:g} ms")
            setting = Setting(
                port=0, servers=[], registered=None, folder=logs, venvs=BUILD / "peers-venv",
                gotoni_proxy=options.gotoni_proxy, gotoni_threads=1,
                gotoni_options=["--ms-per-token", f"{rate:g}", "--log-level", "notice", *options.gotoni_option],
            )
            began = time.monotonic()
            runs = [(repetition, each) for repetition in range(options.repetitions)
                    for each in in_order(field, options.seed, repetition)]
            for number, (repetition, each) in enumerate(runs):
                left = (time.monotonic() - began) / number * (len(runs) - number) if number else 0
                say(f"{number + 1} of {len(runs)}: {each.name}" + (f", {left / 60:.0f} min left" if number else ""))
                requests = trace(options, repetition)
                bodies = [load.body(request, options.seed * 1000 + repetition) for request in requests]
                with world.world(fleet, network, each, setting, logs) as made:
                    results.append(measure(made, each, repetition, requests, bodies))
                say(f"    {tables.one_line(results[-1])}")
                write(options, results, rate)
        finally:
            network.stop()
    text = tables.tables(results)
    options.json.with_suffix(".md").write_text(text)
    plot.draw(results, options.json)
    print(text)
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
        "engines": [{name: b[name] - a[name] for name in a} for a, b in zip(before, after, strict=True)],
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
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"facts": facts, "results": results}) + "\n")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
