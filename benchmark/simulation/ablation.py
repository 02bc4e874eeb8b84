"""What each term of the policy `predictive` is worth, and what an error in it does.

    python3 benchmark/simulation/ablation.py --gotoni build/bin/gotoni --traces FOLDER --out FOLDER --plot

Six cells of matrix.py's and one with small caches, over several seeds. Arms: the policy without a term (its factor 0), with a term that is off by a
factor of two (0.5 and 2), with speeds that are told and not learned (learning=0), and the same with what is told off by
a factor of two. Each arm's p50 and p95 TTFT and p95 E2E are given over those of the whole policy, paired by seed, with Student's
95 % interval; the worst cell of each arm is marked. Writes ablation.json and ablation.md, and with --plot ablation.png and
.svg. Needs Python alone; --plot needs matplotlib.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

import cells
import plot
from cells import E2E, MEDIAN_TTFT, TTFT, Cell, Found, Measure
from processes import BenchError, end_on_signals

CELLS = [
    Cell("conversation", "light", "far"), Cell("conversation", "knee", "far"), Cell("conversation", "saturated", "far"),
    Cell("conversation", "knee", "far", cache=300_000), Cell("agentic", "knee", "far"), Cell("no-reuse", "knee", "far"),
    Cell("conversation", "knee", "near"),
]  # fmt: skip
TERMS = ("network", "upload", "wait", "prefill", "decode", "others", "eviction", "doubt")
# What the laboratory tells or the policy assumes: of the neutral engine's prefill, and the knobs' defaults.
TOLD = {"ms_per_token": 0.125, "decode_ms": 3_000.0, "decode_ms_per_request": 100.0}
MEASURES = (MEDIAN_TTFT, TTFT, E2E)
# A difference of less is none, as in matrix.py.
NOTHING = 0.01
WHOLE = "predictive"


@dataclasses.dataclass(frozen=True)
class Arm:
    """The policy with a change."""

    name: str
    policy: str
    # By which a term or what is told is multiplied.
    factor: float = 1.0


def arms() -> list[Arm]:
    found = [
        Arm(f"{term} × {factor:g}", f"{WHOLE}:x_{term}={factor:g}", factor) for term in TERMS for factor in (0.0, 0.5, 2.0)
    ]
    found.append(Arm("not learned", f"{WHOLE}:learning=0"))
    for knob, told in TOLD.items():
        for factor in (0.5, 2.0):
            policy = f"{WHOLE}:learning=0:{knob}={told * factor:g}"
            found.append(Arm(f"not learned, {knob} × {factor:g}", policy, factor))
    return found


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Of an arm to the whole: the mean over seeds, and half of its interval."""

    mean: float
    half: float

    @property
    def differs(self) -> bool:
        return abs(self.mean - 1) > max(self.half, NOTHING)

    def __str__(self) -> str:
        return cells.with_half(self.mean, self.half, 2)


def played(found: Found) -> list[Arm]:
    """Those that are in it."""
    return [arm for arm in arms() if all(arm.policy in policies for policies in found.values())]


def ratios(found: Found, arm: Arm, measure: Measure) -> dict[str, Ratio]:
    """By cell."""
    return {
        cell: Ratio(*cells.ratio(measure, policies[arm.policy], policies[WHOLE])) for cell, policies in found.items()
    }


# MARK: Words


def text(found: Found) -> str:
    lines: list[str] = []
    for measure in MEASURES:
        lines += [f"{measure.name.removesuffix(' s')} over that of the whole policy:", "", *table(found, measure), ""]
    return "\n".join([*lines, *conclusions(found)]) + "\n"


def table(found: Found, measure: Measure) -> list[str]:
    """A row for each arm, its worst cell in bold."""
    rows = ["| arm | " + " | ".join(found) + " |", "|---" + "|--:" * len(found) + "|"]
    for arm in played(found):
        of = ratios(found, arm, measure)
        worst = max(of, key=lambda cell: of[cell].mean)
        columns = [f"**{ratio}**" if cell == worst else str(ratio) for cell, ratio in of.items()]
        rows.append(f"| {arm.name} | " + " | ".join(columns) + " |")
    return rows


def conclusions(found: Found) -> list[str]:
    """What the tables come to: the largest error's price, and who is worth nothing."""

    def worst(which: list[Arm]) -> str:
        if not which:
            return "nothing played"
        every = [
            (ratio, arm.name, measure.name.removesuffix(" s"), cell)
            for arm in which for measure in MEASURES for cell, ratio in ratios(found, arm, measure).items()
        ]  # fmt: skip
        ratio, arm, measure, cell = max(every, key=lambda each: each[0].mean)
        return f"{ratio} ({arm}: {measure}, {cell})"

    terms = [arm for arm in played(found) if ":x_" in arm.policy]
    told = [arm for arm in played(found) if ":x_" not in arm.policy]
    without = [arm for arm in terms if arm.factor == 0]
    lines = [
        f"- Without a term nothing is worse than {worst(without)}.",
        f"- With a term off by a factor of two nothing is worse than {worst([a for a in terms if a.factor != 0])}.",
        f"- With speeds that are told, right or off by a factor of two, nothing is worse than {worst(told)}.",
    ]
    for arm in without:
        changes = [
            f"{measure.name.removesuffix(' s')} {ratio} ({cell})"
            for measure in MEASURES for cell, ratio in ratios(found, arm, measure).items() if ratio.differs
        ]  # fmt: skip
        name = arm.name.partition(" ")[0]
        lines.append(f"- Without {name}: {', '.join(changes) if changes else 'no change in any cell; worth nothing here'}.")
    return lines


# MARK: Picture


def draw(found: Found, out: pathlib.Path) -> None:
    pyplot = plot.pyplot()
    every = played(found)
    figure, panels = pyplot.subplots(1, len(MEASURES), figsize=(18, 1 + 0.3 * len(every)), sharey=True, layout="constrained")
    for axes, measure in zip(panels, MEASURES):
        axes.axvline(1, color=plot.OTHERS, linewidth=1)
        for place, cell in enumerate(found):
            of = [ratios(found, arm, measure)[cell] for arm in every]
            rows = [row + (place - len(found) / 2) * 0.11 for row in range(len(every))]
            axes.errorbar(
                [ratio.mean for ratio in of], rows, xerr=[ratio.half for ratio in of], fmt="o", markersize=4, linewidth=1,
                label=cell,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}")
        axes.set_title(f"{measure.name.removesuffix(' s')} over that of the whole policy", loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(every)), [arm.name for arm in every], fontsize=8)
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    plot.save(figure, out / "ablation.png")


def main() -> int:
    end_on_signals()
    parser = cells.parser_of(__doc__, "ablation.json and ablation.md")
    cells.add_traces(parser)
    parser.add_argument("--arms", default="", metavar="TEXT", help="only arms whose name holds this")
    parser.add_argument("--plot", action="store_true", help="draw it as well")
    options = cells.parsed(parser)
    words = cells.chosen(CELLS, options, parser)
    field = [arm.policy for arm in arms() if options.arms in arm.name]
    if not field:
        parser.error(f"there is no arm with {options.arms} in its name: {'; '.join(arm.name for arm in arms())}")
    try:
        if options.plot:
            check_plot()
        found = cells.gather(words, ",".join([WHOLE, *field]), options)
        cells.write(found, text(found), options, "ablation")
        if options.plot:
            draw(found, options.out)
    except (BenchError, OSError) as error:
        print(f"ablation: {error}", file=sys.stderr)
        return 2
    return 0


def check_plot() -> None:
    """Before minutes of work. Errors: BenchError."""
    try:
        plot.pyplot()
    except ImportError as error:
        raise BenchError(f"{error} (benchmark/simulation/requirements.txt)") from error


if __name__ == "__main__":
    sys.exit(main())
