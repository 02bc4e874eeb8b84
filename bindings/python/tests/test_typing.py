"""Type checkers agree with the package, strictly, and with a program that uses it."""
import subprocess
import sys
from pathlib import Path

from conftest import PACKAGE_ROOT

PROGRAM = """
from array import array
from typing import Optional, Union

import gotoni
import numpy

router = gotoni.Router(seed=1, policy="gorgo")
for tokens in ([1], (1, 2), array("I"), range(3), memoryview(b"abcd").cast("I"), numpy.zeros(3, dtype=numpy.uint32)):
    router.route(tokens)
with router.route([1], session="alice", exclude={2}) as ticket:
    server: int = ticket.server
    cost: float = ticket.cost_ms
    ticket.finish("cancelled")
outcomes: list[Union[gotoni.Ticket, gotoni.GotoniError]] = router.route_batch([[1], [2]], sessions=["a", None])
rtt: Optional[float] = router.explain([1])[0][0].rtt_ms
router.knobs["rtt_weight"] = 2
state: gotoni.State = router.server(1).state
key: int = gotoni.key(b"x")
with gotoni.Tokenizer("model", cache_bytes=1) as tokenizer:
    ids: "array[int]" = tokenizer.encode("text", add_special_tokens=True)
    count: int = tokenizer.count(b"text")
    id: Optional[int] = tokenizer.id("<s>")
"""
MISTAKES = """
import gotoni

router = gotoni.Router()
router.route("text")
router.mark_server(1, "asleep")
router.route([1]).finish("fine")
router.route([1]).server = 2
gotoni.Tokenizer("model").encode([1])
"""


def pyright(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def test_the_package_is_strictly_typed() -> None:
    result = pyright(cwd=PACKAGE_ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_programs_are_checked_against_the_package(tmp_path: Path) -> None:
    (tmp_path / "pyrightconfig.json").write_text(f'{{"extraPaths": ["{PACKAGE_ROOT}"], "typeCheckingMode": "standard"}}')
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    result = pyright("program.py", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert pyright("mistakes.py", cwd=tmp_path).stdout.count(" - error: ") == 5
