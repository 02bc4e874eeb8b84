"""requests_clean.csv, summary_clean.csv and config_clean.csv. All latencies in milliseconds."""

from __future__ import annotations

import csv
import pathlib
from typing import Any, Iterator, Sequence

from results import Benchmark, Request

REQUEST_COLUMNS = [
    "benchmark_idx", "request_id", "request_type", "request_start_time", "request_end_time", "request_latency_ms",
    "time_to_first_token_ms", "time_per_output_token_ms", "prompt_tokens", "output_tokens", "total_tokens",
    "tokens_per_second", "output_tokens_per_second", "itl_mean_ms", "itl_median_ms", "itl_p90_ms", "itl_p99_ms",
    "status", "cached_tokens", "error",
]  # fmt: skip
ABOUT_COLUMNS = ["source", "load", "policy", "seed"]

# GuideLLM's metric, the name with its unit, and what to multiply by: request_latency alone is in seconds.
METRICS = [
    ("time_to_first_token_ms", "time_to_first_token_ms", 1), ("inter_token_latency_ms", "inter_token_latency_ms", 1),
    ("request_latency", "request_latency_ms", 1000), ("time_per_output_token_ms", "time_per_output_token_ms", 1),
    ("tokens_per_second", "tokens_per_second", 1), ("output_tokens_per_second", "output_tokens_per_second", 1),
    ("prompt_tokens_per_second", "prompt_tokens_per_second", 1), ("requests_per_second", "requests_per_second", 1),
    ("output_token_count", "output_token_count", 1), ("prompt_token_count", "prompt_token_count", 1),
    ("total_token_count", "total_token_count", 1),
]  # fmt: skip
STATISTICS = ["mean", "median", "std_dev", "min", "max"]
PERCENTILES = ["p50", "p90", "p95", "p99"]


def write(benchmarks: Sequence[Benchmark], folder: pathlib.Path) -> None:
    """`benchmark_idx` is the place in `benchmarks`, the same in all three files."""
    folder.mkdir(parents=True, exist_ok=True)
    requests = (row for number, each in enumerate(benchmarks) for row in request_rows(number, each))
    write_rows(folder / "requests_clean.csv", REQUEST_COLUMNS + ABOUT_COLUMNS, requests)
    columns = ["benchmark_idx", "metric", "count", *STATISTICS, *PERCENTILES, *ABOUT_COLUMNS]
    summary = (row for number, each in enumerate(benchmarks) for row in summary_rows(number, each))
    write_rows(folder / "summary_clean.csv", columns, summary)
    configs = [config_row(number, each) for number, each in enumerate(benchmarks)]
    # A later row may have a key that the first has not.
    keys = list(dict.fromkeys(key for row in configs for key in row))
    write_rows(folder / "config_clean.csv", keys, configs)


def write_rows(path: pathlib.Path, columns: list[str], rows: Any) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def about(benchmark: Benchmark) -> dict[str, Any]:
    return {name: getattr(benchmark, name) for name in ABOUT_COLUMNS}


def request_rows(number: int, benchmark: Benchmark) -> Iterator[dict[str, Any]]:
    for request in benchmark.requests:
        yield about(benchmark) | request_row(number, benchmark.request_format, request)


def request_row(number: int, kind: str | None, request: Request) -> dict[str, Any]:
    found = request.document
    same = (
        "request_id", "request_start_time", "request_end_time", "time_to_first_token_ms", "time_per_output_token_ms",
        "prompt_tokens", "output_tokens", "total_tokens", "tokens_per_second", "output_tokens_per_second",
        "cached_tokens",
    )  # fmt: skip
    itl = found.get("inter_token_latency_ms")
    spread = itl if isinstance(itl, dict) else {}
    percentiles = spread.get("percentiles") or {}
    return {name: found.get(name) for name in same} | {
        "benchmark_idx": number,
        "request_type": kind,
        "request_latency_ms": request.latency_ms,
        "itl_mean_ms": request.itl_ms,
        "itl_median_ms": spread.get("median"),
        "itl_p90_ms": percentiles.get("p90"),
        "itl_p99_ms": percentiles.get("p99"),
        "status": request.status,
        "error": (found.get("info") or {}).get("error"),
    }


def summary_rows(number: int, benchmark: Benchmark) -> Iterator[dict[str, Any]]:
    for metric, name, factor in METRICS:
        found = (benchmark.document["metrics"].get(metric) or {}).get("successful")
        if found is None:
            continue
        row = {statistic: scaled(found.get(statistic), factor) for statistic in STATISTICS}
        row |= {each: scaled((found.get("percentiles") or {}).get(each), factor) for each in PERCENTILES}
        yield {"benchmark_idx": number, "metric": name, "count": found.get("count")} | row | about(benchmark)


def scaled(value: float | None, factor: int) -> float | None:
    return None if value is None else value * factor


def config_row(number: int, benchmark: Benchmark) -> dict[str, Any]:
    """Times, and every plain value of the configuration with its path as name."""
    found = benchmark.document
    times = {name: found.get(name) for name in ("start_time", "end_time", "duration")}
    return {"benchmark_idx": number} | about(benchmark) | times | dict(flat(found["config"], ""))


def flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from flat(each, f"{path}.{key}" if path else str(key))
    elif not isinstance(value, list):
        yield path, value
