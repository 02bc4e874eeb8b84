"""Prints what `gotoni simulate --json FILE` found as Markdown tables, one for each load.

    python3 benchmark/simulation/markdown.py results.json
    python3 benchmark/simulation/markdown.py --summary *.json     # who is best, a line for each load

Needs Python alone.
"""
from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import Any

HEADING = [
    "policy", "TTFT p50 s", "p95 s", "E2E p50 s", "p95 s", "ITL p95 ms", "good %", "hits % of ceiling", "busiest %",
    "fairness", "regret TTFT s", "E2E s",
]


def estimate(found: dict[str, float] | None, scale: float, digits: int, interval: bool = False) -> str:
    if found is None:
        return "–"
    text = f"{found['value'] * scale:.{digits}f}"
    return f"{text} ± {(found['high'] - found['low']) * scale / 2:.{digits}f}" if interval else text


def row(policy: dict[str, Any]) -> list[str]:
    def time(measure: str, figure: str, interval: bool = False) -> str:
        return estimate((policy.get(measure) or {}).get(figure), 1e-3, 2, interval)

    ceiling = policy.get("hit_share_of_ceiling")
    return [
        policy["policy"], time("ttft_ms", "p50", True), time("ttft_ms", "p95", True),
        time("e2e_ms", "p50"), time("e2e_ms", "p95"), estimate((policy.get("itl_ms") or {}).get("p95"), 1, 0),
        estimate(policy.get("goodput"), 100, 1, True), "–" if ceiling is None else f"{ceiling * 100:.1f}",
        f"{policy['busiest_share'] * 100:.0f}", f"{policy['fairness']:.2f}" if "fairness" in policy else "–",
        estimate(policy.get("regret_ttft_ms"), 1e-3, 2, True), estimate(policy.get("regret_e2e_ms"), 1e-3, 2),
    ]


def table(cell: dict[str, Any]) -> None:
    print(
        f"{cell['workload']}, {cell['load']}: {cell['requests']:,} requests, "
        f"{cell['prompt_tokens'] / cell['requests']:,.0f} prompt tokens on average, "
        f"{cell['reusable_share'] * 100:.1f} % seen before.\n"
    )
    print("| " + " | ".join(HEADING) + " |")
    print("|---" + "|--:" * (len(HEADING) - 1) + "|")
    for policy in cell["policies"]:
        print("| " + " | ".join(row(policy)) + " |")
    print()


def best(cell: dict[str, Any], measure: str, figure: str | None, scale: float, most: bool = False) -> str:
    """Who is best but for the oracle, and how gorgo and the oracle do."""

    def value(policy: dict[str, Any]) -> float:
        found = policy.get(measure) or {}
        return (found.get(figure, {}) if figure else found).get("value", float("nan")) * scale

    named = {policy["policy"]: value(policy) for policy in cell["policies"]}
    rivals = [name for name in named if name.partition(":")[0].partition("@")[0] != "oracle"]
    winner = (max if most else min)(rivals, key=lambda name: named[name])
    ours = f", gorgo {named['gorgo']:.2f}" if winner != "gorgo" else ""
    return f"**{winner}** {named[winner]:.2f}{ours}, oracle {named['oracle']:.2f}"


def summary(cells: list[dict[str, Any]]) -> None:
    print("| workload | TTFT p95 s | E2E p95 s | good % |")
    print("|---|---|---|---|")
    for cell in cells:
        figures = [best(cell, "ttft_ms", "p95", 1e-3), best(cell, "e2e_ms", "p95", 1e-3)]
        print(f"| {cell['workload']}, {cell['load']} | {' | '.join(figures)} | {best(cell, 'goodput', None, 100, True)} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--summary", action="store_true", help="who is best instead, a line for each load")
    parser.add_argument("results", type=pathlib.Path, nargs="+", metavar="FILE", help="that --json wrote")
    options = parser.parse_args()
    cells: list[dict[str, Any]] = []
    for path in options.results:
        try:
            cells += json.loads(path.read_text(encoding="utf-8"))["cells"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"{path} is nothing that gotoni simulate --json wrote: {error}", file=sys.stderr)
            return 2
    if options.summary:
        summary(cells)
    else:
        for cell in cells:
            table(cell)
    return 0


if __name__ == "__main__":
    sys.exit(main())
