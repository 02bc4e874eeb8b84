"""Plots, as PNG and SVG: TTFT by policy with intervals, and how TTFTs are spread."""

from __future__ import annotations

import math
import pathlib
from typing import Any, Callable, Sequence

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "gotoni"  # the same files give the same picture
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

from cells import Cell  # noqa: E402

COLOURS = ["#1b7f79", "#d98e04", "#7a5195", "#9aa5b1", "#bc5090", "#2f6db5", "#6b8e23", "#a0522d"]
STATISTICS = {"p50": ("o", -0.12), "p95": ("s", 0.12)}  # marker, and how far beside its line
COLUMNS = 3


def draw(found: Sequence[Cell], folder: pathlib.Path) -> list[pathlib.Path]:
    folder.mkdir(parents=True, exist_ok=True)
    policies = sorted({cell.policy for cell in found})
    colours = {policy: COLOURS[at % len(COLOURS)] for at, policy in enumerate(policies)}
    return [
        *picture(found, folder / "ttft", lambda axes, rows: points(axes, rows, colours), 0.6 + 0.4 * len(policies)),
        *picture(found, folder / "ttft-ecdf", lambda axes, rows: curves(axes, rows, colours), 2.6),
    ]


def picture(
    found: Sequence[Cell], path: pathlib.Path, panel: Callable[[Any, Sequence[Cell]], None], height: float
) -> list[pathlib.Path]:
    """One panel a load."""
    loads = list(dict.fromkeys(cell.load for cell in found))
    columns = min(COLUMNS, len(loads))
    lines = math.ceil(len(loads) / columns)
    figure, grid = plt.subplots(lines, columns, figsize=(4.6 * columns, (height + 0.9) * lines), squeeze=False)
    for axes in grid.flat[len(loads) :]:
        axes.set_visible(False)
    for axes, load in zip(grid.flat, loads):
        panel(axes, [cell for cell in found if cell.load == load])
        axes.set_title(load, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    written = [path.with_suffix(suffix) for suffix in (".png", ".svg")]
    for each in written:
        figure.savefig(each, dpi=150, metadata={"Date": None} if each.suffix == ".svg" else None)
    plt.close(figure)
    return written


def points(axes: Any, rows: Sequence[Cell], colours: dict[str, str]) -> None:
    """Median and p95, with their intervals as lines."""
    for line, cell in enumerate(rows):
        for statistic, (marker, aside) in STATISTICS.items():
            estimate, at = cell.times["ttft_ms"][statistic], line + aside
            if not math.isnan(estimate.low):
                # Student's interval of few seeds may reach below zero, where no time is.
                axes.plot(
                    [max(estimate.low, 0), estimate.high], [at, at], color=colours[cell.policy], linewidth=2, alpha=0.5
                )
            axes.plot(estimate.value, at, marker, color=colours[cell.policy], markersize=7)
    axes.set_yticks(range(len(rows)), [cell.policy for cell in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("TTFT ms: p50 (circle), p95 (square), 95 % intervals", fontsize=8)
    axes.grid(axis="x", alpha=0.3)


def curves(axes: Any, rows: Sequence[Cell], colours: dict[str, str]) -> None:
    """Share of the requests answered whole whose first token came within so many milliseconds; all seeds together."""
    for cell in rows:
        if cell.ttft_ms.size:
            ordered = np.sort(cell.ttft_ms)
            shares = np.arange(1, ordered.size + 1) / ordered.size
            axes.step(ordered, shares, where="post", color=colours[cell.policy], label=cell.policy, linewidth=1.5)
    if any(cell.ttft_ms.size and cell.ttft_ms.max() > 20 * max(np.median(cell.ttft_ms), 1e-9) for cell in rows):
        axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("TTFT ms", fontsize=8)
    axes.set_ylabel("share of requests", fontsize=8)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=8, loc="lower right", frameon=False)
