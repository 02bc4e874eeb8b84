"""The report as aligned tables for a terminal."""

from __future__ import annotations

import math
from typing import Sequence

from cells import Cell
from intervals import STATISTICS, Estimate

TITLES = {"ttft_ms": "TTFT ms", "itl_ms": "ITL ms", "latency_ms": "request latency ms"}


def report(found: Sequence[Cell]) -> str:
    parts = [heading(found)]
    for load in dict.fromkeys(cell.load for cell in found):
        rows = [cell for cell in found if cell.load == load]
        parts.append(f"{load}\n\n{counts(rows)}")
        parts += seeds_apart(rows)
        parts += [times(rows, name) for name in TITLES]
    return "\n\n".join(parts)


def heading(found: Sequence[Cell]) -> str:
    ways: list[str] = []
    if any(cell.intervals == "seeds" for cell in found):
        ways.append("over seeds (Student's t) where there are several; the value is then the mean of the seeds'")
    if any(cell.intervals == "requests" for cell in found):
        ways.append("over the requests of the one run (block bootstrap) where there is one seed")
    return f"Requests that were answered whole; in parentheses 95 % intervals, {'; '.join(ways)}."


def seeds_apart(rows: Sequence[Cell]) -> list[str]:
    """What must be known before policies are compared; nothing if all have the same seeds."""
    if not all(cell.comparable for cell in rows):
        return ["These policies have no seed in common, so they met different requests: do not compare them."]
    named = [f"{cell.policy} {', '.join(map(str, cell.left_out))}" for cell in rows if cell.left_out]
    return [f"Left out, since not all policies have these seeds: {'; '.join(named)}."] if named else []


def counts(rows: Sequence[Cell]) -> str:
    head = ["policy", "seeds", "answered", "failed", "given up", "req/s", "output tok/s", "hits %", "hits by"]
    lines = [
        [
            cell.policy, str(cell.seeds), f"{cell.requests:,}", f"{cell.errored:,}", f"{cell.incomplete:,}",
            shown(cell.requests_per_s), shown(cell.output_tokens_per_s), shown(percent(cell.hit_share)), cell.hits_by,
        ]
        for cell in rows
    ]  # fmt: skip
    return table(head, lines)


def times(rows: Sequence[Cell], name: str) -> str:
    lines = [[cell.policy, *(shown(cell.times[name][statistic]) for statistic in STATISTICS)] for cell in rows]
    return table([TITLES[name], *STATISTICS], lines)


def percent(share: Estimate) -> Estimate:
    return Estimate(100 * share.value, 100 * share.low, 100 * share.high)


def shown(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "–"
    places = 0 if abs(estimate.value) >= 1000 else 1 if abs(estimate.value) >= 10 else 2
    text = f"{estimate.value:,.{places}f}"
    if math.isnan(estimate.low):
        return text
    return f"{text} ({estimate.low:,.{places}f}–{estimate.high:,.{places}f})"


def table(head: list[str], rows: list[list[str]]) -> str:
    """The first column is aligned to the left, all others to the right."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    lines = [
        "  ".join(text.rjust(width) if at else text.ljust(width) for at, (text, width) in enumerate(zip(row, widths)))
        for row in [head, *rows]
    ]
    return "\n".join(line.rstrip() for line in [lines[0], "-" * len(lines[0]), *lines[1:]])
