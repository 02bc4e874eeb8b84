"""What is run, in which order, and how GuideLLM is told. Nothing here starts anything."""

from __future__ import annotations

import dataclasses
import random
from typing import Any, Sequence

from control import BenchError

PROFILES = ("poisson", "sweep", "constant", "concurrent", "throughput")


@dataclasses.dataclass(frozen=True)
class Load:
    """A profile of GuideLLM at one level."""

    profile: str
    level: float | None = None  # requests a second, or streams; none: GuideLLM finds its own

    @property
    def name(self) -> str:
        return self.profile if self.level is None else f"{self.profile}-{self.level:g}"


@dataclasses.dataclass(frozen=True)
class Run:
    number: int
    seed: int
    load: Load
    policy: str

    @property
    def folder(self) -> str:
        return f"{self.number:03d}-{self.load.name}-{self.policy}-seed{self.seed}"


@dataclasses.dataclass(frozen=True)
class Levels:
    """Of the profiles that want to be told."""

    rates: tuple[float, ...]
    streams: tuple[int, ...]
    sweep_points: int
    max_concurrency: int
    seconds: float
    requests: int | None


def profiles(text: str) -> list[str]:
    """`all`, or some by comma. Errors: BenchError for one that is not known or comes twice."""
    names: list[str] = list(PROFILES) if text == "all" else words(text, "--profile")
    for name in names:
        if name not in PROFILES:
            raise BenchError(f"there is no profile {name}; there are {', '.join(PROFILES)}, and all of them with all")
    return names


def words(text: str, option: str) -> list[str]:
    """By comma, none empty, none twice."""
    found = text.split(",")
    if not all(found) or len(set(found)) < len(found):
        raise BenchError(f"{option} {text}: give different words by comma")
    return found


def loads(names: Sequence[str], levels: Levels) -> list[Load]:
    """A level is a run of its own, so that it starts with empty caches, but for a sweep's, which GuideLLM chooses."""
    found: list[Load] = []
    for name in names:
        if name in ("poisson", "constant"):
            found += [Load(name, rate) for rate in levels.rates]
        elif name == "concurrent":
            found += [Load(name, streams) for streams in levels.streams]
        else:
            found.append(Load(name))
    return found


def order(policies: Sequence[str], seed: int) -> list[str]:
    """Drawn anew for each seed: who comes first meets another machine than who comes last."""
    drawn = list(policies)
    random.Random(f"order-{seed}").shuffle(drawn)
    return drawn


def runs(chosen: Sequence[Load], policies: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """All policies under one load follow each other."""
    cells = [(seed, load, policy) for seed in seeds for load in chosen for policy in order(policies, seed)]
    return [Run(number, *cell) for number, cell in enumerate(cells, 1)]


def profile_argument(load: Load, levels: Levels) -> dict[str, Any]:
    """For GuideLLM's --profile."""
    if load.profile == "sweep":
        return {"kind": "sweep", "sweep_size": levels.sweep_points, "max_concurrency": levels.max_concurrency}
    if load.profile == "throughput":
        return {"kind": "throughput", "max_concurrency": levels.max_concurrency}
    name = "streams" if load.profile == "concurrent" else "rate"
    return {"kind": load.profile, name: [load.level]}


def benchmarks_of(load: Load, levels: Levels) -> int:
    """How many of GuideLLM's benchmarks a run holds, each up to --seconds long."""
    return levels.sweep_points if load.profile == "sweep" else 1
