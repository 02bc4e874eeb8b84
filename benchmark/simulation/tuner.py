"""Plays the tuner in many seeded worlds, beside the same policy untuned and beside GORGO's (1+1)-ES.

    python3 benchmark/simulation/tuner.py --gotoni build/bin/gotoni --out FOLDER

Six worlds, each over several seeds; a seed draws conversations and arrivals anew:

  well     weights as they are by default
  wrong    a weight that is far off: there is something to find
  steps    the load rises to twice and falls again, several times
  drift    one server becomes slow, and round trips change, in the middle
  trap     engines that hand out first tokens however many wait for the rest: whoever looks at first tokens alone sends all
           to the nearest
  predictive  as well, under that policy

Each is played untuned (that is also what a tuner frozen from the beginning decides, byte for byte, so what warms up
there is no merit of a tuner), tuned, and with the evolution strategy; and nudged: untuned with one weight larger by a thousandth,
which is better or worse than untuned by chance alone. Goodput is the share of requests that kept within both
limits, of all requests and of the last third. Exit status: 0 if no tuned run has a goodput more than 2 % below its untuned
one, 1 otherwise, 2 if there is no measurement. Writes tuner.json and tuner.md. Needs Python alone.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
import pathlib
import random
import sys
import tempfile
from typing import Any, Sequence

import cells
from cells import Run
from processes import BenchError, end_on_signals, output_of
from statistics_of import percentile, student

BLOCK = 64
SYSTEM_PROMPTS = 4
WORST = 0.98


@dataclasses.dataclass(frozen=True)
class World:
    """`policy` is tuned, or nudged by `nudge`, for `limits`: milliseconds to the first token, and between tokens. `rates`: new conversations a second, in
    stretches of equal length."""

    policy: str
    nudge: str
    limits: tuple[int, int]
    rates: tuple[float, ...]
    words: tuple[str, ...]


NEUTRAL = ("--engine", "neutral", "--servers", "2", "--rtt", "26,120,210", "--kv-tokens", "400000")
L40S = ("--engine", "l40s", "--servers", "1", "--rtt", "26,120,210")
NUDGE = "rtt_weight=1.001"
KINDS = ("untuned", "tuned", "evolved", "nudged")
WORLDS = {
    "well": World("gorgo", NUDGE, (600, 25), (3.5,), NEUTRAL),
    "wrong": World("gorgo:running_cost_factor=0.005", NUDGE, (600, 25), (3.5,), NEUTRAL),
    "steps": World("gorgo", NUDGE, (600, 25), (2.0, 4.0, 2.0, 4.0, 2.0), NEUTRAL),
    "drift": World("gorgo", NUDGE, (600, 25), (3.0,), (*NEUTRAL, "--fault", "slow@MIDDLE:2*2.5")),
    "trap": World("gorgo", NUDGE, (2_000, 50), (0.9,), L40S),
    "predictive": World("predictive", "decode_weight=0.6006", (600, 25), (3.5,), NEUTRAL),
}


def main() -> int:
    end_on_signals()
    parser = cells.parser_of(__doc__, "tuner.json and tuner.md")
    parser.set_defaults(seeds=34)
    parser.add_argument("--requests", type=int, default=30_000, metavar="N", help="of a run, about")
    options = cells.parsed(parser)
    worlds = [name for name in WORLDS if options.only in name]
    if not worlds:
        parser.error(f"there is no world with {options.only} in its name: {', '.join(WORLDS)}")
    if options.requests < 1_000:
        parser.error("there must be at least 1,000 requests")
    runs = [(name, seed) for seed in range(1, options.seeds + 1) for name in worlds]
    found: list[dict[str, Any]] = []
    try:
        for _, result in cells.in_threads(runs, lambda run: play(options, run), options.jobs):
            found.append(result)
            # After each, so that an interrupted comparison leaves what it has.
            (options.out / "tuner.json").write_text(json.dumps(found) + "\n")
        text = "\n".join(lines(found)) + "\n"
        (options.out / "tuner.md").write_text(text)
    except (BenchError, OSError) as error:
        print(f"\ntuner: {error}", file=sys.stderr)
        return 2
    print(text, end="")
    return 0 if all(ratio(each, "tuned") >= WORST for each in found) else 1


def trace(world: World, requests: int, seed: int) -> str:
    """Conversations behind one of a few system prompts, in Mooncake's format; about as many requests as wanted."""
    chance = random.Random(seed)
    ids = iter(range(1, 1 << 30))
    systems = [[next(ids) for _ in range(1_000 // BLOCK)] for _ in range(SYSTEM_PROMPTS)]
    rows: list[dict[str, Any]] = []
    per_stretch = requests / len(world.rates)
    second = 0.0
    for rate in world.rates:
        until = len(rows) + per_stretch
        while len(rows) < until:
            second += chance.expovariate(rate)
            blocks, moment, tokens = list(chance.choice(systems)), second, chance.lognormvariate(7.0, 0.8)
            while True:
                blocks += [next(ids) for _ in range(max(1, round(min(tokens, 30_000) / BLOCK)))]
                output = max(2, round(chance.lognormvariate(5.0, 0.8)))
                rows.append({"timestamp": round(moment * 1000), "input_length": len(blocks) * BLOCK,
                             "output_length": output, "hash_ids": list(blocks)})  # fmt: skip
                if chance.random() < 1 / 5:
                    break
                blocks += [next(ids) for _ in range(output // BLOCK)]
                moment += output * 0.03 + chance.lognormvariate(1.6, 0.8)
                tokens = chance.lognormvariate(5.8, 1.0)
    rows.sort(key=lambda row: row["timestamp"])
    return "".join(json.dumps(row) + "\n" for row in rows)


def play(options: argparse.Namespace, run: Run) -> dict[str, Any]:
    """One world under its policy, untuned, tuned and evolved. Errors: BenchError."""
    name, seed = run
    world = WORLDS[name]
    first, between = world.limits
    tuned = f"{world.policy}:tune=1:ttft_limit_ms={first}:itl_limit_ms={between}"
    with tempfile.TemporaryDirectory() as folder:
        path, log, report = (pathlib.Path(folder) / each for each in ("trace.jsonl", "log.csv", "report.json"))
        text = trace(world, options.requests, seed)
        path.write_text(text)
        times = [json.loads(line)["timestamp"] for line in text.splitlines()]
        middle = f"{times[len(times) // 2] / 1000:.0f}"
        command = [
            str(options.gotoni), "simulate", "--trace", str(path), "--block-tokens", str(BLOCK),
            *(word.replace("MIDDLE", middle) for word in world.words),
            "--policy", f"{world.policy},{tuned},{world.policy}:evolve=1,{world.policy}:{world.nudge}", "--no-oracle", "--jobs", "1", "--quiet",
            "--seed", str(seed), "--slo-ttft", str(first), "--slo-itl", str(between),
            "--log", str(log), "--json", str(report),
        ]  # fmt: skip
        output_of(command, cells.LIMIT_S)
        rows = list(csv.DictReader(io.StringIO(log.read_text())))
        policies = json.loads(report.read_text())["cells"][0]["policies"]
    result: dict[str, Any] = {"world": name, "seed": seed}
    for kind, policy in zip(KINDS, policies):
        own = sorted((each for each in rows if each["policy"] == policy["policy"]), key=lambda row: float(row["scheduled_ms"]))
        result[kind] = figures(own, first, between) | {"tuner": policy.get("tuner")}
    return result


def figures(rows: Sequence[dict[str, str]], first: float, between: float) -> dict[str, float]:
    def is_good(row: dict[str, str]) -> bool:
        return (row["outcome"] == "ok" and float(row["ttft_ms"]) <= first
                and (not row["itl_ms"] or float(row["itl_ms"]) <= between))  # fmt: skip

    good = [is_good(row) for row in rows]
    last = good[2 * len(good) // 3 :]
    return {
        "goodput": sum(good) / len(good),
        "last": sum(last) / len(last),
        "ttft_p95_ms": percentile([float(row["ttft_ms"]) for row in rows if row["ttft_ms"]], 95),
        "e2e_p95_ms": percentile([float(row["e2e_ms"]) for row in rows if row["e2e_ms"]], 95),
    }


def ratio(result: dict[str, Any], kind: str, figure: str = "goodput") -> float:
    return result[kind][figure] / max(result["untuned"][figure], 1e-9)


# MARK: Tables


def lines(found: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        "| world | runs | good % untuned | tuned | evolved | last third untuned | tuned | evolved "
        "| worst tuned / untuned | worst evolved / untuned | worst nudged / untuned | accepted | ended early |",
        "|---|--:" + "|--:" * 11 + "|",
    ]
    for name in (name for name in WORLDS if any(each["world"] == name for each in found)):
        runs = [each for each in found if each["world"] == name]
        cells = [share(runs, kind, figure) for figure in ("goodput", "last") for kind in KINDS[:3]]
        cells += [f"{min(ratio(each, kind) for each in runs):.3f}" for kind in KINDS[1:]]
        cells += [f"{sum(each['tuned']['tuner'][key] for each in runs) / len(runs):.1f}" for key in ("accepted", "rolled_back")]
        rows.append(f"| {name} | {len(runs)} | " + " | ".join(cells) + " |")
    worst = min(ratio(each, "tuned") for each in found)
    below = {kind: sum(1 for each in found if ratio(each, kind) < WORST) for kind in KINDS[1:]}
    return [
        *rows, "",
        f"Of {len(found)} runs {below['tuned']} end more than 2 % below untuned; the worst has {worst:.3f} of its goodput. "
        f"Of the evolved {below['evolved']} do, of the nudged {below['nudged']}.",
    ]  # fmt: skip


def share(runs: Sequence[dict[str, Any]], kind: str, figure: str) -> str:
    mean, half = student([100 * each[kind][figure] for each in runs])
    return f"{mean:.1f} ± {half:.1f}"


if __name__ == "__main__":
    sys.exit(main())
