"""Fits the simulator's engine model to what the token times of one workload show, and to nothing else.

A request's token times say when iterations ended. Three kinds of stretches of them say what an iteration costs, for in each
it is known what the engine did:

- some requests decode, the same ones for a while, and no prompt waits: each gap between tokens is one iteration;
- one prompt alone waits, from the end of the iteration it arrived in to its first token: it is prefilled in whole chunks,
  while the same requests decode as before;
- the engine is busy, from a request that finds it idle to the end of the last that keeps it busy: everything it was asked
  for in between is done, in whatever order.

Each is a sum of the model's costs, each so many times, so all stretches together are linear equations. They are solved by
least squares with no cost below zero, where a stretch that fits badly, for the machine did something else then, counts less.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from typing import Any, Iterator, Sequence

import numpy

import engine
import measure

COSTS = [
    "request_ms",
    "step_ms",
    "prefill_ms_per_token",
    "prefill_ms_per_token_kilocontext",
    "decode_ms",
    "decode_ms_per_request",
    "decode_ms_per_kilocontext",
]
SAME_MS = 0.6  # tokens of one iteration arrive within this
ROUNDS = 20
TOLERANCE = 0.1  # a stretch off by more than this share counts less


@dataclasses.dataclass
class Stretch:
    """How often each cost was paid, in the order of COSTS, and how long it took altogether."""

    kind: str
    counts: list[float]
    took_ms: float


def fit(runs: Sequence[Sequence[measure.Record]], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The engine model, and how well it fits. Each run is one after the other of the same engine."""
    stretches = [
        stretch
        for records in runs
        for stretch in (*decoding_alone(records), *prompts_alone(records), *busy_periods(records))
    ]
    counts = numpy.array([stretch.counts for stretch in stretches])
    took = numpy.array([stretch.took_ms for stretch in stretches])
    costs = robust_least_squares(counts, took)
    fitted: dict[str, Any] = {"name": name}
    fitted |= {key: float(f"{cost:.6g}") for key, cost in zip(COSTS, costs)}
    fitted |= {
        "chunk_tokens": engine.BATCH_TOKENS,
        "max_running": engine.SLOTS,
        "kv_tokens": engine.SLOTS * engine.SLOT_TOKENS,
        "page_tokens": 1,
    }
    return fitted, quality(stretches, counts @ costs)


# ===== Stretches


def decoding_alone(records: Sequence[measure.Record]) -> Iterator[Stretch]:
    """Between two arrivals or ends of any request the same ones decode; the gaps inside are iterations."""
    edges = sorted(
        edge for record in records for edge in (record.scheduled_ms, record.token_ms[0], record.token_ms[-1])
    )
    waits = [(record.scheduled_ms, record.token_ms[0]) for record in records]
    for begin, end in zip(edges, edges[1:]):
        if end - begin < SAME_MS or any(arrived <= begin and end <= first for arrived, first in waits):
            continue
        live = [r for r in records if r.token_ms[0] <= begin + SAME_MS and r.token_ms[-1] >= end - SAME_MS]
        if not live:
            continue
        times = [t for t in live[0].token_ms if begin - SAME_MS <= t <= end + SAME_MS]
        if len(times) < 2:
            continue
        iterations = len(times) - 1
        context = sum(r.prompt_tokens + tokens_before(r, times[0]) + iterations / 2 for r in live)
        yield Stretch(
            "decoding alone",
            [0, iterations, 0, 0, iterations, iterations * len(live), iterations * context / 1000],
            times[-1] - times[0],
        )


def prompts_alone(records: Sequence[measure.Record]) -> Iterator[Stretch]:
    waits = sorted((record.scheduled_ms, record.token_ms[0]) for record in records)
    for record in records:
        arrived, first = record.scheduled_ms, record.token_ms[0]
        if sum(begin <= first and arrived <= end for begin, end in waits) > 1:
            continue
        decoding = [r for r in records if r is not record and r.token_ms[0] <= arrived < r.token_ms[-1]]
        if any(r.token_ms[-1] < first - SAME_MS for r in decoding):
            continue  # the batch shrank meanwhile
        begin = max((next_token(r, arrived) for r in decoding), default=arrived)
        if begin > first - SAME_MS:
            continue
        context = sum(r.prompt_tokens + tokens_before(r, begin) for r in decoding)
        iterations, prefilled, kilocontext = 0, 0, 0.0
        room = engine.BATCH_TOKENS - len(decoding)
        for at in range(record.cached_tokens, record.prompt_tokens, room):
            tokens = min(room, record.prompt_tokens - at)
            iterations += 1
            prefilled += tokens
            kilocontext += tokens * (at + (tokens - 1) / 2) / 1000
        alone = not decoding
        yield Stretch(
            "a prompt alone" if alone else "a prompt beside answers",
            [
                float(alone),
                iterations,
                prefilled,
                kilocontext,
                0 if alone else iterations,
                iterations * len(decoding),
                iterations * context / 1000,
            ],
            first - begin,
        )


def busy_periods(records: Sequence[measure.Record]) -> Iterator[Stretch]:
    """From a request that finds the engine idle to the end of the last one that keeps it busy without a break."""
    period: list[measure.Record] = []
    end = 0.0
    for record in sorted(records, key=lambda record: record.scheduled_ms):
        if period and record.scheduled_ms > end:
            yield busy_period(period, end)
            period = []
        period.append(record)
        end = max(end, record.token_ms[-1])
    yield busy_period(period, end)


def busy_period(period: Sequence[measure.Record], end: float) -> Stretch:
    prefilled, kilocontext, decoded, context, chunks = 0, 0.0, 0, 0.0, 0
    for record in period:
        tokens = record.prompt_tokens - record.cached_tokens
        prefilled += tokens
        kilocontext += tokens * (record.cached_tokens + (tokens - 1) / 2) / 1000
        decoded += record.output_tokens - 1
        context += (record.output_tokens - 1) * (record.prompt_tokens + record.output_tokens / 2)
        chunks += -(-tokens // engine.BATCH_TOKENS)
    times = sorted(time for record in period for time in record.token_ms[1:])
    decoding = sum(later - earlier > SAME_MS for earlier, later in zip([0.0, *times], times))
    return Stretch(
        "busy periods",
        [1, max(decoding, chunks), prefilled, kilocontext, decoding, decoded, context / 1000],
        end - period[0].scheduled_ms,
    )


def next_token(record: measure.Record, after_ms: float) -> float:
    return record.token_ms[bisect.bisect_right(record.token_ms, after_ms)]


def tokens_before(record: measure.Record, ms: float) -> int:
    return bisect.bisect_right(record.token_ms, ms + SAME_MS)


# ===== The solution


def robust_least_squares(counts: numpy.ndarray, took: numpy.ndarray) -> numpy.ndarray:
    """The error of a sum of many iterations grows with the root of its length; hence the first weights."""
    base = 1 / numpy.sqrt(took)
    weights = base
    costs = numpy.zeros(counts.shape[1])
    for _ in range(ROUNDS):
        costs = non_negative_least_squares(counts * weights[:, None], took * weights)
        off = numpy.abs(counts @ costs - took) / took
        weights = base * numpy.sqrt(TOLERANCE / numpy.maximum(off, TOLERANCE))
    return costs


def non_negative_least_squares(left: numpy.ndarray, right: numpy.ndarray) -> numpy.ndarray:
    """Lawson and Hanson's method, for a handful of unknowns: costs are let in while that lowers the error."""
    normal, aim = left.T @ left, left.T @ right
    x = numpy.zeros(len(aim))
    inside: list[int] = []
    for _ in range(10 * len(aim)):
        slope = aim - normal @ x
        outside = [i for i in range(len(aim)) if i not in inside and slope[i] > 1e-9 * abs(aim[i])]
        if not outside:
            break
        inside.append(max(outside, key=lambda i: slope[i] / math.sqrt(normal[i, i])))
        while True:
            goal = numpy.zeros(len(aim))
            goal[inside] = numpy.linalg.lstsq(normal[numpy.ix_(inside, inside)], aim[inside], rcond=None)[0]
            if all(goal[i] > 0 for i in inside):
                x = goal
                break
            share = min(x[i] / (x[i] - goal[i]) for i in inside if goal[i] <= 0)
            x = x + share * (goal - x)
            inside = [i for i in inside if x[i] > 1e-12]
            x[[i for i in range(len(aim)) if i not in inside]] = 0
    return x


def quality(stretches: Sequence[Stretch], predicted: numpy.ndarray) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for kind in sorted({stretch.kind for stretch in stretches}):
        pairs = [(s.took_ms, p) for s, p in zip(stretches, predicted.tolist()) if s.kind == kind]
        off = [p / took - 1 for took, p in pairs]
        result[kind] = {
            "stretches": len(pairs),
            "seconds": sum(took for took, _ in pairs) / 1000,
            "sum_off_percent": 100 * (sum(p for _, p in pairs) / sum(took for took, _ in pairs) - 1),
            "median_off_percent": 100 * float(numpy.median(off)),
            "median_distance_percent": 100 * float(numpy.median(numpy.abs(off))),
        }
    return result
