"""The thresholds: what gotoni must do better than the others, on medians of the same rounds."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Iterator

GOTONI = "gotoni"
OVERHEAD_CELLS = ("1k-c1", "1k-c16", "64k-c1", "64k-c16")
STREAM_CELLS = ("stream-4", "stream-32")

THROUGHPUT = {"smg": 2.0, "sglang-router": 2.0, "vllm-router": 2.0, "envoy": 1.3}  # gotoni's req/s over theirs, at least
OVER_DYNAMO = 0.9  # of its req/s, whose way has a hop less: at one connection that hop's wake-ups are all that is seen
CACHED_OVER_DIRECT = 1.1  # where streams take turns at the servers, whatever these have cached
ADDED_P50_OVER_HAPROXY = 1.6  # at one connection, at most
FIRST_CHUNK_P50_MS = 1.0  # later than direct, at most
FIRST_CHUNK_P99_MS = 3.0
QUIET_P99_MS = 25.0  # direct's own first chunk, due at 20: beyond it a pass would prove nothing
RSS_MB = 40.0

Summary = dict[str, dict[str, dict[str, float]]]


@dataclasses.dataclass(frozen=True)
class Check:
    name: str
    ours: float
    theirs: float | None  # of the one that ours is compared with
    ratio: float | None
    bound: str
    passed: bool
    judged: bool  # false in a quick run, except for errors


def all_checks(summary: Summary, errors: dict[str, int], quick: bool) -> list[Check]:
    """Only what was measured is checked."""
    found = [Check(f"{peer}: errors", count, None, None, "0", count == 0, True) for peer, count in errors.items()]
    figures = list(of_gotoni(summary))
    return found + [dataclasses.replace(check, judged=not quick) for check in figures]


def of_gotoni(summary: Summary) -> Iterator[Check]:
    for cell in OVERHEAD_CELLS:
        peers = summary.get(cell, {})
        for peer, least in THROUGHPUT.items():
            if GOTONI in peers and peer in peers:
                ours, theirs = peers[GOTONI]["req_s"], peers[peer]["req_s"]
                yield compared(f"{cell}: req/s over {peer}", ours, theirs, least=least)
    for cell in ("1k-c1", "64k-c1"):
        peers = summary.get(cell, {})
        if GOTONI in peers and "haproxy" in peers:
            ours, theirs = peers[GOTONI]["added_p50_us"], peers["haproxy"]["added_p50_us"]
            yield compared(f"{cell}: added p50 us over haproxy", ours, theirs, most=ADDED_P50_OVER_HAPROXY)
    for cell in STREAM_CELLS:
        peers = summary.get(cell, {})
        if GOTONI in peers:
            ours, direct = peers[GOTONI], peers["direct"]
            yield at_most(f"{cell}: quiet machine, first chunk of direct, p99 ms", direct["ttft_p99_ms"], QUIET_P99_MS)
            yield at_most(f"{cell}: first chunk later than direct, p50 ms", ours["added_ttft_p50_ms"], FIRST_CHUNK_P50_MS)
            yield at_most(f"{cell}: first chunk later than direct, p99 ms", ours["added_ttft_p99_ms"], FIRST_CHUNK_P99_MS)
            passed = ours["merged"] <= direct["merged"]
            bound = "no more than direct"
            yield Check(f"{cell}: reads with merged chunks", ours["merged"], direct["merged"], None, bound, passed, True)
    yield from of_dynamos_engines(summary)
    resident = [peers[GOTONI]["rss_mb"] for peers in summary.values() if GOTONI in peers]
    if resident:
        yield at_most("RSS MB, largest of all cells", max(resident), RSS_MB)


def of_dynamos_engines(summary: Summary) -> Iterator[Check]:
    peers = summary.get("mocker-c16", {})
    if GOTONI in peers and "dynamo" in peers:
        ours, theirs = peers[GOTONI]["req_s"], peers["dynamo"]["req_s"]
        yield compared("mocker-c16: req/s over dynamo", ours, theirs, least=OVER_DYNAMO)
    peers = summary.get("mocker-stream-4", {})
    if GOTONI in peers:
        ours, direct = peers[GOTONI]["hit_share"], peers["direct"]["hit_share"]
        yield compared("mocker-stream-4: cached share over direct", ours, direct, least=CACHED_OVER_DIRECT)


def compared(name: str, ours: float, theirs: float, least: float | None = None, most: float | None = None) -> Check:
    """A ratio. Where noise made theirs nothing or less, there is none, and nothing is proven."""
    ratio = ours / theirs if theirs > 0 else math.nan
    if least is not None:
        return Check(name, ours, theirs, ratio, f"ratio at least {least}", ratio >= least, True)
    return Check(name, ours, theirs, ratio, f"ratio at most {most}", most is not None and ratio <= most, True)


def at_most(name: str, ours: float, most: float) -> Check:
    return Check(name, ours, None, None, f"at most {most:g}", ours <= most, True)
