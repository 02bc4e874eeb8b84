"""What can be asked of the demo."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib

import figures
import workload
import world

PROGRAMS = pathlib.Path(__file__).resolve().parents[2] / "build" / "bin"
POLICIES = ("gorgo", *figures.RIVALS)
ALL_POLICIES = (*POLICIES, "session-affinity", "round-robin", "least-request", "power-of-two", "random")
SEEDS_TO_CHECK = 5


@dataclasses.dataclass(frozen=True)
class Options:
    proxy: pathlib.Path
    engine: pathlib.Path
    policies: tuple[str, ...]
    seeds: tuple[int, ...]
    shape: workload.Shape
    regions: tuple[world.Region, ...]
    port: int
    is_warm: bool
    is_quick: bool
    checks: bool
    keeps: bool
    as_json: bool
    out: pathlib.Path | None


def parse(description: str) -> Options:
    """Of the command line; what cannot be ends the program with a sentence about it."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--proxy", type=pathlib.Path, default=PROGRAMS / "gotoni-proxy", metavar="FILE")
    add("--engine", type=pathlib.Path, default=PROGRAMS / "gotoni-engine", metavar="FILE")
    add("--policy", default=",".join(POLICIES), metavar="A,B", help="of " + ", ".join(ALL_POLICIES))
    add("--seed", type=int, default=1, metavar="N", help="of the users and of the policies' order")
    add("--seeds", type=int, metavar="N", help="as many seeds, from --seed on; 30 s for each and each policy")
    add("--conversations", type=int, metavar="N", help=f"in {workload.Shape.span_s:.0f} s; more is more load")
    add("--rtt-ms", default=",".join(f"{ms:g}" for ms in world.RTT_MS), metavar="A,B,C", help="instead of %(default)s")
    add("--warm", action="store_true", help="every engine begins with all shared prompts")
    add("--port", type=int, default=0, metavar="N", help="of the proxy (any free one)")
    add("--quick", action="store_true", help="20 seconds: that it works, not who is better")
    add("--check", action="store_true", help=f"fail if gorgo does not win over {SEEDS_TO_CHECK} seeds or more")
    add("--keep", action="store_true", help="then go on with some traffic until Ctrl-C")
    add("--json", action="store_true", help="the figures as JSON instead of tables")
    add("--out", type=pathlib.Path, metavar="DIR", help="figures, every request and the programs' logs go there")
    given = parser.parse_args()

    policies = tuple(dict.fromkeys(given.policy.split(",")))
    for name in policies:
        if name not in ALL_POLICIES:
            parser.error(f"there is no policy {name}; there are {', '.join(ALL_POLICIES)}")
    count = given.seeds if given.seeds is not None else SEEDS_TO_CHECK if given.check else 1
    if not 1 <= count <= 100:
        parser.error("--seeds is from 1 to 100")
    if given.check and (given.quick or count < SEEDS_TO_CHECK or not set(POLICIES) <= set(policies)):
        parser.error(f"--check is about {', '.join(POLICIES)} over {SEEDS_TO_CHECK} seeds or more, and not --quick")
    shape = workload.QUICK if given.quick else workload.Shape()
    if given.conversations is not None:
        if not 1 <= given.conversations <= 1000:
            parser.error("--conversations is from 1 to 1000")
        shape = dataclasses.replace(shape, conversations=given.conversations)
    for name in ("engine", "proxy"):
        if not getattr(given, name).is_file():
            parser.error(f"there is no {getattr(given, name)}: `make bin` makes it, or name one with --{name}")
    return Options(
        proxy=given.proxy,
        engine=given.engine,
        policies=policies,
        seeds=tuple(range(given.seed, given.seed + count)),
        shape=shape,
        regions=regions(parser, given.rtt_ms),
        port=given.port,
        is_warm=given.warm,
        is_quick=given.quick,
        checks=given.check,
        keeps=given.keep,
        as_json=given.json,
        out=given.out,
    )


def regions(parser: argparse.ArgumentParser, text: str) -> tuple[world.Region, ...]:
    try:
        distances = [float(number) for number in text.split(",")]
    except ValueError:
        distances = []
    if len(distances) != len(world.NAMES) or not all(0 <= ms <= 10_000 for ms in distances):
        parser.error(f"--rtt-ms is {len(world.NAMES)} numbers of milliseconds with commas")
    return tuple(world.Region(name, ms) for name, ms in zip(world.NAMES, distances))
