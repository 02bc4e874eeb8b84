"""Draws what `gotoni simulate --json FILE` found, as PNG and SVG.

    python3 benchmark/simulation/plot.py results.json --out build/simulation

One picture for each load (first token, last token, good service, cache), and, if there are several loads, one
that shows how each policy bears them. The bars' whiskers are the 95 % intervals of the file. Needs matplotlib.
"""
from __future__ import annotations

import argparse
import json
import math
import pathlib
import re
import sys
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    import matplotlib.pyplot as plt

OURS, OTHERS, ORACLE = "#1b7f79", "#9aa5b1", "#d98e04"

Policy = dict[str, Any]


def pyplot() -> Any:
    """Imported when it is needed, so that --help works without it."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "gotoni"  # the same file gives the same picture
    import matplotlib.pyplot

    return matplotlib.pyplot


def colour(policy: Policy) -> str:
    name = re.split(r"[@:]", policy["policy"])[0]
    return ORACLE if name == "oracle" else OURS if name == "gorgo" else OTHERS


def estimate(policy: Policy, measure: str, figure: str | None = None) -> tuple[float, float, float] | None:
    found = policy.get(measure)
    found = found.get(figure) if figure and found else found
    return (found["value"], found["low"], found["high"]) if found else None


def bars(axes: plt.Axes, policies: list[Policy], title: str, of: Callable[[Policy], Any], scale: float) -> None:
    """Horizontal bars, the first policy on top. Very long ones are cut, and say so."""
    values = [of(policy) for policy in policies]
    known = sorted(value[0] * scale for value in values if value)
    limit = 5 * known[len(known) // 2] if known else 1.0
    for row, (policy, value) in enumerate(zip(policies, values)):
        if value is None:
            continue
        middle, low, high = (part * scale for part in value)
        shown = min(middle, limit) if limit > 0 else middle
        axes.barh(row, shown, color=colour(policy))
        if middle <= shown:
            axes.plot([low, min(high, limit * 1.2)], [row, row], color="black", linewidth=1)
        else:
            axes.text(shown, row, f" {middle:,.0f} →", va="center", ha="right", color="white", fontsize=8)
    axes.set_yticks(range(len(policies)), [policy["policy"] for policy in policies])
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def share(policy: Policy, measure: str) -> tuple[float, float, float] | None:
    value = policy.get(measure)
    return None if value is None else (value, value, value)


def draw_cell(cell: dict[str, Any], limits: dict[str, float]) -> plt.Figure:
    policies = cell["policies"]
    figure, axes = pyplot().subplots(2, 3, figsize=(15, 1.8 + 0.42 * len(policies) * 2), sharey=True)
    panels = [
        ("TTFT p50, s", lambda p: estimate(p, "ttft_ms", "p50"), 1e-3),
        ("TTFT p95, s", lambda p: estimate(p, "ttft_ms", "p95"), 1e-3),
        ("E2E p95, s", lambda p: estimate(p, "e2e_ms", "p95"), 1e-3),
        (
            f"good: TTFT ≤ {limits['ttft_ms'] / 1e3:g} s and ITL ≤ {limits['itl_ms']:g} ms, %",
            lambda p: estimate(p, "goodput"), 100,
        ),
        ("hits, % of what an endless cache would find", lambda p: share(p, "hit_share_of_ceiling"), 100),
        ("busiest server, % of requests", lambda p: share(p, "busiest_share"), 100),
    ]
    for place, (title, of, scale) in zip(axes.flat, panels):
        bars(place, policies, title, of, scale)
    axes[0, 0].invert_yaxis()  # the panels share it
    figure.suptitle(f"{cell['workload']}, {cell['load']}: {cell['requests']:,} requests", x=0.01, ha="left")
    figure.tight_layout()
    return figure


def few_ticks(axes: plt.Axes) -> Callable[[float, Any], str]:
    """On a logarithmic axis that spans little, the ticks between powers of ten need numbers too."""

    def text(value: float, _: Any) -> str:
        low, high = axes.get_ylim()
        leading = round(value / 10 ** math.floor(math.log10(value)), 6)
        return f"{value:g}" if high / low < 30 or leading in (2, 5) else ""

    return text


def draw_sweep(cells: list[dict[str, Any]]) -> plt.Figure:
    from matplotlib.ticker import FuncFormatter

    figure, axes = pyplot().subplots(1, 3, figsize=(16, 5), layout="constrained")
    for place in axes:
        place.set_prop_cycle(color=pyplot().get_cmap("tab20").colors)
    names = [policy["policy"] for policy in cells[0]["policies"]]
    panels = [
        ("TTFT p95, s", lambda p: estimate(p, "ttft_ms", "p95"), 1e-3),
        ("E2E p95, s", lambda p: estimate(p, "e2e_ms", "p95"), 1e-3),
        ("good, %", lambda p: estimate(p, "goodput"), 100),
    ]
    for place, (title, of, scale) in zip(axes, panels):
        for row, name in enumerate(names):
            points = [of(cell["policies"][row]) for cell in cells]
            values = [point[0] * scale if point else float("nan") for point in points]
            known = colour(cells[0]["policies"][row])
            place.plot(
                range(len(cells)), values, marker="o", markersize=4, label=name,
                color=None if known == OTHERS else known, linewidth=1.2 if known == OTHERS else 2.5,
            )
        place.set_title(title, loc="left", fontsize=10)
        place.set_xticks(range(len(cells)), [cell["load"] for cell in cells], rotation=30, ha="right", fontsize=8)
        place.spines[["top", "right"]].set_visible(False)
        if title.endswith("s"):
            place.set_yscale("log")
            place.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            place.yaxis.set_minor_formatter(FuncFormatter(few_ticks(place)))
        elif place.get_ylim()[1] - place.get_ylim()[0] < 10:
            place.set_ylim(max(0, place.get_ylim()[1] - 10), place.get_ylim()[1])
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right center")
    figure.suptitle(f"{cells[0]['workload']}, {len(cells)} loads", x=0.01, ha="left")
    return figure


def save(figure: plt.Figure, path: pathlib.Path) -> None:
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
        figure.savefig(path.with_suffix(suffix), dpi=130, metadata=metadata)
        print(path.with_suffix(suffix))
    pyplot().close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path, help="the file that --json wrote")
    parser.add_argument("--out", type=pathlib.Path, help="folder for the pictures (that of the file)")
    options = parser.parse_args()
    try:
        document = json.loads(options.results.read_text())
        cells, limits = document["cells"], document["limits"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{options.results} is nothing that gotoni simulate --json wrote: {error}", file=sys.stderr)
        return 1
    try:
        pyplot()
    except ImportError as error:
        print(f"plot: {error} (benchmark/simulation/requirements.txt)", file=sys.stderr)
        return 2
    folder = options.out or options.results.parent
    folder.mkdir(parents=True, exist_ok=True)
    for cell in cells:
        name = re.sub(r"[^a-z0-9.]+", "-", f"{options.results.stem}-{cell['load']}".lower())
        save(draw_cell(cell, limits), folder / f"{name}.png")
    if len(cells) > 1:
        save(draw_sweep(cells), folder / f"{options.results.stem}-loads.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
