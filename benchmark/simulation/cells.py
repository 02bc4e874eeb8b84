"""Cells of the laboratory: what is played, how, over several seeds, and how two policies of a cell are compared."""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import queue
import sys
import threading
from typing import Any, Callable, Iterator, Sequence, TypeVar

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "peers"))

from processes import BenchError, output_of  # noqa: E402
from statistics_of import student  # noqa: E402

FLEET = ("--kv-tokens", "2000000", "--probe-interval", "0.1", "--slo-ttft", "5000", "--slo-itl", "100")
RTTS = {"far": "37,279,456", "near": "26,120,210"}
# Requests a second of the conversations (the trace's own are 3.4), users of agents, requests a second of the control.
LOADS = {
    "conversation": {"light": "poisson:1.7", "knee": "poisson:2.7", "saturated": "poisson:3.7"},
    "agentic": {"light": "120", "knee": "300", "saturated": "400"},
    "no-reuse": {"light": "poisson:6", "knee": "poisson:10", "saturated": "poisson:12.5"},
}
CONVERSATION = pathlib.Path("mooncake") / "conversation.jsonl"
LIMIT_S = 3_600.0

Policy = dict[str, Any]  # as `gotoni simulate --json` writes it
Found = dict[str, dict[str, list[Policy]]]  # by cell and policy, one of each seed
Run = tuple[str, int]  # cell and seed
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Cell:
    """A workload of matrix.py's at one load and one set of round trips."""

    workload: str
    load: str
    rtt: str
    # Tokens of each server's cache; None: FLEET's.
    cache: int | None = None

    def words(self, traces: pathlib.Path | None) -> list[str]:
        """Of the command line."""
        level = LOADS[self.workload][self.load]
        words = ["--rtt", RTTS[self.rtt], *FLEET]
        if self.cache is not None:
            words[words.index("--kv-tokens") + 1] = str(self.cache)
        if self.workload == "agentic":
            return [*words, "--workload", "agentic", "--users", level]
        if self.workload == "no-reuse":
            return [*words, "--workload", "no-reuse", "--requests", "6000", "--arrivals", level]
        return [*words, "--trace", str((traces or pathlib.Path()) / CONVERSATION), "--arrivals", level]

    def __str__(self) -> str:
        name = f"{self.workload}, {self.load}, {self.rtt}"
        return name if self.cache is None else f"{name}, caches of {self.cache:,}"


@dataclasses.dataclass(frozen=True)
class Measure:
    """A figure of a policy: its name, where it stands, its digits, and whether more is better."""

    name: str
    read: Callable[[Policy], float]
    digits: int
    most: bool

    def of(self, runs: Sequence[Policy]) -> list[float]:
        return [self.read(each) for each in runs]


MEDIAN_TTFT = Measure("TTFT p50 s", lambda found: found["ttft_ms"]["p50"]["value"] / 1_000, 2, most=False)
TTFT = Measure("TTFT p95 s", lambda found: found["ttft_ms"]["p95"]["value"] / 1_000, 2, most=False)
E2E = Measure("E2E p95 s", lambda found: found["e2e_ms"]["p95"]["value"] / 1_000, 2, most=False)
GOOD = Measure("good %", lambda found: found["goodput"]["value"] * 100, 1, most=True)
HITS = Measure("hits %", lambda found: found["hit_share"] * 100, 1, most=True)


# MARK: Playing


def in_threads(
    runs: Sequence[Run], work: Callable[[Run], Result], jobs: int
) -> Iterator[tuple[Run, Result]]:
    """What `work` gives for each run, as they end; says on standard error how many have. Errors: BenchError, of `work`."""
    todo: queue.SimpleQueue[Run] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Run, Result | BenchError]] = queue.SimpleQueue()
    for run in runs:
        todo.put(run)

    def serve() -> None:
        while True:
            run = todo.get()
            try:
                done.put((run, work(run)))
            except BenchError as error:
                done.put((run, error))

    # Nobody waits for them at the end, and what they started ends with them.
    for _ in range(jobs):
        threading.Thread(target=serve, daemon=True).start()
    for count in range(1, len(runs) + 1):
        run, result = done.get()
        if isinstance(result, BenchError):
            raise result
        print(f"\r{count} of {len(runs)} runs", end="", file=sys.stderr, flush=True)
        yield run, result
    print(file=sys.stderr)


def gather(cells: dict[str, list[str]], field: str, options: argparse.Namespace) -> Found:
    """Plays the policies of `field` in every cell, given by the words of its command line, with the seeds 1, 2, ...
    Errors: BenchError."""
    runs = [(cell, seed) for cell in cells for seed in range(1, options.seeds + 1)]
    played = dict(in_threads(runs, lambda run: play(options.gotoni, cells[run[0]], run[1], field), options.jobs))
    found: Found = {cell: {} for cell in cells}
    for run in runs:
        for policy in played[run]:
            found[run[0]].setdefault(policy["policy"], []).append(policy)
    return found


def play(gotoni: pathlib.Path, words: Sequence[str], seed: int, field: str) -> list[Policy]:
    """The policies of one cell. Errors: BenchError."""
    command = [gotoni, "simulate", *words, "--policy", field, "--no-oracle", "--jobs", "1", "--quiet"]
    try:
        said = output_of([*command, "--seed", seed, "--json", "/dev/stdout"], LIMIT_S)
    except BenchError as error:
        raise BenchError(sentence(str(error))) from error
    return json.loads(said[said.index("{") :])["cells"][0]["policies"]


def sentence(said: str) -> str:
    """Of what a program said that failed: what is wrong without how to use it."""
    lines = said.splitlines()
    return next((line for line in lines if line.startswith("Error: ")), lines[-1])


def write(found: Found, text: str, options: argparse.Namespace, name: str) -> None:
    """NAME.json and NAME.md, and the latter on standard output. Errors: BenchError."""
    try:
        (options.out / f"{name}.json").write_text(json.dumps(found) + "\n")
        (options.out / f"{name}.md").write_text(text)
    except OSError as error:
        raise BenchError(str(error)) from error
    print(text, end="")


# MARK: Comparing


def ratio(measure: Measure, own: Sequence[Policy], other: Sequence[Policy]) -> tuple[float, float]:
    """The mean over seeds of own over other, and half of its 95 % interval (Student's t)."""
    return student([a / b for a, b in zip(measure.of(own), measure.of(other))])


def with_half(mean: float, half: float, digits: int) -> str:
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


# MARK: Options


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """A script's document as it is written, and options with their defaults."""


def parser_of(document: str | None, what_is_written: str) -> argparse.ArgumentParser:
    """What all have. `document`: the script's."""
    parser = argparse.ArgumentParser(description=document, formatter_class=Help)
    parser.add_argument("--gotoni", type=pathlib.Path, required=True, help="the command line tool")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FOLDER", help=f"for {what_is_written}")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="runs of each cell")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="runs at one time")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cells whose name holds this")
    return parser


def add_traces(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--traces", type=pathlib.Path, metavar="FOLDER",
        help=f"has {CONVERSATION}; without it there are no conversations"
    )  # fmt: skip


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Ends with a sentence if something is wrong; makes the folder of --out."""
    options = parser.parse_args()
    if not options.gotoni.is_file():
        parser.error(f"there is no program {options.gotoni}")
    if getattr(options, "traces", None) is not None and not (options.traces / CONVERSATION).is_file():
        parser.error(f"there is no {CONVERSATION} in {options.traces}")
    if options.seeds < 2 or options.jobs < 1:
        parser.error("there must be at least 2 seeds and 1 job")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(str(error))
    return options


def chosen(cells: Sequence[Cell], options: argparse.Namespace, parser: argparse.ArgumentParser) -> dict[str, list[str]]:
    """The words of those that can be played and that --only names."""
    playable = [cell for cell in cells if cell.workload != "conversation" or options.traces is not None]
    words = {str(cell): cell.words(options.traces) for cell in playable if options.only in str(cell)}
    if not words:
        parser.error(f"there is no cell with {options.only} in its name: {'; '.join(map(str, playable))}")
    return words
