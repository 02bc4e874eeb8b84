"""How true gotoni's predictions of the first token were: predicted beside observed, and whether their order can be trusted.

    python3 benchmark/real/calibration.py FILE.json

Calibration is of the server that was chosen, whatever the policy. Ranks are judged only where the choice was drawn at
random ("gotoni random"): there a request's server does not depend on what was predicted, so the mean first token of requests that
happened to get the server predicted as first, second and third is what each rank is worth.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import sys
from typing import Any, Sequence

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "peers"))

from statistics_of import median  # noqa: E402

Decision = dict[str, Any]
LEARNING = 20  # requests of a run that are shown apart: until then speeds are mostly the knobs'
NEAR = 0.25
RANDOM = "gotoni random"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path, help="what real.py wrote")
    path = parser.parse_args().results
    try:
        results = json.loads(path.read_text())["results"]
    except (OSError, ValueError, KeyError) as error:
        print(f"calibration: {path} is not what real.py writes: {error}", file=sys.stderr)
        return 2
    print(tables(results), end="")
    return 0


def tables(results: Sequence[dict[str, Any]]) -> str:
    """Markdown; empty if none of the contestants predicts."""
    text = ""
    names = sorted({each["contestant"] for each in results if each["decisions"]})
    if names:
        text += (
            "| predicted first token at the chosen server | requests | observed ms | off by, mean | by size | of observed % "
            f"| within {NEAR:.0%} | pairs in order |\n|---|--:|--:|--:|--:|--:|--:|--:|\n"
        )
    for name in names:
        runs = [answered(each["decisions"]) for each in results if each["contestant"] == name]
        for part, chosen in (
            (f"first {LEARNING}", [each for run in runs for each in run[:LEARNING]]),
            ("later", [each for run in runs for each in run[LEARNING:]]),
        ):
            if chosen:
                text += f"| {name}, {part} | {calibration(chosen)} |\n"
    drawn = [each for run in results if run["contestant"] == RANDOM for each in answered(run["decisions"])[LEARNING:]]
    return text + ("\n" + ranks(drawn) if drawn else "")


def answered(decisions: Sequence[Decision]) -> list[Decision]:
    return [each for each in decisions if each["ttft_ms"] is not None and each["predicted_ms"].get(each["server"])]


def calibration(decisions: Sequence[Decision]) -> str:
    pairs = [(each["predicted_ms"][each["server"]], each["ttft_ms"]) for each in decisions]
    observed = sum(seen for _, seen in pairs) / len(pairs)
    bias = sum(seen - said for said, seen in pairs) / len(pairs)
    size = sum(abs(seen - said) for said, seen in pairs) / len(pairs)
    near = sum(1 for said, seen in pairs if abs(seen - said) <= NEAR * seen) / len(pairs)
    return (f"{len(pairs)} | {observed:.0f} | {bias:+.0f} | {size:.0f} | {100 * size / observed:.0f} | {near:.2f} "
            f"| {in_order(pairs):.2f}")


def in_order(pairs: Sequence[tuple[float, float]]) -> float:
    """Of two requests, how often the one with the longer prediction took longer (Harrell's C); NaN of fewer than two."""
    right = total = 0.0
    for number, (said, seen) in enumerate(pairs):
        for other_said, other_seen in pairs[:number]:
            if seen != other_seen and said != other_said:
                total += 1
                right += (said > other_said) == (seen > other_seen)
    return right / total if total else math.nan


def ranks(decisions: Sequence[Decision]) -> str:
    """What each predicted rank is worth, where servers were drawn at random."""
    by_rank: dict[int, list[float]] = {}
    for each in decisions:
        order = sorted(each["predicted_ms"], key=lambda name: each["predicted_ms"][name])
        by_rank.setdefault(order.index(each["server"]), []).append(each["ttft_ms"])
    text = "| drawn at random, predicted as | requests | TTFT mean ms | median |\n|---|--:|--:|--:|\n"
    for rank, times in sorted(by_rank.items()):
        text += f"| {rank + 1}. | {len(times)} | {sum(times) / len(times):.0f} | {median(times):.0f} |\n"
    return text


if __name__ == "__main__":
    sys.exit(main())
