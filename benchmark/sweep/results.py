"""What GuideLLM wrote, read into plain values with their units. Nothing is computed here."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from typing import Any, Iterator, Sequence

from control import BenchError

MOST_BYTES = 2 << 30  # of a file
MOST_FILES = 10_000
VERSION = "0.8."


@dataclasses.dataclass(frozen=True)
class Request:
    """One request of a benchmark; times are None where it did not get so far."""

    status: str  # successful, errored or incomplete
    document: dict[str, Any]  # GuideLLM's own
    start_s: float | None
    latency_ms: float | None
    ttft_ms: float | None
    itl_ms: float | None  # the mean between the tokens of one answer
    prompt_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """One load level of one file."""

    source: str
    policy: str
    seed: int | None
    load: str
    document: dict[str, Any]  # GuideLLM's own, without what is in requests
    requests: Sequence[Request]
    request_format: str | None  # the path that was asked
    requests_per_s: (
        float  # GuideLLM's, of requests that were answered, over the time of the benchmark; NaN if there are none
    )
    output_tokens_per_s: float
    engines_share: (
        float | None
    )  # found cached of prompt tokens by engines' counters, if the file has this benchmark alone

    def of(self, status: str) -> list[Request]:
        return [request for request in self.requests if request.status == status]


def read_all(paths: Sequence[pathlib.Path]) -> list[Benchmark]:
    """Folders with runs.jsonl, run folders, and GuideLLM's JSON files. Errors: BenchError names the file."""
    found: list[Benchmark] = []
    for number, (path, record) in enumerate(files_in(paths)):
        if number == MOST_FILES:
            raise BenchError(f"there are more than {MOST_FILES:,} files")
        found += read(path, record)
    return found


def files_in(paths: Sequence[pathlib.Path]) -> Iterator[tuple[pathlib.Path, dict[str, Any] | None]]:
    """Each file with what its sweep recorded of it. A run that failed has no file."""
    for path in paths:
        if (path / "runs.jsonl").exists():
            lines = (path / "runs.jsonl").read_text().splitlines()
            try:
                folders = [(path / record["folder"], record["error"]) for record in map(json.loads, lines)]
            except (ValueError, KeyError, TypeError) as error:
                raise BenchError(f"{path / 'runs.jsonl'} is not an index of runs: {error!r}") from error
            done = [folder for folder, error in folders if error is None]
            if not done:
                raise BenchError(f"{path} has no run that ended well")
            for folder in done:
                yield folder / "benchmarks.json", recorded(folder)
        elif (path / "run.json").exists():
            yield path / "benchmarks.json", recorded(path)
        elif path.is_dir():
            raise BenchError(f"{path} has neither runs.jsonl nor run.json: is it a folder of run_guidellm.sh?")
        else:
            yield path, None


def recorded(folder: pathlib.Path) -> dict[str, Any]:
    record = document(folder / "run.json")
    if not {"policy", "seed", "before", "after"} <= record.keys():
        raise BenchError(f"{folder / 'run.json'} is not what run_guidellm.sh writes")
    return record


def document(path: pathlib.Path) -> dict[str, Any]:
    """A JSON object. Errors: BenchError."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BenchError(f"{path} has more than {MOST_BYTES >> 20:,} MiB")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BenchError(f"{path} is not JSON, or not all of it: {error}") from error
    if not isinstance(value, dict):
        raise BenchError(f"{path} is not a JSON object")
    return value


def read(path: pathlib.Path, record: dict[str, Any] | None) -> list[Benchmark]:
    """The benchmarks of one file."""
    whole = document(path)
    version = (whole.get("metadata") or {}).get("guidellm_version")
    if version is None:
        raise BenchError(f"{path} is not a file of GuideLLM: it names no guidellm_version")
    if not str(version).startswith(VERSION):
        raise BenchError(f"{path} was written by GuideLLM {version}; this reads {VERSION}x")
    if not whole.get("benchmarks"):
        raise BenchError(f"{path} has no benchmarks")
    try:
        return [one(path, whole, number, record) for number in range(len(whole["benchmarks"]))]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BenchError(f"{path} lacks something that GuideLLM {version} writes: {error!r}") from error


def one(path: pathlib.Path, whole: dict[str, Any], number: int, record: dict[str, Any] | None) -> Benchmark:
    count = len(whole["benchmarks"])
    found = whole["benchmarks"][number]
    requests = [
        request_of(status, each)
        for status in ("successful", "errored", "incomplete")
        for each in found["requests"][status] or []
    ]
    spec = whole["config"]["spec"]
    return Benchmark(
        source=path.parent.name if record is not None else path.stem,
        policy=record["policy"] if record is not None else path.stem,
        seed=record["seed"] if record is not None else spec["seed"].get("value"),
        load=load_of(spec["profile"]["kind"], found["config"]["strategy"], number, count),
        document={key: value for key, value in found.items() if key != "requests"},
        requests=sorted(requests, key=lambda request: request.start_s or 0.0),
        request_format=found["config"]["backend"].get("request_format"),
        requests_per_s=mean_of(found, "requests_per_second"),
        output_tokens_per_s=mean_of(found, "output_tokens_per_second"),
        engines_share=engines_share(record) if record is not None and count == 1 else None,
    )


def load_of(profile: str, strategy: dict[str, Any], number: int, count: int) -> str:
    """The same for all policies: the rates of a sweep are not, GuideLLM takes them from what it has just measured."""
    kind = strategy["type_"]
    if profile == "sweep":
        return f"sweep {number + 1} of {count}, {kind}"
    if kind == "concurrent":
        return f"concurrent {strategy['streams']}"
    return kind if strategy.get("rate") is None else f"{kind} {strategy['rate']:g}/s"


def mean_of(benchmark: dict[str, Any], metric: str) -> float:
    mean = (benchmark["metrics"][metric]["successful"] or {}).get("mean")
    return math.nan if mean is None else float(mean)


def request_of(status: str, each: dict[str, Any]) -> Request:
    latency_s = each.get("request_latency")  # of all of GuideLLM's latencies the only one in seconds
    return Request(
        status=status,
        document=each,
        start_s=each.get("request_start_time"),
        latency_ms=None if latency_s is None else 1000 * latency_s,
        ttft_ms=each.get("time_to_first_token_ms"),
        itl_ms=itl_mean(each.get("inter_token_latency_ms")),
        prompt_tokens=each.get("prompt_tokens"),
        output_tokens=each.get("output_tokens"),
        cached_tokens=each.get("cached_tokens"),
    )


def itl_mean(value: Any) -> float | None:
    """GuideLLM writes a number; files of other times have an object."""
    return value.get("mean") if isinstance(value, dict) else value


def engines_share(record: dict[str, Any]) -> float | None:
    """Cached of prompt tokens between the two looks at the engines; None if one of them does not count."""
    before, after = record["before"]["engines"], record["after"]["engines"]
    if not before or any(each is None for each in [*before.values(), *after.values()]):
        return None
    prompt = sum(after[url]["prompt_tokens"] - before[url]["prompt_tokens"] for url in before)
    cached = sum(after[url]["cached_tokens"] - before[url]["cached_tokens"] for url in before)
    return cached / prompt if prompt > 0 else None
