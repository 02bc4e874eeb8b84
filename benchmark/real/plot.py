"""Draws what real.py measured, as PNG and SVG.

    python3 benchmark/real/plot.py FILE.json

Left: the share of requests whose first token came within a time, all repetitions together. Right: p50 and p90 of TTFT, the
mean of the repetitions with its 95 % interval.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import Sequence

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "gotoni"  # the same file gives the same picture
import matplotlib.pyplot as plt  # noqa: E402
import tables  # noqa: E402
from statistics_of import student  # noqa: E402

OURS = ["#0b5d57", "#1b7f79", "#52aba5", "#8fcac6", "#c2e3e0"]
THEIRS = ["#d98e04", "#7a5195", "#c0392b", "#4a7fb5", "#59636e", "#a05a2c", "#9aa5b1", "#b8a000"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path)
    path = parser.parse_args().results
    draw(json.loads(path.read_text())["results"], path)


def draw(results: Sequence[tables.Result], path: pathlib.Path) -> None:
    names = tables.ranking(results)
    colours = paint(names)
    figure, (shares, bars) = plt.subplots(1, 2, figsize=(13, 5.4))
    for name in names:
        times = sorted(record["ttft_ms"] for each in tables.of(results, name) for record in each["records"]
                       if record["ttft_ms"] is not None)
        if times:
            shares.step(times, [100 * (i + 1) / len(times) for i in range(len(times))], where="post", color=colours[name],
                        label=name, linewidth=2.4 if name == tables.OURS else 1.2)
    shares.set(xscale="log", xlabel="ms to the first token", ylabel="% of requests", title="who waits how long")
    shares.grid(alpha=0.3)
    shares.legend(fontsize=8, frameon=False)
    for row, name in enumerate(reversed(names)):
        for figure_name, size, offset in (("p50", 8, 0.0), ("p90", 5, 0.0)):
            mean, half = student([tables.figures(each)[figure_name] for each in tables.of(results, name)])
            bars.errorbar(mean, row + offset, xerr=None if half != half else half, fmt="o", markersize=size,
                          color=colours[name], capsize=3, markerfacecolor=colours[name] if size == 8 else "white")
    bars.set(xscale="log", yticks=range(len(names)), yticklabels=list(reversed(names)),
             xlabel="TTFT ms: ● p50, ○ p90", title="mean of repetitions, 95 % interval")
    bars.grid(alpha=0.3, axis="x")
    figure.tight_layout()
    for suffix in (".png", ".svg"):
        figure.savefig(path.with_suffix(suffix), dpi=110, metadata={"Date": None} if suffix == ".svg" else None)


def paint(names: Sequence[str]) -> dict[str, str]:
    """Ours in shades of one colour."""
    colours: dict[str, str] = {}
    ours, theirs = iter(OURS * 3), iter(THEIRS * 3)
    for name in names:
        colours[name] = next(ours if name.startswith("gotoni") else theirs)
    return colours


if __name__ == "__main__":
    main()
