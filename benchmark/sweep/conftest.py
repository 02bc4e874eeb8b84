"""Real engines and routers for the tests, on free ports of this machine."""

from __future__ import annotations

import os
import pathlib
import time
from typing import Any, Callable, Iterator

import pytest

from control import BenchError, Control
from processes import Program, free_ports

READY_S = 10.0
BIN = pathlib.Path(os.environ.get("GOTONI_BIN", pathlib.Path(__file__).parents[2] / "build" / "bin"))


@pytest.fixture
def programs() -> pathlib.Path:
    """The folder of our programs: GOTONI_BIN, or build/bin."""
    missing = [name for name in ("gotoni-engine", "gotoni-proxy", "gotoni-lb") if not (BIN / name).exists()]
    if missing:
        pytest.skip(f"{BIN} lacks {', '.join(missing)}: make bin, or set GOTONI_BIN")
    return BIN


@pytest.fixture
def start(programs: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[Callable[..., str]]:
    """Starts one of our programs and gives its address once it answers."""
    started: list[Program] = []

    def begun(name: str, *options: str, scheme: str = "http", ca: pathlib.Path | None = None) -> str:
        port = free_ports(1)[0]
        words = [programs / name, "--listen", f"127.0.0.1:{port}", *options]
        program = Program(name, words, tmp_path / f"{name}-{port}.log")
        started.append(program)
        url = f"{scheme}://127.0.0.1:{port}"
        eventually(lambda: Control(ca).text("GET", f"{url}/health") is not None, program.check)
        return url

    yield begun
    for program in reversed(started):
        program.stop()


def eventually(what: Callable[[], Any], check: Callable[[], None] = lambda: None, seconds: float = READY_S) -> Any:
    """The first answer that is neither an error nor false."""
    deadline = time.monotonic() + seconds
    while True:
        check()
        try:
            if found := what():
                return found
            problem: Exception = AssertionError("it never came true")
        except BenchError as error:
            problem = error
        if time.monotonic() > deadline:
            raise problem
        time.sleep(0.05)


def chat(url: str, prompt: str) -> int:
    """Sends a prompt; how many of its tokens were found cached."""
    body = {"model": "simulated", "messages": [{"role": "user", "content": prompt}], "max_tokens": 2}
    usage = Control().json("POST", f"{url}/v1/chat/completions", body)["usage"]
    return (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
