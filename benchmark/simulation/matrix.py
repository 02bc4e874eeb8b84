"""Plays a policy against all others in eighteen cells, over several seeds, and says where it is best, tied or beaten.

    python3 benchmark/simulation/matrix.py --gotoni build/bin/gotoni --traces FOLDER --out FOLDER

Three workloads (Mooncake's conversations, agents, prompts that share nothing), three loads (light, near the knee,
saturated), two sets of round trips (37, 279, 456 and 26, 120, 210 ms). A seed draws the agents and the prompts anew, and of
the conversations, whose requests are those of the trace, when they arrive. In each cell the policy is compared with each
other one, seed by seed: of p95 TTFT, p95 E2E and the share of requests served well it is better, worse, or tied where the 95 %
interval of the mean difference (Student's t) holds zero. A second table has its p95 TTFT and E2E over those of --beside.
Writes matrix.json and matrix.md. Needs Python alone.
"""

from __future__ import annotations

import sys
from typing import Sequence

import cells
from cells import E2E, GOOD, HITS, LOADS, RTTS, TTFT, Cell, Found
from processes import BenchError, end_on_signals
from statistics_of import student

FIELD = (
    "predictive,gorgo,gorgo-v3,prefix-tree,least-load,least-request,session-affinity,power-of-two,aibrix-prefix-cache,"
    "sglang-cache-aware,smg-cache-aware,dynamo-kv,llm-d,chwbl,preble-e2,skywalker,round-robin,random"
)
CELLS = [Cell(workload, load, rtt) for workload in LOADS for load in LOADS[workload] for rtt in RTTS]
MEASURES = (TTFT, E2E, GOOD)


def main() -> int:
    end_on_signals()
    parser = cells.parser_of(__doc__, "matrix.json and matrix.md")
    cells.add_traces(parser)
    parser.add_argument("--policy", default="predictive", help="who is compared with all others")
    parser.add_argument("--field", default=FIELD, help="who is played")
    parser.add_argument("--beside", metavar="POLICY", help="for the second table; least-load if it is in the field")
    options = cells.parsed(parser)
    field = options.field.split(",")
    beside = options.beside or ("least-load" if "least-load" in field else options.policy)
    for name in (options.policy, beside):
        if name not in field:
            parser.error(f"{name} is not in the field")
    if len(field) < 2:
        parser.error("there is nobody to compare with")
    words = cells.chosen(CELLS, options, parser)
    try:
        found = cells.gather(words, options.field, options)
        lines = verdicts(found, options.policy)
        if beside != options.policy:
            lines += ["", *ratios(found, options.policy, beside)]
        cells.write(found, "\n".join(lines) + "\n", options, "matrix")
    except BenchError as error:
        print(f"matrix: {error}", file=sys.stderr)
        return 2
    return 0


def verdicts(found: Found, policy: str) -> list[str]:
    """A row for each cell: the policy beside the best other one."""
    heading = ["cell", *(f"{each.name} | best other" for each in MEASURES), "verdict"]
    rows = ["| " + " | ".join(heading) + " |", "|---" + "|--:|---" * len(MEASURES) + "|---|"]
    beaten = 0
    for cell, policies in found.items():
        columns, said = [], []
        for measure in MEASURES:
            own = measure.of(policies[policy])
            others = {name: measure.of(runs) for name, runs in policies.items() if name != policy}
            best = sorted(others, key=lambda name: student(others[name])[0], reverse=measure.most)[0]
            columns.append(cells.with_half(*student(own), measure.digits))
            columns.append(f"{best} {student(others[best])[0]:.{measure.digits}f}")
            said.append(verdict(own, others[best], measure.most))
        beaten += "worse" in said
        rows.append(f"| {cell} | " + " | ".join(columns) + f" | {', '.join(said)} |")
    return [*rows, "", f"{policy} is beaten in {beaten} of {len(found)} cells by some policy in some figure."]


def verdict(own: Sequence[float], other: Sequence[float], most: bool) -> str:
    """better, worse or tied; a share of one per cent or less is no difference."""
    mean, half = student([a - b for a, b in zip(own, other)])
    size = abs(student(other)[0])
    if abs(mean) <= half or abs(mean) <= 0.01 * size:
        return "tied"
    return "better" if (mean > 0) == most else "worse"


def ratios(found: Found, policy: str, beside: str) -> list[str]:
    """A row for each cell: what the policy's users wait for, in units of what those of `beside` do."""
    rows = [
        f"| cell | p95 TTFT of {policy} / of {beside} | p95 E2E | hits % | hits %, {beside} |",
        "|---|--:|--:|--:|--:|",
    ]
    for cell, policies in found.items():
        own, other = policies[policy], policies[beside]
        columns = [cells.with_half(*cells.ratio(measure, own, other), 2) for measure in (TTFT, E2E)]
        columns += [f"{student(HITS.of(runs))[0]:.1f}" for runs in (own, other)]
        rows.append(f"| {cell} | " + " | ".join(columns) + " |")
    return rows


if __name__ == "__main__":
    sys.exit(main())
