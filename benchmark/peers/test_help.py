"""--help says what a script needs, so it works where that is missing: python3 -m pytest benchmark/peers/test_help.py"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

import pytest

KIT = pathlib.Path(__file__).resolve().parents[1]
SCRIPTS = ["peers/bench.py", "peers/plot.py", "forms/forms.py", "simulation/markdown.py", "simulation/plot.py"]
SCRIPTS += ["simulation/matrix.py", "simulation/ablation.py", "simulation/storm.py", "simulation/tuner.py"]
SCRIPTS += ["validity/validate.py", "tokens/parity.py", "vllm/check.py", "vllm/compare.py"]
LIMIT_S = 30


def bare(folder: pathlib.Path) -> dict[str, str]:
    """An environment with a shell and a Python without packages, and nothing else."""
    for name in ("bash", "cat", "dirname"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    (folder / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" -E -S "$@"\n')
    (folder / "python3").chmod(0o755)
    return {"PATH": str(folder)}


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_of_python_needs_no_package(script: str) -> None:
    # -S: nothing of site-packages; -E: nothing of PYTHONPATH.
    command = [sys.executable, "-E", "-S", str(KIT / script), "--help"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S)
    assert (done.returncode, done.stderr) == (0, "") and "usage:" in done.stdout and "Needs" in done.stdout


@pytest.mark.parametrize("script", ["peers/run", "forms/run", "simulation/run"])
@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--out", "x", "--help"]])
def test_help_of_a_shell_script_comes_before_any_check(script: str, words: list[str], tmp_path: pathlib.Path) -> None:
    command = [shutil.which("bash") or "bash", str(KIT / script), *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S, env=bare(tmp_path))
    assert (done.returncode, done.stderr) == (0, "") and "--out" in done.stdout


@pytest.mark.parametrize(
    ("script", "words", "error"),
    [
        ("simulation/run", [], "simulation: --gotoni PATH is missing"),
        ("simulation/run", ["--gotoni", "x"], "simulation: --python PYTHON is missing"),
        ("simulation/run", ["--gotoni", "x", "--python", "python3"], "simulation: --out FOLDER is missing"),
        ("simulation/run", ["--gotoni"], "simulation: --gotoni needs a value"),
        ("simulation/run", ["--seeds", "1"], "simulation: unknown option --seeds"),
        ("forms/run", ["--python"], "forms: --python needs a value"),
    ],
)
def test_what_is_missing_is_one_sentence_and_status_2(
    script: str, words: list[str], error: str, tmp_path: pathlib.Path
) -> None:
    command = [shutil.which("bash") or "bash", str(KIT / script), *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S, env=bare(tmp_path))
    assert done.returncode == 2 and done.stderr.startswith(error) and len(done.stderr.splitlines()) == 1


def test_a_file_that_is_no_result_is_one_sentence_and_status_2(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    command = [sys.executable, str(KIT / "simulation" / "markdown.py"), str(tmp_path / "x.json")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "x.json is nothing that" in done.stderr
