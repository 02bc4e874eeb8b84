"""Statistics of one run, and how sure they are. Times in the unit they come in."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import sys
from typing import Sequence

import numpy as np

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "peers"))

from statistics_of import student  # noqa: E402

STATISTICS = ("mean", "p50", "p90", "p95", "p99")
BLOCKS = 50
DRAWS = 400


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; without one where nothing can be said."""

    value: float
    low: float = math.nan
    high: float = math.nan


def statistics(values: np.ndarray) -> list[float]:
    """In the order of STATISTICS; percentiles are nearest ranks."""
    if values.size == 0:
        return [math.nan] * len(STATISTICS)
    ranks = np.percentile(values, [50, 90, 95, 99], method="inverted_cdf")
    return [float(values.mean()), *map(float, ranks)]


def over_seeds(values: Sequence[float]) -> Estimate:
    """The mean of one value a seed, with Student's interval."""
    mean, half = student([value for value in values if not math.isnan(value)])
    return Estimate(mean, mean - half, mean + half)


def resampled(values: np.ndarray) -> list[Estimate]:
    """STATISTICS of requests in order of arrival, by block bootstrap, as the simulator's.

    They are cut into 50 blocks (each request is one, if there are fewer), of which as many are drawn with replacement,
    400 times. That says how much another stretch of the same traffic would differ, and nothing about another day.
    """
    found = statistics(values)
    if values.size < 2:
        return [Estimate(value) for value in found]
    blocks = np.array_split(values, min(BLOCKS, values.size))
    draws = chosen(len(blocks))
    drawn = np.array([statistics(np.concatenate([blocks[at] for at in draw])) for draw in draws])
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return [Estimate(*each) for each in zip(found, map(float, low), map(float, high))]


def resampled_ratio(parts: np.ndarray, wholes: np.ndarray) -> Estimate:
    """Sum of `parts` by sum of `wholes`, one of each a request in order of arrival."""
    if wholes.sum() <= 0:
        return Estimate(math.nan)
    value = float(parts.sum() / wholes.sum())
    count = min(BLOCKS, wholes.size)
    if count < 2:
        return Estimate(value)
    part = np.array([block.sum() for block in np.array_split(parts, count)])
    whole = np.array([block.sum() for block in np.array_split(wholes, count)])
    draws = chosen(count)
    low, high = np.percentile(part[draws].sum(axis=1) / whole[draws].sum(axis=1), [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def chosen(count: int) -> np.ndarray:
    """Always the same draws, so that the same files give the same report."""
    return np.random.default_rng(1).integers(0, count, size=(DRAWS, count))
