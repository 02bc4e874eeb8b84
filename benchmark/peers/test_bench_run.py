"""bench.py on the real programs, small: python3 -m pytest benchmark/peers/test_bench_run.py"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import IO

import pytest

from processes import BenchError, program

HERE = pathlib.Path(__file__).resolve().parent
BIN = pathlib.Path(os.environ.get("GOTONI_BIN", HERE.parents[1] / "build" / "bin")).resolve()
PROXY = BIN / "gotoni-proxy"
LIMIT_S = 60.0
ENDED_WITHIN_S = 10.0


def what_is_missing() -> str | None:
    if not PROXY.is_file():
        return f"there is no {PROXY}: make bin"
    try:
        for name in ("nginx", "haproxy", "wrk", "ip", "unshare", "setpriv"):
            program(name)
    except BenchError as error:
        return str(error)
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    if subprocess.run([program("unshare"), *user, "--net", "true"], check=False, capture_output=True).returncode != 0:
        return "this machine allows no network namespaces"
    return None


MISSING = what_is_missing()
needs_programs = pytest.mark.skipif(MISSING is not None, reason=MISSING or "")


def command(out: pathlib.Path, *words: str) -> list[str]:
    bench = [sys.executable, str(HERE / "bench.py"), "--gotoni-proxy", str(PROXY), "--out", str(out), "--quick"]
    return [*bench, "--peers", "gotoni,haproxy", *words]


@needs_programs
def test_a_quick_run_measures_all_and_writes_its_files(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "new" / "peers"
    words = command(out, "--cells", "64k-c16,stream-4")
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9"}  # where nobody listens
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=LIMIT_S, env=environment)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "new" / "peers.json").read_text())
    assert results["errors"] == {"direct": 0, "gotoni": 0, "haproxy": 0}
    for figures in results["summary"]["64k-c16"].values():
        assert figures["requests"] > 0 and figures["req_s"] > 0
    for figures in results["summary"]["stream-4"].values():
        assert figures["streams"] == 8 and figures["chunks"] == 800
    assert (tmp_path / "new" / "peers.md").read_text().count("haproxy") >= 2
    assert (tmp_path / "new" / "peers.png").stat().st_size > 0 and (tmp_path / "new" / "peers.svg").stat().st_size > 0


@needs_programs
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_in_the_middle_ends_everything(by: signal.Signals, tmp_path: pathlib.Path) -> None:
    words = command(tmp_path / "peers", "--cells", "64k-c16")
    # A group of its own, to which a terminal's Ctrl-C would go.
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True) as bench:
        assert bench.stderr is not None
        try:
            said = read_until(bench.stderr, "round 1 of 1")
            network = network_of(bench.pid)
            assert network is not None and network != network_of(os.getpid())
            assert len(living_in(network)) >= 4  # bench.py, nginx, gotoni-proxy and haproxy
            os.killpg(bench.pid, by)
            said += bench.stderr.read()
            assert bench.wait(ENDED_WITHIN_S) == 2 and "Traceback" not in said
        finally:
            bench.kill()
    deadline = time.monotonic() + ENDED_WITHIN_S
    while (left := living_in(network)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []
    assert list(tmp_path.iterdir()) == []


def read_until(lines: IO[str], text: str) -> str:
    said = ""
    for line in lines:
        said += line
        if text in line:
            return said
    raise AssertionError(f"it ended before it said {text}:\n{said}")


def network_of(pid: int) -> str | None:
    """Nothing of a process that has ended, reaped or not."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return None


def living_in(network: str) -> list[int]:
    found = [int(entry.name) for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in found if network_of(pid) == network]


def test_results_that_cannot_be_written_are_a_sentence_before_anything_starts(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    words = [sys.executable, str(HERE / "bench.py"), "--peers", "haproxy", "--out", str(tmp_path / "file" / "peers")]
    environment = {**os.environ, "PATH": ""}  # what comes next, unshare, would fail otherwise
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=LIMIT_S, env=environment)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and str(tmp_path / "file") in done.stderr


@needs_programs
def test_without_a_picture_the_figures_stay_and_the_status_is_2(tmp_path: pathlib.Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('no matplotlib here')\n")
    words = command(tmp_path / "peers", "--cells", "64k-c16")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=LIMIT_S, env=environment)
    assert done.returncode == 2 and "no matplotlib here" in done.stderr and "Traceback" not in done.stderr
    assert json.loads((tmp_path / "peers.json").read_text())["errors"] and (tmp_path / "peers.md").read_text()
