"""Prints what `gotoni simulate --json FILE` found as Markdown tables, one for each load."""
from __future__ import annotations

import json
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


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as file:
        document = json.load(file)
    for cell in document["cells"]:
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
