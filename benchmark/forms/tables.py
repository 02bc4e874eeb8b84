"""Tables, and a picture of the distributions."""

from __future__ import annotations

import pathlib
from typing import Any

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "gotoni"
import matplotlib.pyplot as plt  # noqa: E402
from world import median, percentile  # noqa: E402

CENTRAL = "gorgo, proxy"
PLACES = {
    "one": "clients at one place, each sends to the node of its user's region",
    "uneven": "clients at one place, each sends to the node of its user's region: 60, 30 and 10 % of the users",
    "nearest": "clients at one place, all send to the nearest node",
    "regions": "clients in three regions, beside the nodes",
    "nowhere": "no distances",
}
COLOURS = {
    "gorgo, proxy": "#1b7f79",
    "gorgo low, proxy": "#7fc4bf",
    "prefix-tree, proxy": "#7a5195",
    "least-load, proxy": "#d98e04",
    "gorgo, nodes": "#1b7f79",
    "gorgo told, nodes": "#4a7fb5",
    "gorgo told low, nodes": "#7fc4bf",
    "gorgo-v1, nodes": "#c0392b",
    "gorgo, nodes, threshold 5": "#c0392b",
    "gorgo, nodes, threshold 5, new connections": "#e59aa0",
    "prefix-tree, nodes": "#7a5195",
    "least-load, nodes": "#d98e04",
    "no forwarding, nodes": "#59636e",
}

Result = dict[str, Any]


def summary(results: list[Result]) -> list[Result]:
    """A row for every cell and form: medians over rounds or seeds."""
    rows: list[Result] = []
    for load, place in sorted({(each["load"], each["place"]) for each in results}, key=order):
        here = [each for each in results if (each["load"], each["place"]) == (load, place)]
        for form in [name for name in COLOURS if any(each["form"] == name for each in here)]:
            rows.append({"load": load, "place": place, "form": form, **row(form, here)})
    return rows


def order(cell: tuple[str, str]) -> tuple[int, str]:
    return list(PLACES).index(cell[1]), cell[0]


def row(form: str, here: list[Result]) -> Result:
    # Same seed: the same requests.
    mine = {each["seed"]: each for each in here if each["form"] == form}
    # Before the nearest node there are nodes only.
    central = {each["seed"]: percentile(each["ttft_ms"], 50) for each in here if each["form"] == CENTRAL}
    medians = {seed: percentile(each["ttft_ms"], 50) for seed, each in mine.items()}
    ratios = [medians[seed] / central[seed] for seed in medians if seed in central]
    return {
        "runs": len(mine),
        "requests": sum(each["requests"] for each in mine.values()),
        "errors": sum(each["errors"] for each in mine.values()),
        "mean": median([sum(each["ttft_ms"]) / max(1, len(each["ttft_ms"])) for each in mine.values()]),
        **{f"p{p}": median([percentile(each["ttft_ms"], p) for each in mine.values()]) for p in (50, 95, 99)},
        "p50_range": [min(medians.values()), max(medians.values())],
        "ratio": median(ratios) if ratios else None,
        "ratio_range": [min(ratios), max(ratios)] if ratios else None,
        **{
            share: median([each[share] for each in mine.values()])
            for share in ("cached_share", "forwarded_share", "busy_share")
        },
    }


def table(title: str, busy: str, rows: list[Result]) -> str:
    """`busy`: what the share is called that engines had work."""
    lines = [title]
    for load, place in dict.fromkeys((each["load"], each["place"]) for each in rows):
        head = ["", "mean", "p50", "p95", "p99", "p50 from - to", "/ proxy", "from - to", "cached", "forwarded", busy, "errors"]
        cells = [head]
        for each in rows:
            if (each["load"], each["place"]) == (load, place):
                low, high = each["ratio_range"] or (0, 0)
                cells.append([
                    each["form"],
                    *(f"{each[figure]:,.0f}" for figure in ("mean", "p50", "p95", "p99")),
                    "{:,.0f} - {:,.0f}".format(*each["p50_range"]),
                    f"{each['ratio']:.2f}" if each["ratio"] else "",
                    f"{low:.2f} - {high:.2f}" if each["ratio"] else "",
                    *(f"{each[share]:.0%}" for share in ("cached_share", "forwarded_share", "busy_share")),
                    f"{each['errors']} of {each['requests']:,}",
                ])
        widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
        lines += ["", f"{load} load, {PLACES[place]}; TTFT in ms"]
        for line in cells:
            words = [line[0].ljust(widths[0]), *(word.rjust(width) for word, width in zip(line[1:], widths[1:]))]
            lines.append("  ".join(words).rstrip())
    return "\n".join(lines)


def draw(parts: dict[str, list[Result]], path: pathlib.Path) -> None:
    """Shares of requests by TTFT, all rounds together."""
    cells = [("light", "one"), ("busy", "one"), ("busy", "uneven"), ("busy", "regions")]
    figure, axes = plt.subplots(len(parts), len(cells), figsize=(21, 5 * len(parts)), sharex=True, sharey=True, squeeze=False)
    for line, (part, results) in zip(axes, parts.items()):
        for axis, cell in zip(line, cells):
            for form, colour in COLOURS.items():
                values = sorted(
                    value
                    for each in results
                    if each["form"] == form and (each["load"], each["place"]) == cell
                    for value in each["ttft_ms"]
                )
                if values:
                    shares = [(rank + 1) / len(values) for rank in range(len(values))]
                    forwards = "--" if form.startswith("gorgo") else ":"
                    style = "-" if "proxy" in form else "-." if form.startswith("no ") else forwards
                    axis.plot(values, shares, style, color=colour, label=form, linewidth=1.6)
            axis.set_xscale("log")
            axis.set_xlim(10, 30_000)
            axis.set_xticks([20, 50, 100, 200, 500, 1000, 2000, 5000, 10000])
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.xaxis.set_minor_formatter(lambda *_: "")
            axis.axhline(0.5, color="#cccccc", linewidth=0.8)
            where = {"one": "clients at one place", "uneven": "… users unevenly spread", "regions": "clients in the regions"}
            axis.set_title(f"{part}: {cell[0]} load, {where[cell[1]]}", loc="left", fontsize=10)
            axis.spines[["top", "right"]].set_visible(False)
            if axis.get_legend_handles_labels()[1]:
                axis.legend(fontsize=7, loc="upper left", frameon=False)
            else:
                axis.set_visible(False)
        line[0].set_ylabel("share of requests with TTFT below")
    for axis in axes[-1]:
        axis.set_xlabel("ms")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
