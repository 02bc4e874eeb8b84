"""Percentiles, medians and intervals of plain lists."""

from __future__ import annotations

import math
from typing import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest rank; NaN of nothing."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle one, or the mean of the two middle ones; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


# 97.5 % points of Student's t for 1, 2, ... degrees of freedom; beyond the last one the normal's.
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
     2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)  # fmt: skip


def student(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and half of Student's 95 % interval; NaN for the latter of a single value, and for both of nothing."""
    if len(values) < 2:
        return (values[0] if values else math.nan), math.nan
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    t = T[len(values) - 2] if len(values) - 2 < len(T) else 1.960
    return mean, t * math.sqrt(variance / len(values))
