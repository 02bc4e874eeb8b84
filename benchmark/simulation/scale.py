"""How far does which way of sharing carry: 8, 64 and 512 proxies in front of the same servers, and of more.

    python3 benchmark/simulation/scale.py --gotoni build/bin/gotoni --out FOLDER

Conversations behind a few system prompts, each turn at a proxy drawn at random: the worst that what stands before the proxies
can do. Cells: how many proxies; how late they are told; more servers; and a region that is full while others are not, where
requests have to leave it and find back (by a digest, several sizes of it, or by prices alone). Then what digests cost, measured
(`gotoni bench-digest`). Writes scale.json and scale.md. Exit status: 0 sharing finds at least 0.95 of what one brain finds, in
every cell, and regions with a digest of 16 bits do too; 1 not; 2 it failed. Needs Python alone, and twelve gigabytes of memory
for 512 proxies of 384 servers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

import cells
from cells import HITS, Found, Measure, Policy
from processes import BenchError, end_on_signals, output_of
from statistics_of import student

LEAST_OF_ONE_BRAIN = 0.95
LIMIT_S = 600.0
# Told at once: what one proxy would know that saw everything.
ONE_BRAIN = "gorgo@sharing:tell_ms=0"
APART, SHARING, REGIONS, BLIND = "gorgo@apart", "gorgo@sharing", "gorgo@regions", "gorgo@regions:digest_bits=0"
LATE = tuple(f"gorgo@sharing:tell_ms={each}" for each in (250, 1_000, 5_000))
DIGESTS = tuple(f"gorgo@regions:{each}" for each in (
    "digest_bits=8", "digest_every=32", "digest_ms=10000", "digest_ms=60000", "price_ms=1000", "price_ms=5000"))  # fmt: skip
USERS = 800
WORLD = ["--workload", "agentic", "--rtt", "1,120,210", "--kv-tokens", "2000000"]
# Servers of each region.
SMALL, LARGE = 16, 128


@dataclasses.dataclass(frozen=True)
class Cell:
    proxies: int
    field: tuple[str, ...]
    # Of each region; users are as many as that.
    servers: int = SMALL
    clients: str = "spread"

    @property
    def is_large(self) -> bool:
        """Played once, whatever --seeds says."""
        return self.servers > SMALL

    def words(self, users: int) -> list[str]:
        """Of the command line. `users`: of a small one."""
        return [*WORLD, "--users", str(users * self.servers // SMALL), "--servers", str(self.servers), "--clients", self.clients,
                "--proxies", str(self.proxies)]  # fmt: skip


CELLS = {
    "8 proxies, 48 servers": Cell(8, (ONE_BRAIN, APART, SHARING, REGIONS)),
    "64 proxies, 48 servers": Cell(64, (ONE_BRAIN, APART, SHARING, *LATE, REGIONS)),
    "512 proxies, 48 servers": Cell(512, (ONE_BRAIN, APART, SHARING, REGIONS)),
    "64 proxies, a full region": Cell(64, (ONE_BRAIN, APART, SHARING, REGIONS, BLIND, *DIGESTS), clients="proxy"),
    "64 proxies, 384 servers": Cell(64, (ONE_BRAIN, APART, SHARING, REGIONS), LARGE),
    "512 proxies, 384 servers": Cell(512, (REGIONS,), LARGE),
}  # fmt: skip


def seconds(at: str) -> Measure:
    def read(found: Policy) -> float:
        return float(found["ttft_ms"][at]["value"]) / 1_000

    return Measure(at, read, 2, most=False)


def per_request(key: str) -> Measure:
    """What proxies have done, for each request."""

    def read(found: Policy) -> float:
        return float(found["sharing"][key]) / max(int(found["sharing"]["prompts_told"]), 1)

    return Measure(key, read, 2, most=False)


COLUMNS = {
    "hits %": HITS, "TTFT p50 s": seconds("p50"), "p95 s": seconds("p95"), "heard per request": per_request("prompts_heard"),
    "passed on": per_request("passed_on"), "in vain": per_request("disappointed"),
}  # fmt: skip


def main() -> int:
    end_on_signals()
    parser = cells.parser_of(__doc__, "scale.json and scale.md")
    parser.add_argument("--users", type=int, default=USERS, metavar="N", help="in front of 48 servers; in proportion where there are more")
    parser.add_argument("--blocks", type=int, default=10_000_000, metavar="N", help="that the measured digest is for")
    options = cells.parsed(parser)
    if options.users < 10 or not 1_000 <= options.blocks <= 1_000_000_000:
        parser.error("there must be at least 10 users, and 1,000 to 1,000,000,000 blocks")
    chosen = {name: cell for name, cell in CELLS.items() if options.only in name}
    if not chosen:
        parser.error(f"there is no cell with {options.only} in its name: {'; '.join(CELLS)}")
    runs = [(name, seed) for name, cell in chosen.items() for seed in range(1, 1 + (1 if cell.is_large else options.seeds))]
    found: Found = {name: {} for name in chosen}
    try:
        played = dict(cells.in_threads(runs, lambda run: play(run, options), options.jobs))
        for run in runs:
            for policy in played[run]:
                found[run[0]].setdefault(policy["policy"], []).append(policy)
        digests = json.loads(output_of([options.gotoni, "bench-digest", "--json", "--blocks", options.blocks], LIMIT_S))
        missed = misses(found)
        lines = [*table(found), "", *digest_table(digests), "", *(missed or ["Sharing finds what one brain finds."])]
        cells.write(found, "\n".join(lines) + "\n", options, "scale")
    except BenchError as error:
        print(f"scale: {error}", file=sys.stderr)
        return 2
    return 1 if missed else 0


def play(run: cells.Run, options: argparse.Namespace) -> list[Policy]:
    cell = CELLS[run[0]]
    return cells.play(options.gotoni, cell.words(options.users), run[1], ",".join(cell.field))


def table(found: Found) -> list[str]:
    rows = ["| cell | proxies know | of one brain's hits | " + " | ".join(COLUMNS) + " |", "|---|---|--:" + "|--:" * len(COLUMNS) + "|"]
    for cell, policies in found.items():
        for policy, runs in policies.items():
            columns = [student_text(measure, runs) for measure in COLUMNS.values()]
            share = share_of_one_brain(policies, policy)
            rows.append(f"| {cell} | {policy} | {'-' if share is None else f'{share:.3f}'} | " + " | ".join(columns) + " |")
    return rows


def student_text(measure: Measure, runs: list[Policy]) -> str:
    if len(runs) < 2:
        return f"{measure.of(runs)[0]:.{measure.digits}f}"
    return cells.with_half(*student(measure.of(runs)), measure.digits)


def share_of_one_brain(policies: dict[str, list[Policy]], policy: str) -> float | None:
    """None where that was not played."""
    if ONE_BRAIN not in policies:
        return None
    own, one = HITS.of(policies[policy]), HITS.of(policies[ONE_BRAIN])
    return sum(a / b for a, b in zip(own, one)) / len(own)


def digest_table(rows: list[dict[str, float]]) -> list[str]:
    """As `gotoni bench-digest` measured it, on the machine that this runs on."""
    lines = [
        "| one mark for | bits of a mark | bytes a block | false, new prompt % | false, continued % | lookup ns | a prompt more ns |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        lines.append(
            f"| {row['every']:.0f} blocks | {row['bits']:.0f} | {row['bytes_per_block']:.3f} | {100 * row['false_of_new']:.2f} | "
            f"{100 * row['false_of_continued']:.2f} | {row['ns_per_lookup']:.0f} | {row['ns_per_prompt']:.0f} |"
        )
    return lines


def misses(found: Found) -> list[str]:
    """A line each."""
    lines: list[str] = []
    for cell, policies in found.items():
        for policy in (SHARING, REGIONS):
            share = share_of_one_brain(policies, policy) if policy in policies else None
            if share is not None and share < LEAST_OF_ONE_BRAIN:
                lines.append(f"MISSED: {cell}, {policy}: {share:.3f} of what one brain finds.")
    return lines


if __name__ == "__main__":
    sys.exit(main())
