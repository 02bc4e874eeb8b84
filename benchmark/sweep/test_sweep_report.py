"""Figures have the units they claim, and broken files are refused: python3 -m pytest benchmark/sweep

The fixture is GuideLLM 0.8.1's file of six requests to a gotoni-engine that broke two of them off (--fault), without
the requests' texts, tracebacks and the metrics of kinds of data that were not sent.
"""

from __future__ import annotations

import csv
import json
import math
import pathlib
import subprocess
import sys
from typing import Any

import pytest

np = pytest.importorskip("numpy", reason="numpy is not installed: benchmark/sweep/requirements-guidellm.txt")

import cells  # noqa: E402
import csv_files  # noqa: E402
import intervals  # noqa: E402
import outcome  # noqa: E402
import results  # noqa: E402
import terminal  # noqa: E402
from control import BenchError  # noqa: E402

FIXTURE = pathlib.Path(__file__).parent / "fixtures" / "guidellm-0.8.1.json"
REPORT = pathlib.Path(__file__).parents[1] / "report.py"
COUNTED = {"requests": 0.0, "prompt_tokens": 100.0, "cached_tokens": 10.0}
LATER = {"requests": 9.0, "prompt_tokens": 300.0, "cached_tokens": 60.0}


def changed(path: pathlib.Path, change: Any) -> pathlib.Path:
    whole = json.loads(FIXTURE.read_text())
    change(whole)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole))
    return path


def sweep_folder(out: pathlib.Path, factors: dict[tuple[str, int], float], cached: bool = True) -> pathlib.Path:
    """Runs by policy and seed whose TTFTs are the fixture's times a factor."""
    with_runs: list[str] = []
    for number, ((policy, seed), factor) in enumerate(factors.items()):

        def change(whole: dict[str, Any], factor: float = factor) -> None:
            for request in whole["benchmarks"][0]["requests"]["successful"]:
                request["time_to_first_token_ms"] *= factor
                request["cached_tokens"] = request["cached_tokens"] if cached else None

        folder = out / f"{number}-{policy}-{seed}"
        changed(folder / "benchmarks.json", change)
        record = {
            "policy": policy,
            "seed": seed,
            "before": {"engines": {"e": COUNTED}},
            "after": {"engines": {"e": LATER}},
        }
        (folder / "run.json").write_text(json.dumps(record))
        with_runs.append(json.dumps({"folder": folder.name, "error": None}))
    with_runs.append(json.dumps({"folder": "failed", "error": "GuideLLM ended with status 1"}))
    (out / "runs.jsonl").write_text("\n".join(with_runs))
    return out


def test_statuses_are_kept_apart_and_only_whole_answers_are_measured() -> None:
    (found,) = results.read_all([FIXTURE])
    assert [len(found.of(status)) for status in ("successful", "errored", "incomplete")] == [4, 2, 0]
    (cell,) = cells.cells([found])
    assert (cell.requests, cell.errored, cell.incomplete, cell.load) == (4, 2, 0, "concurrent 2")
    assert cell.ttft_ms.size == 4


def test_request_latency_is_in_milliseconds_as_ttft_is() -> None:
    """GuideLLM has it in seconds; TTFT and the gaps between eight tokens are within it."""
    (found,) = results.read_all([FIXTURE])
    for request in found.of("successful"):
        assert request.latency_ms is not None and request.ttft_ms is not None and request.itl_ms is not None
        assert request.latency_ms == pytest.approx(request.ttft_ms + 7 * request.itl_ms, rel=0.05)


def test_statistics_agree_with_guidellms_own() -> None:
    (found,) = results.read_all([FIXTURE])
    (cell,) = cells.cells([found])
    own = found.document["metrics"]["time_to_first_token_ms"]["successful"]
    assert cell.times["ttft_ms"]["mean"].value == pytest.approx(own["mean"])
    assert cell.times["ttft_ms"]["p99"].value == pytest.approx(own["percentiles"]["p99"])
    latency_s = found.document["metrics"]["request_latency"]["successful"]["mean"]
    assert cell.times["latency_ms"]["mean"].value == pytest.approx(1000 * latency_s)


def test_an_itl_may_be_a_number_or_an_object() -> None:
    assert results.itl_mean(8.5) == results.itl_mean({"mean": 8.5, "median": 8.0}) == 8.5
    assert results.itl_mean(None) is None


def test_intervals_are_over_seeds_where_there_are_several(tmp_path: pathlib.Path) -> None:
    several = sweep_folder(tmp_path / "a", {("gorgo", 1): 1.0, ("gorgo", 2): 2.0, ("gorgo", 3): 3.0})
    (gorgo,) = cells.cells(results.read_all([several]))
    (one,) = cells.cells(results.read_all([sweep_folder(tmp_path / "b", {("gorgo", 1): 1.0})]))
    assert (gorgo.seeds, gorgo.intervals, gorgo.left_out) == (3, "seeds", [])
    assert (one.seeds, one.intervals) == (1, "requests")
    mean, single = gorgo.times["ttft_ms"]["mean"], one.times["ttft_ms"]["mean"]
    assert mean.value == pytest.approx(2 * single.value)
    # Three values x, 2x, 3x: standard deviation x, and t is 4.303 for two degrees of freedom.
    assert mean.high - mean.value == pytest.approx(4.303 * single.value / math.sqrt(3))
    assert single.low < single.value < single.high


def test_policies_are_compared_over_the_seeds_that_all_have_and_others_are_named(tmp_path: pathlib.Path) -> None:
    factors = {("gorgo", 1): 1.0, ("gorgo", 2): 9.0, ("random", 1): 1.0, ("random", 3): 7.0, ("random", 4): 8.0}
    found = cells.cells(results.read_all([sweep_folder(tmp_path, factors)]))
    gorgo, random = found
    assert (gorgo.seeds, gorgo.left_out) == (1, [2]) and (random.seeds, random.left_out) == (1, [3, 4])
    assert gorgo.times["ttft_ms"]["mean"].value == random.times["ttft_ms"]["mean"].value
    text = terminal.report(found)
    assert "Left out, since not all policies have these seeds: gorgo 2; random 3, 4." in text


def test_policies_without_a_common_seed_are_shown_with_a_warning(tmp_path: pathlib.Path) -> None:
    found = cells.cells(results.read_all([sweep_folder(tmp_path, {("gorgo", 1): 1.0, ("random", 2): 1.0})]))
    assert [cell.seeds for cell in found] == [1, 1] and not any(cell.comparable for cell in found)
    assert "no seed in common" in terminal.report(found)


def test_the_same_seed_twice_is_an_error(tmp_path: pathlib.Path) -> None:
    one = sweep_folder(tmp_path / "a", {("gorgo", 1): 1.0})
    with pytest.raises(BenchError, match="the same seed is there twice"):
        cells.cells(results.read_all([one, one]))


def test_hits_come_from_requests_and_else_from_engines(tmp_path: pathlib.Path) -> None:
    (by_requests,) = cells.cells(results.read_all([sweep_folder(tmp_path / "a", {("gorgo", 1): 1.0})]))
    assert (by_requests.hits_by, by_requests.hit_share.value) == ("requests", 0)
    (by_engines,) = cells.cells(results.read_all([sweep_folder(tmp_path / "b", {("gorgo", 1): 1.0}, cached=False)]))
    assert (by_engines.hits_by, by_engines.hit_share.value) == ("engines", pytest.approx(50 / 200))


def test_a_ratios_interval_holds_the_ratio() -> None:
    chance = np.random.default_rng(3)
    wholes = chance.integers(1, 1000, 200).astype(float)
    found = intervals.resampled_ratio(wholes * chance.random(200), wholes)
    assert found.low < found.value < found.high and found.high - found.low < 0.2


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    chance = np.random.default_rng(7)
    covered = 0
    for _ in range(60):
        found = intervals.resampled(chance.exponential(100.0, 200))[0]
        covered += found.low <= 100.0 <= found.high
    assert 50 <= covered <= 60


def rows(path: pathlib.Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_files_have_their_columns_units_and_all_keys(tmp_path: pathlib.Path) -> None:
    def change(whole: dict[str, Any]) -> None:
        whole["benchmarks"][0]["config"]["strategy"]["added_later"] = 7

    later = changed(tmp_path / "later.json", change)
    csv_files.write(results.read_all([FIXTURE, later]), tmp_path / "csv")
    requests = rows(tmp_path / "csv" / "requests_clean.csv")
    assert list(requests[0])[:18] == [
        "benchmark_idx", "request_id", "request_type", "request_start_time", "request_end_time", "request_latency_ms",
        "time_to_first_token_ms", "time_per_output_token_ms", "prompt_tokens", "output_tokens", "total_tokens",
        "tokens_per_second", "output_tokens_per_second", "itl_mean_ms", "itl_median_ms", "itl_p90_ms", "itl_p99_ms",
        "status",
    ]  # fmt: skip
    assert [row["status"] for row in requests].count("errored") == 4 and len(requests) == 12
    good = [row for row in requests if row["status"] == "successful"]
    assert all(float(row["request_latency_ms"]) > float(row["time_to_first_token_ms"]) > 1 for row in good)
    assert all(float(row["itl_mean_ms"]) > 1 and row["itl_p90_ms"] == "" for row in good)
    summary = {
        row["metric"]: row for row in rows(tmp_path / "csv" / "summary_clean.csv") if row["benchmark_idx"] == "0"
    }
    assert list(summary["request_latency_ms"])[:12] == [
        "benchmark_idx", "metric", "count", "mean", "median", "std_dev", "min", "max", "p50", "p90", "p95", "p99",
    ]  # fmt: skip
    latencies = [float(row["request_latency_ms"]) for row in good[:4]]
    assert float(summary["request_latency_ms"]["mean"]) == pytest.approx(sum(latencies) / 4)
    config = rows(tmp_path / "csv" / "config_clean.csv")
    assert [row["strategy.added_later"] for row in config] == ["", "7"]


def test_loads_have_the_same_name_whatever_rates_a_sweep_found() -> None:
    constant = {"type_": "constant", "rate": 18.475}
    assert results.load_of("sweep", constant, 2, 5) == "sweep 3 of 5, constant"
    assert results.load_of("constant", constant, 0, 1) == "constant 18.475/s"
    assert results.load_of("throughput", {"type_": "throughput"}, 0, 1) == "throughput"


def scheduled(path: pathlib.Path, targets: dict[int, float]) -> outcome.Outcome:
    """The fixture as if its first requests should have been sent so many seconds after the start."""

    def change(whole: dict[str, Any]) -> None:
        benchmark = whole["benchmarks"][0]
        benchmark["config"]["profile"]["kind"] = "poisson"
        start = benchmark["scheduler_state"]["start_time"]
        for at, request in enumerate(benchmark["requests"]["successful"]):
            timing = request["info"]["timings"]
            timing["targeted_start"] = targets.get(at, timing["request_start"] - start) + start

    return outcome.outcome(changed(path, change))


def test_requests_with_times_before_the_start_are_found(tmp_path: pathlib.Path) -> None:
    assert outcome.outcome(FIXTURE).too_early == scheduled(tmp_path / "good.json", {}).too_early == 0
    assert scheduled(tmp_path / "bad.json", {0: -1.8e9, 1: -0.5}).too_early == 2


def test_lateness_is_from_when_a_request_was_due(tmp_path: pathlib.Path) -> None:
    assert outcome.outcome(FIXTURE).late_p95_ms is None
    late = scheduled(tmp_path / "late.json", {at: 0.0 for at in range(4)}).late_p95_ms
    timing = json.loads(FIXTURE.read_text())["benchmarks"][0]
    start = timing["scheduler_state"]["start_time"]
    sent = [each["info"]["timings"]["request_start"] - start for each in timing["requests"]["successful"]]
    assert late == pytest.approx(1000 * max(sent), abs=0.1)


def reported(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPORT), *map(str, words)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_the_report_shows_both_policies_and_writes_what_was_asked_for(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    factors = {("gorgo", 1): 1.0, ("random", 1): 2.0}
    folder = sweep_folder(tmp_path / "runs", factors)
    done = reported(folder, "--json", tmp_path / "r.json", "--csv", tmp_path / "csv", "--plots", tmp_path / "plots")
    assert done.returncode == 0, done.stderr
    assert "gorgo" in done.stdout and "random" in done.stdout and "block bootstrap" in done.stdout
    gorgo, random = json.loads((tmp_path / "r.json").read_text())
    ratio = random["times"]["ttft_ms"]["p50"]["value"] / gorgo["times"]["ttft_ms"]["p50"]["value"]
    assert ratio == pytest.approx(2)
    assert gorgo["requests_per_s"]["low"] is None and gorgo["requests_per_s"]["value"] > 0
    names = {"ttft.png", "ttft.svg", "ttft-ecdf.png", "ttft-ecdf.svg"}
    assert {path.name for path in (tmp_path / "plots").iterdir() if path.stat().st_size > 1000} == names


def broken(kind: str, folder: pathlib.Path) -> pathlib.Path:
    path = folder / "file.json"
    if kind == "truncated":
        path.write_text(FIXTURE.read_text()[:-100])
    elif kind == "empty":
        path.write_text("")
    elif kind == "foreign":
        path.write_text('{"benchmarks": [1]}')
    elif kind == "no benchmarks":
        changed(path, lambda whole: whole.update(benchmarks=[]))
    elif kind == "other version":
        changed(path, lambda whole: whole["metadata"].update(guidellm_version="0.5.1"))
    elif kind == "lacks metrics":
        changed(path, lambda whole: whole["benchmarks"][0].pop("metrics"))
    elif kind == "a folder of something else":
        path.mkdir()
    elif kind == "only failed runs":
        path.mkdir()
        (path / "runs.jsonl").write_text('{"folder": "x", "error": "it failed"}\n')
    return path


@pytest.mark.parametrize(
    "kind",
    ["missing", "truncated", "empty", "foreign", "no benchmarks", "other version", "lacks metrics",
     "a folder of something else", "only failed runs"],
)  # fmt: skip
def test_a_broken_file_ends_with_status_2_and_one_sentence(kind: str, tmp_path: pathlib.Path) -> None:
    done = reported(broken(kind, tmp_path))
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and str(tmp_path / "file.json") in done.stderr
