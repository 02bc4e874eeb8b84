"""Draws what bench.py measured, as PNG and SVG.

    python3 benchmark/peers/plot.py build/peers.json --out build/peers

Left: microseconds that a router adds at one connection. Middle: requests per second at 16 connections. Right: milliseconds
by which the first chunk of a stream comes later. The last row is of Dynamo's engines; there the right one shows the share
of prompt tokens that they had cached. Everything is the median of the rounds. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import Any

OURS, OTHERS, DIRECT = "#1b7f79", "#9aa5b1", "#d98e04"

# Cells of the three rows: file's cell, its figure, title.
PANELS = [
    [("1k-c1", "added_p50_us", "added p50 µs, 1 KB, 1 connection"),
     ("1k-c16", "req_s", "requests/s, 1 KB, 16 connections"),
     ("stream-4", "added_ttft_p50_ms", "first chunk later by ms, p50, 4 streams")],
    [("64k-c1", "added_p50_us", "added p50 µs, 64 KB, 1 connection"),
     ("64k-c16", "req_s", "requests/s, 64 KB, 16 connections"),
     ("stream-32", "added_ttft_p50_ms", "first chunk later by ms, p50, 32 streams")],
    [("mocker-c1", "added_p50_us", "added p50 µs, Dynamo's engines, 1 connection"),
     ("mocker-c16", "req_s", "requests/s, Dynamo's engines, 16 connections"),
     ("mocker-stream-4", "hit_share", "cached share of the prompts, 4 streams")],
]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="without suffix")
    arguments = parser.parse_args()
    try:
        pyplot()
    except ImportError as error:
        print(f"plot: {error} (benchmark/peers/requirements.txt)", file=sys.stderr)
        return 2
    results = json.loads(arguments.results.read_text())
    panels = [[panel for panel in row if panel[0] in results["summary"]] for row in PANELS]
    panels = [row for row in panels if row]
    columns = max((len(row) for row in panels), default=0)
    if columns == 0:
        return 0
    figure, grid = pyplot().subplots(len(panels), columns, figsize=(4.6 * columns, 2.6 * len(panels)), squeeze=False)
    for axes_row, row in zip(grid, panels):
        for axes in axes_row[len(row) :]:
            axes.set_visible(False)
        for axes, (cell, name, title) in zip(axes_row, row):
            bars(axes, results["summary"][cell], name, title)
    if results["settings"]["quick"]:
        figure.suptitle("a quick run: these figures mean nothing", color="red", fontsize=10)
    figure.tight_layout()
    for suffix in (".png", ".svg"):
        path = arguments.out.with_name(arguments.out.name + suffix)
        figure.savefig(path, dpi=150, metadata={"Date": None} if suffix == ".svg" else None)
        print(path)
    return 0


def pyplot() -> Any:
    """Imported when it is needed, so that --help works without it."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "gotoni"  # the same file gives the same picture
    import matplotlib.pyplot

    return matplotlib.pyplot


def bars(axes: Any, peers: dict[str, dict[str, float]], name: str, title: str) -> None:
    """The best on top."""
    known = {peer: figures[name] for peer, figures in peers.items() if figures.get(name) is not None}
    ordered = sorted(known, key=lambda peer: known[peer], reverse=name in ("req_s", "hit_share"))
    longest = max((abs(value) for value in known.values()), default=1.0)
    for row, peer in enumerate(ordered):
        axes.barh(row, known[peer], color=colour(peer))
        places = 0 if longest >= 100 else 2
        axes.text(max(known[peer], 0) + longest * 0.01, row, f"{known[peer]:,.{places}f}", va="center", fontsize=8)
    axes.set_yticks(range(len(ordered)), ordered)
    axes.invert_yaxis()
    axes.set_xlim(right=longest * 1.2)
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def colour(peer: str) -> str:
    return OURS if peer == "gotoni" else DIRECT if peer == "direct" else OTHERS


if __name__ == "__main__":
    sys.exit(main())
