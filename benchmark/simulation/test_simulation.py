"""The scripts of the laboratory, small: python3 -m pytest benchmark/simulation"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import ablation
import cells
import matrix
import pytest
import scale
import storm
import tuner
from cells import TTFT, Found, Policy

HERE = pathlib.Path(__file__).resolve().parent
BIN = pathlib.Path(os.environ.get("GOTONI_BIN", HERE.parents[1] / "build" / "bin")).resolve()
LIMIT_S = 120.0
ENDED_WITHIN_S = 20.0

needs_programs = pytest.mark.skipif(
    not (BIN / "gotoni").is_file(), reason="there is no build/bin/gotoni: make bin"
)  # fmt: skip


def command(script: str, out: pathlib.Path, *words: str) -> list[str]:
    return [sys.executable, str(HERE / script), "--gotoni", str(BIN / "gotoni"), "--out", str(out), *words]


def run(script: str, out: pathlib.Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(script, out, *words), check=False, capture_output=True, text=True, timeout=LIMIT_S)


def policy(ttft_s: float, e2e_s: float = 10, good: float = 0.9, hits: float = 0.5) -> Policy:
    return {
        "ttft_ms": {"p50": {"value": 500}, "p95": {"value": 1_000 * ttft_s}}, "e2e_ms": {"p95": {"value": 1_000 * e2e_s}},
        "goodput": {"value": good}, "hit_share": hits,
    }  # fmt: skip


# MARK: By hand


def test_ratios_are_paired_by_seed() -> None:
    mean, half = cells.ratio(TTFT, [policy(1), policy(20)], [policy(2), policy(40)])
    assert (mean, half) == (0.5, 0)
    mean, half = cells.ratio(TTFT, [policy(1), policy(3)], [policy(2), policy(4)])
    assert mean == 0.625 and half == pytest.approx(12.706 * 0.125)


def test_a_verdict_is_of_differences_that_are_neither_chance_nor_too_small() -> None:
    assert matrix.verdict([1, 1.1, 0.9], [2, 2.1, 1.9], most=False) == "better"
    assert matrix.verdict([1, 1.1, 0.9], [2, 2.1, 1.9], most=True) == "worse"
    assert matrix.verdict([1, 3, 2], [2, 2, 2], most=False) == "tied"
    assert matrix.verdict([1.99, 1.99, 1.99], [2, 2, 2], most=False) == "tied"


def test_every_arm_is_another_policy() -> None:
    policies = [ablation.WHOLE, *(arm.policy for arm in ablation.arms())]
    assert len(set(policies)) == len(policies) == 1 + 3 * 8 + 1 + 2 * 3


def test_the_worst_cell_is_marked_and_what_is_worth_nothing_is_said() -> None:
    def found(*ttfts: float) -> list[Policy]:
        return [policy(each) for each in ttfts]

    worse = "predictive:x_wait=0"
    every: Found = {
        cell: {ablation.WHOLE: found(1, 2), **{arm.policy: found(1, 2) for arm in ablation.arms()}, worse: found(*slow)}
        for cell, slow in {"calm": (1.5, 3), "wild": (2, 4)}.items()
    }
    text = ablation.text(every)
    assert "| wait × 0 | 1.50 ± 0.00 | **2.00 ± 0.00** |" in text
    assert "Without a term nothing is worse than 2.00 ± 0.00 (wait × 0: TTFT p95, wild)" in text
    assert "Without wait: TTFT p95 1.50 ± 0.00 (calm), TTFT p95 2.00 ± 0.00 (wild)." in text
    assert "Without doubt: no change in any cell" in text


def test_a_storm_is_judged_by_requests_and_hits() -> None:
    def found(requests: float, tokens: float, hits: float) -> Policy:
        return {"busiest_share": requests / 8, "busiest_prompt_share": tokens / 8, "hit_share": hits}

    good = found(1.25, 8, 0.9)
    bad = {"predictive": [good, found(1.3, 1.1, 0.89)], "gorgo": [found(1.5, 1, 1)]}
    assert storm.misses({"one region": {"predictive": [good, good], "prefix-tree": [found(8, 8, 1)]}}) == []
    assert storm.misses({"three regions, far": bad}) == []
    missed = storm.misses({"one region": bad})
    assert [line.split(": ")[1].split(", ")[1] for line in missed] == ["predictive", "predictive", "gorgo"]


def test_sharing_is_judged_by_what_one_brain_finds() -> None:
    def found(hits: float) -> Policy:
        return {"hit_share": hits}

    cell = {scale.ONE_BRAIN: [found(0.8), found(0.6)], scale.APART: [found(0.4), found(0.3)]}
    assert scale.share_of_one_brain(cell, scale.APART) == pytest.approx(0.5)
    assert scale.misses({"8": {**cell, scale.SHARING: [found(0.78), found(0.585)]}}) == []
    assert len(scale.misses({"8": {**cell, scale.SHARING: [found(0.76), found(0.56)], scale.REGIONS: [found(0.8), found(0.5)]}})) == 2
    assert scale.misses({"512": {scale.REGIONS: [found(0.1)]}}) == []


# MARK: Played


@needs_programs
def test_the_matrix_is_played(tmp_path: pathlib.Path) -> None:
    cell = "agentic, light, near"
    done = run("matrix.py", tmp_path, "--seeds", "2", "--only", cell, "--field", "predictive,least-load")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "matrix.md").read_text() == done.stdout and done.stdout.count(f"| {cell} | ") == 2
    found: Found = json.loads((tmp_path / "matrix.json").read_text())
    assert {name: len(runs) for name, runs in found[cell].items()} == {"predictive": 2, "least-load": 2}
    mean, half = cells.ratio(TTFT, found[cell]["predictive"], found[cell]["least-load"])
    assert f"| {cell} | {mean:.2f} ± {half:.2f} | " in done.stdout and 0.1 < mean < 1


@needs_programs
def test_the_ablation_is_played(tmp_path: pathlib.Path) -> None:
    done = run("ablation.py", tmp_path, "--seeds", "2", "--only", "agentic, knee, far", "--arms", "wait")
    assert done.returncode == 0, done.stderr
    found: Found = json.loads((tmp_path / "ablation.json").read_text())
    factors = [f"predictive:x_wait={factor}" for factor in ("0", "0.5", "2")]
    assert list(found["agentic, knee, far"]) == [ablation.WHOLE, *factors]
    # Each arm is another policy: it decides otherwise.
    assert len({tuple(TTFT.of(runs)) for runs in found["agentic, knee, far"].values()}) == 4
    assert done.stdout.count("\n| wait × ") == 3 * len(ablation.MEASURES)


@needs_programs
def test_the_storm_is_played_and_judged(tmp_path: pathlib.Path) -> None:
    done = run("storm.py", tmp_path, "--seeds", "2", "--only", "one region", "--field", "gorgo,prefix-tree")
    assert done.returncode in (0, 1), done.stderr
    assert (done.returncode == 1) == ("MISSED" in done.stdout)
    found: Found = json.loads((tmp_path / "storm.json").read_text())
    assert min(storm.TOKENS_OVER_MEAN.of(found["one region"]["prefix-tree"])) > 3


@needs_programs
def test_proxies_are_played_and_judged(tmp_path: pathlib.Path) -> None:
    done = run("scale.py", tmp_path, "--seeds", "2", "--only", "8 proxies, 48", "--users", "60", "--blocks", "100000")
    assert done.returncode in (0, 1), done.stderr
    assert (done.returncode == 1) == ("MISSED" in done.stdout)
    found: Found = json.loads((tmp_path / "scale.json").read_text())["8 proxies, 48 servers"]
    assert max(scale.HITS.of(found[scale.APART])) < min(scale.HITS.of(found[scale.SHARING]))
    assert done.stdout.count("\n| 8 blocks | ") == 3


@needs_programs
def test_the_tuner_is_played_and_judged(tmp_path: pathlib.Path) -> None:
    done = run("tuner.py", tmp_path, "--seeds", "2", "--only", "wrong", "--requests", "3000")
    assert done.returncode in (0, 1), done.stderr
    found = json.loads((tmp_path / "tuner.json").read_text())
    assert (done.returncode == 1) == any(tuner.ratio(each, "tuned") < tuner.WORST for each in found)
    # What it tries changes something, and so does evolution.
    for each in found:
        assert each["tuned"]["tuner"]["phase"] != "off" and each["untuned"]["tuner"] is None
        assert len({each[kind]["goodput"] for kind in ("untuned", "tuned", "evolved")}) == 3
    assert "Of 2 runs " in done.stdout and (tmp_path / "tuner.md").read_text() == done.stdout


@needs_programs
@pytest.mark.parametrize(
    ("script", "words", "sentence"),
    [
        ("matrix.py", ["--field", "predictive,nobody"], 'there is no policy "nobody"'),
        ("matrix.py", ["--field", "gorgo,random"], "predictive is not in the field"),
        ("matrix.py", ["--beside", "nobody"], "nobody is not in the field"),
        ("matrix.py", ["--only", "weekend"], 'there is no cell with weekend in its name'),
        ("ablation.py", ["--traces", "/nowhere"], "there is no mooncake/conversation.jsonl in /nowhere"),
        ("ablation.py", ["--seeds", "1"], "at least 2 seeds"),
        ("ablation.py", ["--arms", "leg"], "there is no arm with leg in its name"),
        ("storm.py", ["--jobs", "0"], "1 job"),
        ("tuner.py", ["--only", "peace"], "there is no world with peace in its name"),
        ("tuner.py", ["--requests", "9"], "at least 1,000 requests"),
        ("storm.py", ["--traces", "."], "unrecognized arguments"),
        ("scale.py", ["--only", "nine"], "there is no cell with nine in its name"),
        ("scale.py", ["--users", "5"], "at least 10 users"),
    ],
)
def test_wrong_use_is_a_sentence_and_status_2(
    script: str, words: list[str], sentence: str, tmp_path: pathlib.Path
) -> None:
    done = run(script, tmp_path, *words)
    assert done.returncode == 2 and sentence in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@needs_programs
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_ends_everything(by: signal.Signals, tmp_path: pathlib.Path) -> None:
    words = command("matrix.py", tmp_path, "--only", "saturated")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True) as script:
        try:
            deadline = time.monotonic() + ENDED_WITHIN_S
            while not (started := simulations_of(script.pid)) and script.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            assert started
            script.send_signal(by)  # to it alone: what it started hears of it from nobody else
            _, said = script.communicate(timeout=ENDED_WITHIN_S)
            assert script.returncode == 2 and "Traceback" not in said
        finally:
            script.kill()
    deadline = time.monotonic() + ENDED_WITHIN_S
    while any(is_simulation(pid) for pid in started) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(is_simulation(pid) for pid in started)


def simulations_of(pid: int) -> list[int]:
    """Its threads' children."""
    found: list[int] = []
    for thread in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in thread.read_text().split()]
        except OSError:  # it ended
            continue
    return [child for child in found if is_simulation(child)]


def is_simulation(pid: int) -> bool:
    """A process that has ended has no command line, reaped or not."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().startswith(bytes(BIN / "gotoni") + b"\0")
    except OSError:
        return False
