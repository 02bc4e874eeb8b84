"""Plays a policy against all others in eighteen cells, over several seeds, and says where it is best, tied or beaten.

    python3 benchmark/simulation/matrix.py --gotoni build/bin/gotoni --traces FOLDER --out FOLDER

Three workloads (Mooncake's conversations, agents, prompts that share nothing), three loads (light, near the knee,
saturated), two sets of round trips (37, 279, 456 and 26, 120, 210 ms). A seed draws the agents and the prompts anew, and of
the conversations, whose requests are those of the trace, when they arrive. In each cell the policy is compared with each
other one, seed by seed: of p95 TTFT, p95 E2E and the share of requests served well it is better, worse, or tied where the 95 %
interval of the mean difference (Student's t) holds zero. Writes matrix.json and matrix.md. Needs Python alone.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import pathlib
import subprocess
import sys
from typing import Any, Callable, Sequence

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "peers"))

from statistics_of import student  # noqa: E402

FLEET = ("--kv-tokens", "2000000", "--probe-interval", "0.1", "--slo-ttft", "5000", "--slo-itl", "100")
FIELD = (
    "predictive,gorgo,gorgo-v3,prefix-tree,least-load,least-request,session-affinity,power-of-two,aibrix-prefix-cache,"
    "sglang-cache-aware,smg-cache-aware,dynamo-kv,llm-d,chwbl,preble-e2,skywalker,round-robin,random"
)
RTTS = {"far": "37,279,456", "near": "26,120,210"}
# Requests a second of the conversations (the trace's own are 3.4), users of agents, requests a second of the control.
LOADS = {
    "conversation": {"light": "poisson:1.7", "knee": "poisson:2.7", "saturated": "poisson:3.7"},
    "agentic": {"light": "120", "knee": "300", "saturated": "400"},
    "no-reuse": {"light": "poisson:6", "knee": "poisson:10", "saturated": "poisson:12.5"},
}


@dataclasses.dataclass(frozen=True)
class Measure:
    """A figure of a policy: its name, where it stands, its scale, and whether more is better."""

    name: str
    read: Callable[[dict[str, Any]], float]
    digits: int
    most: bool


MEASURES = (
    Measure("TTFT p95 s", lambda found: found["ttft_ms"]["p95"]["value"] / 1_000, 2, most=False),
    Measure("E2E p95 s", lambda found: found["e2e_ms"]["p95"]["value"] / 1_000, 2, most=False),
    Measure("good %", lambda found: found["goodput"]["value"] * 100, 1, most=True),
)


@dataclasses.dataclass(frozen=True)
class Cell:
    workload: str
    load: str
    rtt: str

    def words(self, traces: pathlib.Path | None) -> list[str]:
        level = LOADS[self.workload][self.load]
        words = ["--rtt", RTTS[self.rtt], *FLEET]
        if self.workload == "agentic":
            return [*words, "--workload", "agentic", "--users", level]
        if self.workload == "no-reuse":
            return [*words, "--workload", "no-reuse", "--requests", "6000", "--arrivals", level]
        return [*words, "--trace", str(traces), "--arrivals", level]

    def __str__(self) -> str:
        return f"{self.workload}, {self.load}, {self.rtt}"


def main() -> int:
    options = parsed()
    trace = None if options.traces is None else options.traces / "mooncake" / "conversation.jsonl"
    cells = [
        Cell(workload, load, rtt)
        for workload in LOADS if workload != "conversation" or trace is not None
        for load in LOADS[workload]
        for rtt in RTTS
    ]  # fmt: skip
    runs = [(cell, seed) for cell in cells for seed in range(1, options.seeds + 1)]
    found: dict[str, dict[str, list[dict[str, Any]]]] = {str(cell): {} for cell in cells}
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        played = pool.map(lambda run: play(options.gotoni, run[0].words(trace), run[1], options.field), runs)
        for done, ((cell, _), policies) in enumerate(zip(runs, played), 1):
            for policy in policies:
                found[str(cell)].setdefault(policy["policy"], []).append(policy)
            print(f"\r{done} of {len(runs)} runs", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "matrix.json").write_text(json.dumps(found) + "\n")
    text = "\n".join(lines(found, options.policy)) + "\n"
    (options.out / "matrix.md").write_text(text)
    print(text, end="")
    return 0


def play(gotoni: pathlib.Path, words: Sequence[str], seed: int, field: str) -> list[dict[str, Any]]:
    """The policies of one cell. Exits with a sentence if they cannot be played."""
    command = [str(gotoni), "simulate", *words, "--policy", field, "--no-oracle", "--jobs", "1", "--quiet"]
    done = subprocess.run(
        [*command, "--seed", str(seed), "--json", "/dev/stdout"], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"matrix: {done.stderr.strip() or 'the simulation ended with ' + str(done.returncode)}")
    return json.loads(done.stdout[done.stdout.index("{") :])["cells"][0]["policies"]


# MARK: Comparison


def lines(found: dict[str, dict[str, list[dict[str, Any]]]], policy: str) -> list[str]:
    heading = ["cell", *(f"{each.name} | best other" for each in MEASURES), "verdict"]
    rows = ["| " + " | ".join(heading) + " |", "|---" + "|--:|---" * len(MEASURES) + "|---|"]
    beaten = 0
    for cell, policies in found.items():
        columns, verdicts = [], []
        for measure in MEASURES:
            own = [measure.read(each) for each in policies[policy]]
            mean, half = student(own)
            others = {
                name: [measure.read(each) for each in runs] for name, runs in policies.items() if name != policy
            }
            best = sorted(others, key=lambda name: student(others[name])[0], reverse=measure.most)[0]
            columns.append(f"{mean:.{measure.digits}f} ± {half:.{measure.digits}f}")
            columns.append(f"{best} {student(others[best])[0]:.{measure.digits}f}")
            verdicts.append(verdict(own, others[best], measure.most))
        beaten += "worse" in verdicts
        rows.append(f"| {cell} | " + " | ".join(columns) + f" | {', '.join(verdicts)} |")
    return [*rows, "", f"{policy} is beaten in {beaten} of {len(found)} cells by some policy in some figure."]


def verdict(own: Sequence[float], other: Sequence[float], most: bool) -> str:
    """better, worse or tied; a share of one per cent or less is no difference."""
    mean, half = student([a - b for a, b in zip(own, other)])
    size = abs(student(other)[0])
    if abs(mean) <= half or abs(mean) <= 0.01 * size:
        return "tied"
    return "better" if (mean > 0) == most else "worse"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--gotoni", type=pathlib.Path, required=True, help="the command line tool")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FOLDER", help="for matrix.json and matrix.md")
    parser.add_argument(
        "--traces", type=pathlib.Path, metavar="FOLDER",
        help="has mooncake/conversation.jsonl; without it there are twelve cells"
    )  # fmt: skip
    parser.add_argument("--policy", default="predictive", help="who is compared with all others")
    parser.add_argument("--field", default=FIELD, help="who is played")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="runs of each cell")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="runs at one time")
    options = parser.parse_args()
    if not options.gotoni.is_file():
        parser.error(f"there is no program {options.gotoni}")
    if options.traces is not None and not (options.traces / "mooncake" / "conversation.jsonl").is_file():
        parser.error(f"there is no mooncake/conversation.jsonl in {options.traces}")
    if options.seeds < 2 or options.jobs < 1:
        parser.error("there must be at least 2 seeds and 1 job")
    if options.policy not in options.field.split(","):
        parser.error(f"{options.policy} is not in the field")
    return options


if __name__ == "__main__":
    sys.exit(main())
