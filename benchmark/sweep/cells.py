"""Benchmarks of the same load and policy become one cell of the report."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Callable, Sequence

import numpy as np

from control import BenchError
from intervals import STATISTICS, Estimate, over_seeds, resampled, resampled_ratio, statistics
from results import Benchmark, Request

TIMES: dict[str, Callable[[Request], float | None]] = {
    "ttft_ms": lambda request: request.ttft_ms,
    "itl_ms": lambda request: request.itl_ms,
    "latency_ms": lambda request: request.latency_ms,
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """A policy under a load, over all its seeds. Shares are of 1."""

    load: str
    policy: str
    seeds: int
    requests: int  # answered whole
    errored: int
    incomplete: int  # given up when the time was over
    requests_per_s: Estimate
    output_tokens_per_s: Estimate
    hit_share: Estimate
    hits_by: str  # requests, engines, or nothing that tells
    times: dict[str, dict[str, Estimate]]
    intervals: str  # seeds or requests: over what they are
    left_out: list[int | None]  # seeds of this policy that another one under this load lacks
    comparable: bool  # false: the policies under this load have no seed in common, and so met different requests
    ttft_ms: np.ndarray  # of every request that was answered

    def document(self) -> dict[str, Any]:
        """For --json: what is not known is null."""
        found = dataclasses.asdict(self)
        del found["ttft_ms"]
        return without_nan(found)


def without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def cells(benchmarks: Sequence[Benchmark]) -> list[Cell]:
    """In the order in which loads appear, policies by name, each over the seeds that all policies under its load have.

    Errors: BenchError if a seed is there twice.
    """
    loads = list(dict.fromkeys(benchmark.load for benchmark in benchmarks))
    policies = sorted({benchmark.policy for benchmark in benchmarks})
    found: list[Cell] = []
    for load in loads:
        by_policy = {
            policy: by_seed(load, policy, [each for each in benchmarks if (each.load, each.policy) == (load, policy)])
            for policy in policies
        }
        there = {policy: runs for policy, runs in by_policy.items() if runs}
        common = set.intersection(*(set(runs) for runs in there.values()))
        for policy, runs in there.items():
            these = [run for seed, run in runs.items() if seed in common or not common]
            left_out = [seed for seed in runs if common and seed not in common]
            found.append(cell(load, policy, these, left_out, bool(common)))
    return found


def by_seed(load: str, policy: str, these: Sequence[Benchmark]) -> dict[int | None, Benchmark]:
    found = {each.seed: each for each in these}
    if len(found) < len(these):
        sources = ", ".join(each.source for each in these)
        raise BenchError(f"{load}, {policy}: the same seed is there twice, in {sources}")
    return found


def cell(
    load: str, policy: str, these: Sequence[Benchmark], left_out: list[int | None], comparable: bool
) -> Cell:
    share, by = hits(these)
    answered = [request.ttft_ms for each in these for request in each.of("successful") if request.ttft_ms is not None]
    return Cell(
        load=load,
        policy=policy,
        seeds=len(these),
        requests=sum(len(each.of("successful")) for each in these),
        errored=sum(len(each.of("errored")) for each in these),
        incomplete=sum(len(each.of("incomplete")) for each in these),
        requests_per_s=over_seeds([each.requests_per_s for each in these]),
        output_tokens_per_s=over_seeds([each.output_tokens_per_s for each in these]),
        hit_share=share,
        hits_by=by,
        times={name: estimates([values(each, of) for each in these]) for name, of in TIMES.items()},
        intervals="seeds" if len(these) > 1 else "requests",
        left_out=left_out,
        comparable=comparable,
        ttft_ms=np.array(answered),
    )


def values(benchmark: Benchmark, of: Callable[[Request], float | None]) -> np.ndarray:
    found = (of(request) for request in benchmark.of("successful"))
    return np.array([value for value in found if value is not None], dtype=float)


def estimates(runs: Sequence[np.ndarray]) -> dict[str, Estimate]:
    if len(runs) == 1:
        return dict(zip(STATISTICS, resampled(runs[0])))
    return dict(zip(STATISTICS, map(over_seeds, zip(*(statistics(each) for each in runs)))))


def hits(these: Sequence[Benchmark]) -> tuple[Estimate, str]:
    """By what answers say of themselves if all do, else by the engines' counters."""
    pairs = [[(r.cached_tokens, r.prompt_tokens) for r in each.of("successful")] for each in these]
    if all(run and all(cached is not None and prompt for cached, prompt in run) for run in pairs):
        arrays = [np.array(run, dtype=float) for run in pairs]
        if len(arrays) == 1:
            return resampled_ratio(arrays[0][:, 0], arrays[0][:, 1]), "requests"
        return over_seeds([float(each[:, 0].sum() / each[:, 1].sum()) for each in arrays]), "requests"
    shares = [each.engines_share for each in these]
    if all(share is not None for share in shares):
        return over_seeds([share for share in shares if share is not None]), "engines"
    return Estimate(math.nan), "nothing that tells"
