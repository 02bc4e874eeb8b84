"""`gotoni` as a process in a home of its own. Only what was started here is ended, by its process id."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

GOTONI = os.environ["GOTONI"]
# Nothing here may take longer; installing a package does.
LIMIT_S = 60.0


def until(what: str, holds: Callable[[], Any], limit: float = 10) -> None:
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end, f"{what}: not within {limit} s"
        time.sleep(0.01)


def folder() -> pathlib.Path:
    return pathlib.Path(tempfile.mkdtemp(prefix=""))


@dataclasses.dataclass
class Said:
    status: int
    out: str
    err: str

    def ends(self, status: int, *words: str) -> Said:
        """With this status, and with all of `words` in what it says."""
        assert self.status == status, self
        missing = [word for word in words if word not in self.out + self.err]
        assert not missing, (missing, self)
        return self

    def json(self) -> Any:
        return json.loads(self.out)


class Home:
    """A user's folders, and `gotoni` in them."""

    def __init__(self) -> None:
        self.path = folder()
        self.environment = {
            **os.environ,
            "HOME": str(self.path),
            "XDG_RUNTIME_DIR": str(self.path / "run"),
            "HF_HUB_OFFLINE": "1",
        }
        (self.path / "run").mkdir(mode=0o700)
        self.socket = self.path / "run" / "gotoni" / "tokenizer.sock"
        self.state = self.path / ".local" / "state" / "gotoni"

    def run(self, *arguments: object, text: str | None = None, by: object = GOTONI) -> Said:
        """`gotoni tokenizer`."""
        return self.gotoni("tokenizer", *arguments, text=text, by=by)

    def gotoni(self, *arguments: object, text: str | None = None, by: object = GOTONI) -> Said:
        """In the home, where no file of settings is but its own."""
        done = subprocess.run(
            [str(by), *map(str, arguments)],
            cwd=self.path,
            env=self.environment,
            input=text,
            stdin=None if text is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S * 5,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def pid(self) -> int:
        return int((self.state / "tokenizer.pid").read_text().split()[0])

    def end(self) -> None:
        """What it has started, if it still runs."""
        for file in self.state.glob("*.pid") if self.state.is_dir() else ():
            number, start, boot = (file.read_text().split("\n")[0].split() + ["", "", ""])[:3]
            if start and boot and alive(int(number)) and start_of(int(number)) == start:
                os.kill(int(number), signal.SIGKILL)


@contextlib.contextmanager
def home() -> Iterator[Home]:
    made = Home()
    try:
        yield made
    finally:
        made.end()


@contextlib.contextmanager
def process(*arguments: object, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    made = subprocess.Popen(list(map(str, arguments)), **options)
    try:
        yield made
    finally:
        made.kill()
        made.wait()


def _stat(pid: int) -> list[str]:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["Z"]


def alive(pid: int) -> bool:
    return _stat(pid)[0] != "Z"


def start_of(pid: int) -> str:
    return _stat(pid)[19]
