"""The results as Markdown with aligned columns, and the thresholds as a list."""

from __future__ import annotations

import math
from typing import Any, Callable

Figures = dict[str, float]
Column = tuple[str, Callable[[Figures], str]]


def markdown(results: dict[str, Any]) -> str:
    parts = [heading(results)]
    parts.append(peers(results))
    said = {peer: text.strip() for cell in results["refused"].values() for peer, text in cell.items()}
    parts += [f"Dynamo's servers refused requests as {peer} sent them on: `{text}`" for peer, text in said.items()]
    for cell, rows in results["summary"].items():
        refused = results["refused"].get(cell, {})
        parts.append(f"{title(cell, results)}\n\n{cell_table(rows, columns_of(cell), refused)}")
    return "\n\n".join(parts) + "\n"


def heading(results: dict[str, Any]) -> str:
    machine, settings = results["machine"], results["settings"]
    quick = " **A quick run: these figures mean nothing.**" if settings["quick"] else ""
    return (
        f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}; median of {settings['rounds']} "
        f"interleaved rounds, seed {settings['seed']}; load average {settings['load_average_before']:.1f} before, "
        f"{settings['load_average_after']:.1f} after.{quick}"
    )


def title(cell: str, results: dict[str, Any]) -> str:
    kind, _, number = cell.partition("-")
    settings = results["settings"]
    if cell == "mocker-stream-4":
        each = settings["mocker_requests"]
        return f"{cell}: 4 streams at a time, {each} one after the other, 4 KB, 16 tokens, Dynamo's engines"
    if kind == "mocker":
        return f"{cell}: 1 KB, 1 token, {connections(number)}, {settings['load_s']:.0f} s a round, Dynamo's engines"
    if kind == "stream":
        return f"{cell}: {number} streams at a time, {settings['stream_requests']} one after the other, 100 chunks each"
    return f"{cell}: bodies of {kind[:-1]} KB, {connections(number)}, {settings['load_s']:.0f} s a round"


def connections(number: str) -> str:
    return "1 connection" if number == "c1" else f"{number[1:]} connections"


def peers(results: dict[str, Any]) -> str:
    threads = {peer: figures["threads"] for rows in results["summary"].values() for peer, figures in rows.items()
               if "threads" in figures}  # fmt: skip
    shown = number("threads")
    rows = [
        [name, about["version"], about["policy"], about["concurrency"], shown({"threads": threads.get(name, math.nan)})]
        for name, about in results["peers"].items()
    ]
    return table(["router", "version", "policy", "concurrency", "threads"], rows, texts=4)


def number(name: str, places: int = 0, sign: bool = False) -> Callable[[Figures], str]:
    def shown(figures: Figures) -> str:
        value = figures.get(name)
        if value is None or math.isnan(value):
            return "–"
        return f"{value:{'+' if sign else ''},.{places}f}"

    return shown


REQUESTS: list[Column] = [
    ("req/s", number("req_s")),
    ("p50 us", number("p50_us")),
    ("p99 us", number("p99_us")),
    ("added p50 us", number("added_p50_us", sign=True)),
    ("added p99 us", number("added_p99_us", sign=True)),
    ("CPU us/request", number("cpu_us_per_request", 1)),
]

OVERHEAD: list[Column] = [
    *REQUESTS,
    ("RSS MB", number("rss_mb", 1)),
    ("connections to servers", number("server_connections")),
    ("errors", number("errors")),
]

FIRST_CHUNKS: list[Column] = [
    ("TTFT p50 ms", number("ttft_p50_ms", 2)),
    ("p99 ms", number("ttft_p99_ms", 2)),
    ("added p50 ms", number("added_ttft_p50_ms", 2, sign=True)),
    ("added p99 ms", number("added_ttft_p99_ms", 2, sign=True)),
]

STREAM: list[Column] = [
    *FIRST_CHUNKS,
    ("transit p50 ms", number("transit_p50_ms", 2)),
    ("p99 ms", number("transit_p99_ms", 2)),
    ("gap p50 ms", number("gap_p50_ms", 2)),
    ("p99 ms", number("gap_p99_ms", 2)),
    ("merged reads", number("merged")),
    ("of chunks", number("chunks")),
    ("CPU us/chunk", number("cpu_us_per_chunk", 1)),
    ("RSS MB", number("rss_mb", 1)),
    ("engine late p99 ms", number("engine_late_p99_ms", 2)),
    ("errors", number("errors")),
]


# The servers' processor time is shown too: Dynamo's frontend does what a frontend at each server does for the others.
MOCKER: list[Column] = [
    *REQUESTS,
    ("with servers", number("all_cpu_us_per_request", 1)),
    ("RSS MB", number("rss_mb", 1)),
    ("errors", number("errors")),
]

MOCKER_STREAM: list[Column] = [
    *FIRST_CHUNKS,
    ("whole p50 ms", number("whole_p50_ms", 2)),
    ("p99 ms", number("whole_p99_ms", 2)),
    ("cached share", number("hit_share", 3)),
    ("CPU us/chunk", number("cpu_us_per_chunk", 1)),
    ("with servers", number("all_cpu_us_per_chunk", 1)),
    ("RSS MB", number("rss_mb", 1)),
    ("errors", number("errors")),
]


def columns_of(cell: str) -> list[Column]:
    if cell.startswith("mocker"):
        return MOCKER_STREAM if cell.startswith("mocker-stream") else MOCKER
    return STREAM if cell.startswith("stream") else OVERHEAD


def cell_table(rows: dict[str, Figures], columns: list[Column], refused: dict[str, str]) -> str:
    """Direct first, then from the quickest to the slowest; last those whose requests the servers did not take."""
    ordered = sorted(rows, key=lambda name: (name != "direct", rank(rows[name])))
    lines = [[name, *(shown(rows[name]) for _, shown in columns)] for name in ordered]
    lines += [[name, "refused by the server: 400", *("–" for _ in columns[1:])] for name in refused]
    return table(["router", *(head for head, _ in columns)], lines, texts=1)


def rank(figures: Figures) -> float:
    """The lower the better; what could not be measured is last."""
    value = -figures["req_s"] if "req_s" in figures else figures["ttft_p50_ms"]
    return math.inf if math.isnan(value) else value


def table(head: list[str], rows: list[list[str]], texts: int) -> str:
    """The first `texts` columns are aligned to the left, numbers to the right."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    rule = [":" + "-" * (width - 1) if at < texts else "-" * (width - 1) + ":" for at, width in enumerate(widths)]
    return "\n".join(line(row, widths, texts) for row in [head, rule, *rows])


def line(row: list[str], widths: list[int], texts: int) -> str:
    cells = (text.ljust(width) if at < texts else text.rjust(width) for at, (text, width) in enumerate(zip(row, widths)))
    return f"| {' | '.join(cells)} |"


def checks(results: dict[str, Any]) -> str:
    lines = []
    for check in results["checks"]:
        verdict = "pass" if check["passed"] else "MISS"
        theirs = "" if check["theirs"] is None else f" against {figure(check['theirs'])}"
        ratio = "" if check["ratio"] is None else f", ratio {check['ratio']:.2f}"
        aside = "" if check["judged"] else "  (not judged: a quick run)"
        lines.append(f"{verdict}  {check['name']}: {figure(check['ours'])}{theirs}{ratio}; {check['bound']}{aside}")
    missed = sum(check["judged"] and not check["passed"] for check in results["checks"])
    lines.append("" if missed else "\nEverything that was judged holds.")
    return "\n".join(lines) + (f"\nMissed: {missed}" if missed else "")


def figure(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:,.2f}"
