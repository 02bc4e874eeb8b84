"""Real GuideLLM, through what it is for: python3 -m pytest benchmark/sweep"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

import conftest
import local_world

pytest.importorskip("guidellm", reason="GuideLLM is not installed: benchmark/sweep/requirements-guidellm.txt")

HERE = pathlib.Path(__file__).parent
SCRIPT = HERE.parent / "run_guidellm.sh"
SHORT = ["--synthetic", "prompt_tokens=32,output_tokens=4", "--seconds", "20", "--requests", "6"]


def command(*options: object) -> list[str]:
    return [str(SCRIPT), "--python", sys.executable, *map(str, options)]


def test_runs_are_written_counted_and_reported(programs: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out"
    words = command("--local", 2, "--form", "proxy", "--bin", programs, "--profile", "concurrent", "--streams", 2,
                    "--policies", "gorgo,random", *SHORT, "--out", out)  # fmt: skip
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (out / "runs.jsonl").read_text().splitlines()]
    assert [record["policy"] for record in records] == records[0]["order"]
    for record in records:
        assert (record["successful"], record["errored"], record["error"]) == (6, 0, None)
        whole = json.loads((out / record["folder"] / "run.json").read_text())
        before, after = whole["before"]["engines"], whole["after"]["engines"]
        assert sum(after[url]["requests"] - before[url]["requests"] for url in after) == 6
        (router,) = whole["after"]["routers"].values()
        assert router["routing_policy"] == record["policy"]
    report = [sys.executable, str(HERE.parent / "report.py"), str(out)]
    assert "concurrent 2" in subprocess.run(report, check=True, capture_output=True, text=True, timeout=60).stdout


def test_requests_go_through_the_geography_and_are_found_where_users_live(
    programs: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    if not local_world.GEO.exists():
        pytest.skip(f"there is no {local_world.GEO}")
    out = tmp_path / "out"
    words = command("--local", 2, "--bin", programs, "--profile", "constant", "--rate", 4, "--policies", "gorgo",
                    "--seconds", 20, "--requests", 8, "--max-tokens", 4, "--out", out)  # fmt: skip
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*/run.json")
    after = json.loads(path.read_text())["after"]["routers"]
    (stats,) = [each for each in after.values() if "lookups_found" in each]
    assert stats["requests"] == stats["lookups_found"] == 8 and len(after) == 3


@pytest.mark.parametrize("known", [True, False])
def test_users_of_a_local_geography_are_those_of_the_lookup_file_or_nobody_is_known(
    known: bool, programs: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """And never those of a file that lies in the folder that it is started from."""
    (tmp_path / "wildchat_location_lookup.json").write_text("not a lookup file")
    data, lookup = local_world.sample(tmp_path / "data")
    what = ["--data", data, "--lookup", lookup] if known else ["--synthetic", "prompt_tokens=32,output_tokens=4"]
    words = command("--local", 1, "--bin", programs, "--policies", "gorgo", "--profile", "concurrent",
                    "--max-tokens", 4, *what, "--seconds", 20, "--requests", 4, "--out", tmp_path / "out")  # fmt: skip
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].endswith(f"report.py {tmp_path / 'out'}")
    (path,) = (tmp_path / "out").glob("*/run.json")
    after = json.loads(path.read_text())["after"]["routers"]
    (stats,) = [each for each in after.values() if "lookups_found" in each]
    assert (stats["lookups_found"], stats["lookups_missed"]) == ((4, 0) if known else (0, 4))


def test_a_run_that_guidellm_cannot_do_is_recorded_and_gives_status_1(
    programs: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "out"
    words = command("--local", 1, "--form", "proxy", "--bin", programs, "--policies", "gorgo", *SHORT,
                    "--tokenizer", tmp_path, "--out", out)  # fmt: skip
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    (record,) = [json.loads(line) for line in (out / "runs.jsonl").read_text().splitlines()]
    assert record["error"] and record["successful"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_everything_that_was_started_ends_with_the_sweep(
    number: signal.Signals, programs: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "out"
    words = command("--local", 2, "--form", "proxy", "--bin", programs, "--policies", "gorgo", *SHORT, "--out", out)
    with subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            conftest.eventually(lambda: list(out.glob("*/guidellm.log")), seconds=60)
            family = descendants(process.pid)
            assert len(family) >= 4  # two engines, a proxy, relays, and GuideLLM
            process.send_signal(number)
            assert process.wait(30) == 2
            conftest.eventually(lambda: not [pid for pid in family if running(pid)])
        finally:
            process.kill()


def descendants(root: int) -> list[int]:
    found = [root]
    for parent in found:
        for path in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(word) for word in path.read_text().split()]
    return found[1:]


def running(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_guidellm_without_pytorch_reads_every_row_in_order() -> None:
    """The loader that stands in for PyTorch's, in GuideLLM's own class."""
    code = """
import json, sys
import guidellm_cli
from guidellm.data.loaders.torch import TorchDataLoader
from guidellm.schemas.data.loaders import TorchDataLoaderArgs
assert "torch" not in sys.modules or hasattr(sys.modules["torch"], "Tensor")
loader = TorchDataLoader(TorchDataLoaderArgs(samples=-1), [[{"n": n} for n in range(50)]], [], lambda row: [row])
print(json.dumps([row[0][0]["dataset"]["n"] for row in loader]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=HERE, env=os.environ, timeout=60
    )
    assert json.loads(done.stdout.splitlines()[-1]) == list(range(50))
