"""A fleet in three regions on this machine: the same users, once under each policy, in about two minutes.

Needs Python 3.11 and the two programs. README.md says what the world is and how to read the table. Exit status: 0,
1 requests failed or (--check) something promised does not hold, 2 it could not be measured, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import gc
import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
from typing import NoReturn

import figures
import play
import workload
import world
from client import AnswerError
from control import ControlError

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = HERE.parents[1] / ".build" / "release"
POLICIES = ("gorgo", "least-load", "prefix-tree")
ALL_POLICIES = (*POLICIES, "session-affinity", "round-robin", "least-request", "power-of-two", "random")


class Progress:
    """One line that changes on a terminal; plain lines, and fewer, elsewhere."""

    def __init__(self) -> None:
        self.is_terminal = sys.stderr.isatty()

    def say(self, text: str) -> None:
        """Something that stays until the next thing is said."""
        print(f"\r\033[K{text}" if self.is_terminal else text, end="" if self.is_terminal else "\n", file=sys.stderr, flush=True)

    def count(self, text: str) -> None:
        if self.is_terminal:
            self.say(text)

    def clear(self) -> None:
        if self.is_terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


@dataclasses.dataclass
class Run:
    policy: str
    samples: list[play.Sample]
    figures: figures.Figures
    differences: list[float]


def main() -> int:
    arguments = parse()
    signal.signal(signal.SIGTERM, on_term)
    go_first()
    try:
        with tempfile.TemporaryDirectory(prefix="gotoni-demo-") as logs:
            with world.running(arguments.engine, arguments.proxy, arguments.port, pathlib.Path(logs)) as it:
                return show(arguments, it)
    except (world.WorldError, ControlError, AnswerError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def go_first() -> None:
    """What is measured here are milliseconds, on a machine that may be compiling something. Needs root; else never mind."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)


def on_term(number: int, frame: object) -> NoReturn:
    """An exception, so that everything is stopped on the way out."""
    raise SystemExit(128 + number)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=pathlib.Path, default=PROGRAMS / "gotoni-engine", metavar="FILE")
    parser.add_argument("--proxy", type=pathlib.Path, default=PROGRAMS / "gotoni-proxy", metavar="FILE")
    parser.add_argument("--port", type=int, default=0, help="of the proxy (any free one)")
    parser.add_argument("--policy", default=",".join(POLICIES), help="with commas: " + ", ".join(ALL_POLICIES))
    parser.add_argument("--seed", type=int, default=1, help="of the users and of the policies' order")
    parser.add_argument("--conversations", type=int, help=f"in {workload.Shape.span_s:.0f} s; more is more load")
    parser.add_argument("--quick", action="store_true", help="20 seconds: that it works, not who is better")
    parser.add_argument("--check", action="store_true", help="fail if gorgo does not win or the times disagree")
    parser.add_argument("--keep", action="store_true", help="then go on with some traffic until Ctrl-C")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="all figures and every request")
    arguments = parser.parse_args()
    arguments.policies = list(dict.fromkeys(arguments.policy.split(",")))
    for name in arguments.policies:
        if name not in ALL_POLICIES:
            parser.error(f"there is no policy {name}; there are {', '.join(ALL_POLICIES)}")
    if arguments.conversations is not None and not 1 <= arguments.conversations <= 1000:
        parser.error("--conversations is from 1 to 1000")
    for name in ("engine", "proxy"):
        if not getattr(arguments, name).is_file():
            parser.error(f"there is no {getattr(arguments, name)}: `swift build -c release` makes it, or name one with --{name}")
    arguments.shape = workload.QUICK if arguments.quick else workload.Shape()
    if arguments.conversations:
        arguments.shape = dataclasses.replace(arguments.shape, conversations=arguments.conversations)
    return arguments


def show(arguments: argparse.Namespace, it: world.World) -> int:
    users = workload.draw(arguments.shape, arguments.seed)
    print(introduction(arguments.shape, users, it))
    # The order is drawn too: whoever comes first would otherwise always have the cooler machine.
    order = random.Random(arguments.seed).sample(arguments.policies, len(arguments.policies))
    progress = Progress()
    began = time.monotonic()
    runs = {}
    for number, policy in enumerate(order, 1):
        runs[policy] = run(policy, users, it, progress, f"{policy} ({number} of {len(order)})")
    progress.clear()
    rows = [runs[policy].figures for policy in arguments.policies]
    agreed = figures.agreement([value for each in runs.values() for value in each.differences])
    print(figures.table(rows, list(it.engines)))
    print(conclusion(rows, agreed, time.monotonic() - began, order))
    missed = figures.missed([] if arguments.quick else rows, agreed)  # so few requests show nothing
    if arguments.json:
        arguments.json.write_text(json.dumps(document(arguments, order, runs, agreed, missed), indent=1) + "\n")
    for error in sorted({sample.error for each in runs.values() for sample in each.samples if sample.error})[:3]:
        print(f"failed: {error}", file=sys.stderr)
    if arguments.check:
        for sentence in missed:
            print(f"missed: {sentence}", file=sys.stderr)
    if arguments.keep:
        keep(arguments, it)
    return int(any(row.failures for row in rows) or (arguments.check and bool(missed)))


def run(policy: str, users: workload.Workload, it: world.World, progress: Progress, title: str) -> Run:
    """One policy, from empty caches, with every server known, connected and idle."""
    progress.say(f"{title}: warming up")
    it.settle()
    it.flush()
    it.proxy.set_policy("round-robin")
    asyncio.run(play.warm(users.systems, len(it.engines), it.host, it.port, f"warm-{policy}"))
    it.settle()
    it.proxy.clear_log()
    it.proxy.set_policy(policy)
    progress.say(f"{title}: {users.requests} requests")
    answered = 0

    def told(sample: play.Sample) -> None:
        nonlocal answered
        answered += 1
        progress.count(f"{title}: {answered} of {users.requests} requests")

    # What is there is not garbage; collecting it again and again would be heard in the times.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        samples = asyncio.run(play.play(users, it.host, it.port, policy, told))
    finally:
        gc.enable()
    it.check()
    log = it.proxy.log()
    row = figures.of_policy(policy, samples, log, list(it.engines), os.getloadavg()[0])
    return Run(policy, samples, row, figures.differences(samples, log))


def introduction(shape: workload.Shape, users: workload.Workload, it: world.World) -> str:
    distances = ", ".join(f"{region.name} {region.rtt_ms:.0f} ms" for region in world.REGIONS)
    sizes = "/".join(f"{tokens:,}" for tokens, _ in shape.assistants)
    return "\n".join(
        (
            f"Three simulated engines ({world.ENGINE}: {world.MS_PER_TOKEN} ms of prefill a token, {world.UPLOAD_MBPS:.0f} Mbit/s up),"
            f" round trips: {distances}.",
            f"The proxy is beside {world.REGIONS[0].name}. {len(users.conversations)} conversations begin within"
            f" {shape.span_s:.0f} s, {users.requests} requests,",
            f"each behind one of {len(shape.assistants)} shared prompts of {sizes} tokens, with documents of about"
            f" {shape.document:,} tokens.",
            f"Watch it: {it.dashboard}   Ask it: http://{it.host}:{it.port}/v1",
            "",
        )
    )


def conclusion(rows: list[figures.Figures], agreed: figures.Agreement, seconds: float, order: list[str]) -> str:
    loads = [row.load for row in rows]
    late = max(row.late_p95_ms for row in rows)
    return "\n".join(
        (
            "TTFT: ms to the first token. cached: prompt tokens that the engine had. Then where requests went.",
            f"The proxy's own TTFT differs from its clients' by {agreed.median_ms:.2f} ms at the median and"
            f" {agreed.p95_ms:.2f} ms at p95 ({agreed.requests} requests;",
            f"clients' minus proxy's: {agreed.bias_ms:+.2f} ms at the median).",
            f"{seconds:.0f} s, in the order {', '.join(order)}; machine load {min(loads):.1f} to {max(loads):.1f} on"
            f" {os.cpu_count()} cores; 95 % of requests were sent within {late:.1f} ms of their time.",
        )
    )


def document(
    arguments: argparse.Namespace, order: list[str], runs: dict[str, Run], agreed: figures.Agreement, missed: list[str]
) -> dict[str, object]:
    return {
        "seed": arguments.seed,
        "shape": dataclasses.asdict(arguments.shape),
        "regions": {region.name: region.rtt_ms for region in world.REGIONS},
        "engine": world.ENGINE,
        "order": order,
        "policies": [dataclasses.asdict(runs[policy].figures) for policy in arguments.policies],
        "agreement": dataclasses.asdict(agreed),
        "missed": missed,
        "samples": {policy: [dataclasses.asdict(sample) for sample in each.samples] for policy, each in runs.items()},
    }


def keep(arguments: argparse.Namespace, it: world.World) -> None:
    """Light traffic under the first policy, until Ctrl-C."""
    it.proxy.set_policy(arguments.policies[0])
    shape = dataclasses.replace(workload.Shape(), conversations=24)
    print(f"\nLight traffic goes on under {arguments.policies[0]}, until Ctrl-C. Watch it: {it.dashboard}", flush=True)
    seed = arguments.seed
    while True:
        seed += 1
        # The same assistants as before, so that what is cached stays of use.
        users = workload.draw(shape, arguments.seed, seed)
        samples = asyncio.run(play.play(users, it.host, it.port, f"keep-{seed}"))
        it.check()
        for error in sorted({sample.error for sample in samples if sample.error})[:1]:
            print(f"failed: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
