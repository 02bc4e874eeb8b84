"""What the figures rest on: python3 -m pytest benchmark/peers"""

from __future__ import annotations

import json
import math

import pytest

import bench
import checks
import report
import traffic
from statistics_of import median, percentile
from wire import Reader, WireError

RESPONSE = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5;x=y\r\nab\n\nc\r\n1\r\n\n\r\n0\r\n\r\n"
REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"


@pytest.mark.parametrize("size", [1024, 65536])
@pytest.mark.parametrize("stream", [False, True])
def test_bodies_have_their_size_and_groups(size: int, stream: bool) -> None:
    bodies = traffic.bodies(size, 1, stream)
    assert bodies == traffic.bodies(size, 1, stream) != traffic.bodies(size, 2, stream)
    assert len(set(bodies)) == 48 and {len(body) for body in bodies} == {size}
    requests = [json.loads(body) for body in bodies]
    assert len({request["messages"][0]["content"] for request in requests}) == 8
    assert all(request["stream"] is stream for request in requests)


def test_answer_is_json_of_240_bytes() -> None:
    assert len(traffic.answer()) == 240
    assert json.loads(traffic.answer())["object"] == "chat.completion"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(("message", "body"), [(RESPONSE, b"ab\n\nc\n"), (REQUEST, b"abc")])
def test_reader_takes_messages_in_any_pieces(step: int, message: bytes, body: bytes) -> None:
    data = message * 3
    reader = Reader()
    found = [item for at in range(0, len(data), step) for item in reader.feed(data[at : at + step])]
    assert b"".join(value for kind, value in found if kind == "body") == body * 3
    assert [kind for kind, _ in found if kind != "body"] == ["head", "end"] * 3


def test_reader_refuses_responses_that_end_with_their_connection() -> None:
    with pytest.raises(WireError):
        Reader().feed(b"HTTP/1.1 200 OK\r\n\r\n")


def test_percentiles_are_nearest_ranks() -> None:
    assert percentile(range(1, 101), 50) == 50 and percentile(range(1, 101), 99) == 99
    assert percentile([3], 99) == 3 and math.isnan(percentile([], 50))
    assert median([3, 1, 2]) == 2 and median([4, 1, 2, 3]) == 2.5


def rounds(cell: str, peer: str, **figures: float) -> list[dict[str, object]]:
    return [{"round": n, "cell": cell, "peer": peer, "errors": 0, **figures} for n in range(3)]


def test_added_is_taken_within_each_round() -> None:
    direct = rounds("1k-c1", "direct", p50_us=100)
    ours = rounds("1k-c1", "gotoni", p50_us=150)
    for number, (one, other) in enumerate(zip(direct, ours)):
        one["p50_us"], other["p50_us"] = 100 * number, 100 * number + 10 * number
    ours[1]["errors"] = 2
    found = bench.summary(direct + ours)["1k-c1"]["gotoni"]
    assert found["added_p50_us"] == 10 and found["p50_us"] == 110 and found["errors"] == 2
    assert bench.errors(direct + ours) == {"direct": 0, "gotoni": 2}


def verdicts(summary: checks.Summary, errors: dict[str, int]) -> dict[str, bool]:
    return {check.name: check.passed for check in checks.all_checks(summary, errors, quick=False)}


def test_thresholds_pass_and_miss() -> None:
    def overhead(gotoni: float, added: float) -> checks.Summary:
        return {
            "1k-c1": {
                "gotoni": {"req_s": gotoni, "added_p50_us": added, "rss_mb": 40},
                "smg": {"req_s": 1000},
                "envoy": {"req_s": 1000},
                "haproxy": {"added_p50_us": 100},
            }
        }

    good = verdicts(overhead(2000, 160), {"gotoni": 0})
    assert good == {
        "gotoni: errors": True,
        "1k-c1: req/s over smg": True,
        "1k-c1: req/s over envoy": True,
        "1k-c1: added p50 us over haproxy": True,
        "RSS MB, largest of all cells": True,
    }
    bad = verdicts(overhead(1999, 161), {"gotoni": 1})
    assert [name for name, passed in bad.items() if passed] == ["1k-c1: req/s over envoy", "RSS MB, largest of all cells"]


def test_streams_are_compared_with_direct() -> None:
    def streams(p50: float, p99: float, merged: float, direct_p99: float = 25) -> checks.Summary:
        ours = {"added_ttft_p50_ms": p50, "added_ttft_p99_ms": p99, "merged": merged, "rss_mb": 10}
        return {"stream-4": {"gotoni": ours, "direct": {"merged": 1, "ttft_p99_ms": direct_p99}}}

    assert all(verdicts(streams(1, 3, 1), {}).values())
    missed = [name for name, passed in verdicts(streams(1.01, 3.01, 2), {}).items() if not passed]
    assert len(missed) == 3 and all(name.startswith("stream-4: ") for name in missed)
    assert sum(verdicts(streams(-99, -99, 0, direct_p99=26), {}).values()) == 4


def test_no_ratio_is_no_pass() -> None:
    assert not checks.compared("x", 1, 0, most=1.6).passed
    assert not checks.compared("x", math.nan, 1, least=1).passed


def test_a_quick_run_judges_errors_only() -> None:
    summary: checks.Summary = {"1k-c1": {"gotoni": {"req_s": 1, "rss_mb": 99}, "smg": {"req_s": 1}}}
    found = checks.all_checks(summary, {"smg": 1}, quick=True)
    assert [check.judged for check in found] == [True, False, False]


def test_columns_are_aligned() -> None:
    lines = report.table(["router", "req/s"], [["a", "1,000"], ["longer name", "2"]], texts=1).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[3] == "| longer name |     2 |"
