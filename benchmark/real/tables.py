"""What the runs say, as tables in Markdown."""

from __future__ import annotations

import math
import pathlib
import sys
from typing import Any, Sequence

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "peers"))

from statistics_of import median, percentile, student  # noqa: E402

Result = dict[str, Any]
OURS = "gotoni gorgo"
FIGURES = ("mean", "p50", "p90", "p99")


def figures(result: Result) -> dict[str, float]:
    """TTFT in ms over the requests that were answered; shares of all prompt tokens."""
    times = [each["ttft_ms"] for each in result["records"] if each["ttft_ms"] is not None]
    prefilled = sum(each["prefilled"] for each in result["engines"])
    cached = sum(each["cached"] for each in result["engines"])
    return {
        "mean": sum(times) / len(times) if times else math.nan,
        "p50": percentile(times, 50),
        "p90": percentile(times, 90),
        "p99": percentile(times, 99),
        "cached": cached / (prefilled + cached) if prefilled + cached else math.nan,
        "errors": sum(1 for each in result["records"] if each["error"]),
    }


def one_line(result: Result) -> str:
    row = figures(result)
    times = " ".join(f"{name} {row[name]:.0f}" for name in FIGURES)
    return f"TTFT ms {times}, cached {row['cached']:.3f}, errors {row['errors']:.0f}, placed {placement([result])}"


def placement(results: Sequence[Result]) -> str:
    """The share of prompt tokens that each engine got."""
    engines = range(len(results[0]["engines"]))
    tokens = [sum(each["engines"][i]["prefilled"] + each["engines"][i]["cached"] for each in results) for i in engines]
    return "/".join(f"{100 * each / max(sum(tokens), 1):.0f}" for each in tokens)


def tables(results: Sequence[Result]) -> str:
    names = ranking(results)
    lines = ["| | TTFT mean ms | p50 | p90 | p99 | cached | of reusable | prompt tokens by engine % | CPU s | RSS MB | errors |",
             "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for name in names:
        mine = of(results, name)
        share = median([figures(each)["cached"] for each in mine])
        reach = median([figures(each)["cached"] / each["reusable"] for each in mine])
        cells = [spread([figures(each)[figure] for each in mine]) for figure in FIGURES]
        lines.append(
            f"| {name} | {' | '.join(cells)} | {share:.3f} | {reach:.2f} | {placement(mine)} "
            f"| {median([each['router_cpu_s'] for each in mine]):.1f} | {max(each['router_rss_mb'] for each in mine):.0f} "
            f"| {sum(figures(each)['errors'] for each in mine):.0f} |"
        )
    text = "\n".join(lines) + "\n"
    if OURS in names and len(names) > 1:
        text += "\n" + ratios(results, [name for name in names if name != OURS])
    return text


def ranking(results: Sequence[Result]) -> list[str]:
    """By the median of the repetitions' mean TTFT."""
    names = {each["contestant"] for each in results}
    return sorted(names, key=lambda name: median([figures(each)["mean"] for each in of(results, name)]))


def ratios(results: Sequence[Result], names: Sequence[str]) -> str:
    """Theirs over ours, repetition by repetition: above 1, ours is the faster."""
    lines = [f"| over {OURS}, same repetition | mean | p50 | p90 | p99 |", "|---|--:|--:|--:|--:|"]
    for name in names:
        cells: list[str] = []
        for figure in FIGURES:
            ours = {each["repetition"]: figures(each)[figure] for each in of(results, OURS)}
            pairs = [(figures(each)[figure], ours[each["repetition"]]) for each in of(results, name)
                     if each["repetition"] in ours]
            cells.append(ratio([math.log(a / b) for a, b in pairs]))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def ratio(logs: Sequence[float]) -> str:
    """The geometric mean, and its 95 % interval by Student's t."""
    mean, half = student(logs)
    if math.isnan(half):
        return f"{math.exp(mean):.2f}"
    return f"{math.exp(mean):.2f} ({math.exp(mean - half):.2f}–{math.exp(mean + half):.2f})"


def spread(values: Sequence[float]) -> str:
    mean, half = student(values)
    return f"{mean:,.0f}" if math.isnan(half) else f"{mean:,.0f} ± {half:,.0f}"


def of(results: Sequence[Result], name: str) -> list[Result]:
    return [each for each in results if each["contestant"] == name]

