"""What the figures rest on: python3 -m pytest benchmark/connections"""

from __future__ import annotations

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
from typing import Any

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path += [str(HERE), str(HERE.parent / "peers"), str(HERE.parent / "real")]

import tables  # noqa: E402
from trials import Kernel, Sample  # noqa: E402

BIN = HERE.parents[1] / "build" / "bin"
SCRIPT = HERE / "connections.py"
DEFAULT = Kernel("cubic", 1)

needs_world = pytest.mark.skipif(
    not os.access("/dev/net/tun", os.W_OK) or shutil.which("unshare") is None or not (BIN / "gotoni-engine").exists(),
    reason="this machine has no TUN devices, or no build/bin: make bin",
)


def test_round_trips_are_those_of_a_window_of_ten_segments_that_doubles() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for tokens in [0, 2_919, 2_920, 8_759, 8_760, *(chance.randrange(200_000) for _ in range(1000))]:
        sent, window, round_trips = 0, tables.FIRST_WINDOW_TOKENS, 0
        while sent + window <= tokens:
            sent, window, round_trips = sent + window, 2 * window, round_trips + 1
        assert tables.extra_round_trips(tokens) == round_trips, tokens


def test_an_upload_is_what_remains_without_the_round_trip_and_what_takes_as_long_here() -> None:
    samples = [Sample(DEFAULT, "idle", rtt, 1000, ttft) for rtt, ttft in
               ((0, 4.0), (0, 5.0), (0, 90.0), (80, 165.0), (80, 100.0), (80, 175.0))]
    assert tables.uploads(samples) == {(DEFAULT, "idle", 80, 1000): 80.0}


@pytest.mark.parametrize("words", [
    ["--rtt", "far"], ["--rtt", "0"], ["--rtt", "2000"], ["--tokens", "1.5"], ["--tokens", "0"], ["--tokens", ""],
    ["--repetitions", "0"], ["--idle", "0"], ["--bin", "/nonexistent"],
])
def test_what_is_wrong_is_said_in_a_sentence_and_nothing_starts(words: list[str], tmp_path: pathlib.Path) -> None:
    done = run("--out", str(tmp_path / "out"), *words)
    assert done.returncode == 2 and done.stderr.startswith("connections: ") and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


@needs_world
def test_windows_that_are_kept_and_spare_connections_save_round_trips(tmp_path: pathlib.Path) -> None:
    before = ours()
    done = run("--out", str(tmp_path), "--rtt", "60", "--tokens", "500,20000", "--repetitions", "1", "--idle", "1")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "connections.json").read_text())
    usual, kept = (samples(found, slow_start, "idle", 20_000) for slow_start in (1, 0))
    # From 10 segments on 80 KB take two round trips more: 120 ms. A busy machine may add to either.
    assert usual["window"] == 10 and kept["window"] > 20, (usual, kept)
    assert usual["ttft_ms"] - kept["ttft_ms"] > 60, (usual, kept)
    late = {(each["spares"], each["under_way"]): each["ttft_ms"] for each in found["at_once"] if each["rtt_ms"]}
    # A handshake each, the first one too.
    saved = sorted(late[0, beside] - late[1, beside] for beside in range(5))
    assert 30 < saved[1] and saved[3] < 120, late
    assert "learned share" in (tmp_path / "connections.md").read_text()
    assert ours() == before


def samples(found: dict[str, Any], slow_start: int, state: str, tokens: int) -> dict[str, Any]:
    return next(each for each in found["direct"] if each["rtt_ms"] and each["kernel"]["congestion"] != "bbr"
                and (each["kernel"]["slow_start_after_idle"], each["state"], each["tokens"]) == (slow_start, state, tokens))


@needs_world
def test_an_interrupted_run_ends_everything_that_it_started(tmp_path: pathlib.Path) -> None:
    before = ours()
    with subprocess.Popen([sys.executable, str(SCRIPT), "--out", str(tmp_path), "--rtt", "20"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = [next(line for line in process.stderr if "of our own" in line)]
        process.send_signal(signal.SIGINT)
        said += process.stderr.readlines()
        assert process.wait(30) == 130, said
    assert "Traceback" not in "".join(said)
    assert ours() == before


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=300)


def ours() -> set[str]:
    """Processes of this benchmark's that run, by what only they say."""
    found: set[str] = set()
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
        except OSError:
            continue
        if b"delayer.py" in words or b"model.json" in words:
            found.add(entry.parent.name)
    return found
