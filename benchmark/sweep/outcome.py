"""What became of the requests of one run, and whether GuideLLM sent them when it should have."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

from guidellm_runs import RunError
from statistics_of import percentile

STATUSES = ("successful", "errored", "incomplete")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Over all benchmarks of a file."""

    counts: dict[str, int]
    rows_ran_out: bool  # some benchmark ended because there was no more to send
    too_early: int  # requests whose time was before the benchmark's start
    late_p95_ms: float | None  # from when a request should have been sent to when it was; None without a schedule


NOTHING = Outcome(dict.fromkeys(STATUSES, 0), False, 0, None)


def outcome(path: pathlib.Path) -> Outcome:
    """Counts all requests that a file lists; GuideLLM's own totals leave out some that began at the very end.

    GuideLLM 0.8.1 wakes its workers before it has set the clock of a poisson schedule. A worker that is quick then has
    times of 1970 for its first requests, and sends them all at once. Errors: RunError.
    """
    try:
        benchmarks = json.loads(path.read_text())["benchmarks"]
        counts = {name: sum(len(each["requests"][name] or []) for each in benchmarks) for name in STATUSES}
        ends = [each["scheduler_state"]["end_processing_constraints"].keys() for each in benchmarks]
        early = sum(sent < start for each in benchmarks for start, sent in schedule(each))
        late = [1000 * late_s for each in benchmarks for late_s in lateness_s(each)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is not what GuideLLM 0.8.1 writes: {error!r}") from error
    ran_out = any(not end & {"max_duration", "max_requests"} for end in ends)
    return Outcome(counts, ran_out, early, round(percentile(late, 95), 1) if late else None)


def timings(benchmark: dict[str, Any]) -> list[dict[str, float | None]]:
    """Of requests with a schedule. A sweep's are held back by --max-concurrency too, so they are not looked at."""
    if benchmark["config"]["profile"]["kind"] not in ("poisson", "constant"):
        return []
    return [each["info"]["timings"] for name in STATUSES for each in benchmark["requests"][name] or []]


def schedule(benchmark: dict[str, Any]) -> list[tuple[float, float]]:
    """The benchmark's start, and when each request should have been sent. Seconds since 1970."""
    start = benchmark["scheduler_state"]["start_time"]
    targets = [timing["targeted_start"] for timing in timings(benchmark)]
    return [(start, target) for target in targets if target is not None]


def lateness_s(benchmark: dict[str, Any]) -> list[float]:
    pairs = [(timing["targeted_start"], timing["request_start"]) for timing in timings(benchmark)]
    return [sent - target for target, sent in pairs if target is not None and sent is not None]
