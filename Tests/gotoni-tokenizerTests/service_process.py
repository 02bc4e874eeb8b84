"""The service as a process, and a client for its socket. Only what was started here is ended, by its process id."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

# Nothing here may take longer; what does has failed.
LIMIT_S = 60.0
PAUSE_S = 0.002


def until(what: str, holds: Callable[[], Any], limit: float = LIMIT_S) -> Any:
    """Asks until it holds, and gives what it was then."""
    end = time.monotonic() + limit
    while not (value := holds()):
        assert time.monotonic() < end, f"{what}: not within {limit} s"
        time.sleep(PAUSE_S)
    return value


def folder() -> pathlib.Path:
    return pathlib.Path(tempfile.mkdtemp())


@dataclasses.dataclass
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def problem(self, status: int, words: str) -> str:
        """It is an error with `words` in it; its sentence."""
        assert self.status == status, (status, self)
        error = self.json()["error"]
        assert set(error) == {"message", "type"} and words in error["message"], (words, self)
        return error["message"]


class Client(http.client.HTTPConnection):
    """One connection, which stays open."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__("localhost", timeout=LIMIT_S)
        self.path = path

    def connect(self) -> None:
        self.sock = connected(self.path)

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        self.request(method, path, data)
        answer = self.getresponse()
        return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())


def connected(path: pathlib.Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(LIMIT_S)
    try:
        made.connect(str(path))
    except BaseException:
        made.close()
        raise
    return made


def command(*options: str) -> list[str]:
    return [sys.executable, "-B", "-m", "gotoni_tokenizer", *options]


def run(*options: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and words of a service that ends by itself."""
    done = subprocess.run(
        command(*options), capture_output=True, text=True, timeout=LIMIT_S, env={**os.environ, **(environment or {})}
    )
    return done.returncode, done.stdout + done.stderr


class Service:
    """A service that is ready."""

    def __init__(
        self,
        *models: str | pathlib.Path,
        options: tuple[str, ...] = (),
        path: pathlib.Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.path = path or folder() / "s" / "tokenizer.sock"
        self.log = folder() / "log"
        named = [word for model in models for word in ("--model", str(model))]
        placed = () if environment else ("--socket", str(self.path))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command(*named, *placed, *options),
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )
        self.pid = self.process.pid
        self.line = self._first_line()
        self.path = pathlib.Path(self.line.split("unix:")[1].split(" ")[0])

    def _first_line(self) -> str:
        assert self.process.stdout
        output, end = b"", time.monotonic() + LIMIT_S
        while not output.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            data = os.read(self.process.stdout.fileno(), 4096) if ready else b""
            if not data:
                self.kill()
                raise AssertionError(f"it does not start: {self.words()}")
            output += data
        return output.decode().strip()

    def words(self) -> str:
        return self.log.read_text(errors="replace")

    def client(self) -> contextlib.closing[Client]:
        return contextlib.closing(Client(self.path))

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        with self.client() as client:
            return client.ask(method, path, body)

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status == 200, answer
        return answer.json()

    def post(self, path: str, body: Any) -> Any:
        answer = self.ask("POST", path, body)
        assert answer.status == 200, answer
        return answer.json()

    def tokens(self, body: dict[str, Any], endpoint: str = "") -> Any:
        answer = self.post("/tokenize" + (f"?endpoint={endpoint}" if endpoint else ""), body)
        several = answer["tokens"] and isinstance(answer["tokens"][0], list)
        assert answer["count"] == (sum(map(len, answer["tokens"])) if several else len(answer["tokens"])), answer
        return answer["tokens"]

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, limit: float = LIMIT_S) -> int:
        return self.process.wait(limit)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind:
            print(f"last words of the service: {self.words()[-2000:]}")
        self.kill()


_shared: dict[tuple[str, ...], Service] = {}


def shared(*models: str | pathlib.Path) -> Service:
    """A service for checks that change nothing others would notice."""
    key = tuple(map(str, models))
    if key not in _shared:
        _shared[key] = Service(*models)
    return _shared[key]


def end_shared() -> None:
    for service in _shared.values():
        service.kill()


def threads_of(count: int, work: Callable[[int], None]) -> contextlib.AbstractContextManager[None]:
    """`work(0)` to `work(count - 1)` at once, while the block runs; what they raise is raised at its end."""
    import concurrent.futures

    @contextlib.contextmanager
    def running() -> Iterator[None]:
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            futures = [pool.submit(work, index) for index in range(count)]
            yield
            for future in futures:
                future.result(LIMIT_S)

    return running()
