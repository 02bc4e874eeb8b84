"""What the demo says: the world in words, tables that line up, and who won by what."""

from __future__ import annotations

import dataclasses
import os
from typing import Mapping, Sequence

import world
from figures import AGREEMENT_MS, Agreement, Figures
from workload import Shape


def introduction(shape: Shape, requests: Sequence[int], it: world.World) -> str:
    """`requests` of each seed."""
    distances = ", ".join(f"{region.name} {region.rtt_ms:g} ms" for region in it.regions)
    sizes = "/".join(f"{tokens:,}" for tokens, _ in shape.assistants)
    shares = "/".join(f"{100 * share:.0f}" for _, share in shape.assistants)
    least, most = min(requests), max(requests)
    count = f"{least} requests" if least == most else f"{least} to {most} requests a seed"
    return f"""\
Three simulated engines ({world.ENGINE}: {world.MS_PER_TOKEN} ms of prefill a token), round trips: {distances}.
{shape.conversations} conversations begin within {shape.span_s:g} s, {count}, the same under each policy.
Shared prompts of {sizes} tokens for {shares} % of the users, then documents of about {shape.document:,}.
Watch it: {it.dashboard}   Ask it: http://{it.host}:{it.port}/v1
"""


def table(rows: Sequence[Figures], names: Sequence[str]) -> str:
    head = ["policy", "requests", "TTFT p50", "p95", "mean", "= distance", "+ prefill", "+ waiting", "cached"]
    lines = [[*head, *names, "failed"]]
    for row in rows:
        times = (row.p50_ms, row.p95_ms, row.mean_ms, row.distance_ms, row.prefill_ms, row.waiting_ms)
        shares = (row.hit_share, *(row.regions[name] for name in names))
        cells = [*(f"{time:.0f}" for time in times), *(f"{100 * share:.0f} %" for share in shares), str(row.failures)]
        lines.append([row.policy, str(row.requests), *cells])
    return lined_up(lines)


def seeds(of: Mapping[int, Sequence[Figures]]) -> str:
    """A row for each seed, and how often each policy was best."""
    policies = [row.policy for row in next(iter(of.values()))]
    lines = [["p50 / p95 ms", *policies]]
    best = {policy: [0, 0] for policy in policies}
    for seed, rows in of.items():
        lines.append([f"seed {seed}", *(f"{row.p50_ms:.0f} / {row.p95_ms:.0f}" for row in rows)])
        best[min(rows, key=lambda row: row.p50_ms).policy][0] += 1
        best[min(rows, key=lambda row: row.p95_ms).policy][1] += 1
    lines.append(["best of all", *(f"{p50} / {p95}" for p50, p95 in best.values())])
    return "\n".join((lined_up(lines), *wins(of)))


def wins(of: Mapping[int, Sequence[Figures]]) -> list[str]:
    """In how many seeds gorgo was faster than each of the others."""
    every = [{row.policy: row for row in rows} for rows in of.values()]
    found = []
    for other in every[0]:
        if other != "gorgo" and "gorgo" in every[0]:
            p50 = sum(rows["gorgo"].p50_ms < rows[other].p50_ms for rows in every)
            p95 = sum(rows["gorgo"].p95_ms < rows[other].p95_ms for rows in every)
            found.append(f"gorgo is faster than {other} in {p50} of {len(every)} seeds at p50 and in {p95} at p95.")
    return found


def lined_up(lines: Sequence[Sequence[str]]) -> str:
    """The first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines)]
    found = []
    for line in lines:
        cells = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))
        found.append("  ".join((line[0].ljust(widths[0]), *cells)).rstrip())
    return "\n".join(found)


def verdict(rows: Sequence[Figures]) -> str:
    """Who won, and why: against each of the others, what the mean gained and lost."""
    if len(rows) < 2:
        return ""
    first = min(rows, key=lambda row: row.p50_ms)
    second = min(rows, key=lambda row: row.p95_ms)
    if first is second:
        said = f"{first.policy} won: the lowest TTFT at p50 and at p95."
    else:
        said = f"{first.policy} has the lowest TTFT at p50, {second.policy} at p95."
    best = min(rows, key=lambda row: row.mean_ms)
    others = (f"  than with {row.policy}: {difference(best, row)}" for row in rows if row is not best)
    return "\n".join(("", said, f"On average first tokens came sooner with {best.policy}", *others, ""))


def difference(best: Figures, other: Figures) -> str:
    parts = (
        ("distance", best.distance_ms - other.distance_ms),
        ("prefill", best.prefill_ms - other.prefill_ms),
        ("waiting", best.waiting_ms - other.waiting_ms),
    )
    said = ", ".join(f"{abs(value):.0f} ms {'less' if value < 0 else 'more'} {name}" for name, value in parts)
    return f"by {other.mean_ms - best.mean_ms:.0f} ms, which is {said}"


def notes(rows: Sequence[Figures], agreed: Agreement, seconds: float, load: float) -> str:
    late = max(row.late_p95_ms for row in rows)
    share = 100 * agreed.over / max(agreed.requests, 1)
    return "\n".join(
        (
            "TTFT: ms to the first token. Its mean: round trips to the servers chosen, prefill of what they did not",
            "hold, and the rest, waiting behind others. cached: prompt tokens held. Then where requests went.",
            f"The proxy's own TTFT differs from its clients' by {agreed.median_ms:.2f} ms at the median and"
            f" {agreed.p95_ms:.2f} ms at p95;",
            f"by more than {AGREEMENT_MS:g} ms in {agreed.over} of {agreed.requests} requests ({share:.1f} %)."
            f" Clients' minus proxy's: {agreed.bias_ms:+.2f} ms at the median.",
            f"{seconds:.0f} s; machine load up to {load:.1f} on {os.cpu_count()} cores;"
            f" 95 % of requests were sent within {late:.1f} ms of their time.",
        )
    )


def document(
    shape: Shape,
    rtt_ms: Mapping[str, float],
    rows: Sequence[Figures],
    by_seed: Mapping[int, Sequence[Figures]],
    agreed: Agreement,
    wrong: Sequence[str],
) -> dict[str, object]:
    """The same as JSON."""
    return {
        "shape": dataclasses.asdict(shape),
        "engine": world.ENGINE,
        "rtt_ms": rtt_ms,
        "policies": [dataclasses.asdict(row) for row in rows],
        "seeds": {seed: [dataclasses.asdict(row) for row in of] for seed, of in by_seed.items()},
        "agreement": dataclasses.asdict(agreed),
        "wrong": wrong,
    }
