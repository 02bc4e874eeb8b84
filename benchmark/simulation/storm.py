"""A storm on one long system prompt: does the load spread, and are caches used?

    python3 benchmark/simulation/storm.py --gotoni build/bin/gotoni --out FOLDER

Eight cold servers, in one region or in three; four of five requests stand behind 8,000 tokens that they share, the others do
not; arrivals are Poisson, at seven tenths of what eight servers can do. For each policy and cell, over several seeds: the
busiest server's requests and prompt tokens over the mean, the share of prompt tokens found cached, TTFT and E2E, with
Student's 95 % interval. Spread means that the busiest server has at most 1.25 times the mean of requests, on average over seeds.
Shown and not judged are prompt tokens, for what is cached is no work (a server without a copy can serve those who need none),
and regions that are far from each other, where distance is a reason to prefer some. Writes storm.json and storm.md. Exit
status: 0 predictive and gorgo spread it and find nine of ten prompt tokens cached, 1 they do not, 2 it failed. Needs Python
alone.
"""

from __future__ import annotations

import sys

import cells
from cells import E2E, HITS, TTFT, Found, Measure, Policy
from processes import BenchError, end_on_signals
from statistics_of import student

FIELD = "predictive,gorgo,least-load,prefix-tree,session-affinity,smg-cache-aware,dynamo-kv"
JUDGED = ("predictive", "gorgo")
JUDGED_CELLS = ("one region", "three regions, near")
SERVERS = 8
# Seven tenths of the 60 requests a second that eight servers end if 20,000 are there at once (--arrivals throughput).
RATE = "42"
REQUESTS = "4000"
STORM = ["--workload", "shared-prefix", "--requests", REQUESTS, "--arrivals", f"poisson:{RATE}", *cells.FLEET]
CELLS = {
    "one region": [*STORM, "--rtt", "37", "--servers", str(SERVERS)],
    # Three, three and two.
    "three regions, near": [*STORM, "--rtt", "26,26,26,120,120,120,210,210", "--servers", "1"],
    "three regions, far": [*STORM, "--rtt", "37,37,37,279,279,279,456,456", "--servers", "1"],
}
MOST_OVER_MEAN = 1.25
LEAST_HITS = 90.0


def over_mean(key: str) -> Measure:
    def read(found: Policy) -> float:
        return float(found[key]) * SERVERS

    return Measure(key, read, 2, most=False)


REQUESTS_OVER_MEAN, TOKENS_OVER_MEAN = over_mean("busiest_share"), over_mean("busiest_prompt_share")
COLUMNS = {
    "busiest / mean, requests": REQUESTS_OVER_MEAN, "prompt tokens": TOKENS_OVER_MEAN, "hits %": HITS,
    "TTFT p95 s": TTFT, "E2E p95 s": E2E,
}  # fmt: skip


def main() -> int:
    end_on_signals()
    parser = cells.parser_of(__doc__, "storm.json and storm.md")
    parser.add_argument("--field", default=FIELD, help="who is played")
    options = cells.parsed(parser)
    words = {cell: each for cell, each in CELLS.items() if options.only in cell}
    if not words:
        parser.error(f"there is no cell with {options.only} in its name: {'; '.join(CELLS)}")
    try:
        found = cells.gather(words, options.field, options)
        missed = misses(found)
        cells.write(found, "\n".join([*table(found), "", *(missed or ["The storm is spread, and caches are used."])]) + "\n",
                    options, "storm")  # fmt: skip
    except BenchError as error:
        print(f"storm: {error}", file=sys.stderr)
        return 2
    return 1 if missed else 0


def table(found: Found) -> list[str]:
    rows = ["| cell | policy | " + " | ".join(COLUMNS) + " |", "|---|---" + "|--:" * len(COLUMNS) + "|"]
    for cell, policies in found.items():
        for policy, runs in policies.items():
            columns = [cells.with_half(*student(measure.of(runs)), measure.digits) for measure in COLUMNS.values()]
            rows.append(f"| {cell} | {policy} | " + " | ".join(columns) + " |")
    return rows


def misses(found: Found) -> list[str]:
    """Of what is judged; a line each."""
    lines: list[str] = []
    for cell, policies in found.items():
        for policy in (name for name in JUDGED if name in policies and cell in JUDGED_CELLS):
            most, hits = (student(measure.of(policies[policy]))[0] for measure in (REQUESTS_OVER_MEAN, HITS))
            if most > MOST_OVER_MEAN:
                lines.append(f"MISSED: {cell}, {policy}: the busiest server has {most:.2f} times the mean of requests.")
            if hits < LEAST_HITS:
                lines.append(f"MISSED: {cell}, {policy}: {hits:.1f} % of prompt tokens were found cached.")
    return lines


if __name__ == "__main__":
    sys.exit(main())
