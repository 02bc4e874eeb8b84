"""What the fake of Modal runs: sandboxes, each a folder and processes on this machine.

The folder is the commands' home and where they start; it is no jail. A volume is a link in it. Names of folders that a
sandbox is asked for, as where to start or where to mount, are below it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import pathlib
import secrets
import signal
import string
from typing import Any

MARK = "MODAL_SANDBOX_ID"
LETTERS = string.digits + string.ascii_letters
# Bytes of output in one message.
CHUNK = 1 << 20
LAST_OUTPUT_S = 0.5
POLL_S = 0.005


def new_id(prefix: str, length: int = 22, letters: str = LETTERS) -> str:
    return prefix + "-" + "".join(secrets.choice(letters) for _ in range(length))


class Output:
    """What came out of a process; it can be read from any place, again, and before it is complete."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False
        self._changed = asyncio.Condition()

    async def fill(self, source: asyncio.StreamReader) -> None:
        while data := await source.read(CHUNK):
            async with self._changed:
                self.data += data
                self._changed.notify_all()
        await self.end()

    async def end(self) -> None:
        async with self._changed:
            self.ended = True
            self._changed.notify_all()

    async def after(self, offset: int) -> bytes:
        """The next piece; empty at the end."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.data) > offset or self.ended)
            return bytes(self.data[offset : offset + CHUNK])


class Process:
    """A command that runs in a sandbox."""

    def __init__(self) -> None:
        self.out, self.err = Output(), Output()
        self.over = asyncio.Event()
        self.status: int | None = None
        self.written = 0
        self.closed = False
        self._writing = asyncio.Lock()
        self._process: asyncio.subprocess.Process
        self._tasks: list[asyncio.Task[None]] = []
        self._limit: asyncio.Task[None] | None = None

    async def start(
        self, command: list[str], environment: dict[str, str], folder: pathlib.Path, group: int, limit: int
    ) -> None:
        """In the process group `group`, 0: in one of its own. Raises OSError. `limit` seconds, 0: no limit."""
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd=folder, process_group=group
        )
        assert self._process.stdout and self._process.stderr
        fills = [self.out.fill(self._process.stdout), self.err.fill(self._process.stderr)]
        self._tasks = [asyncio.create_task(work) for work in (*fills, self._wait())]
        if limit:
            self._limit = asyncio.create_task(self._end_after(limit))

    @property
    def pid(self) -> int:
        return self._process.pid

    async def write(self, offset: int, data: bytes, last: bool) -> None:
        """What has been written before is left out. Nobody is told that a process reads no more."""
        async with self._writing:
            new = data[max(0, self.written - offset) :]
            assert self._process.stdin
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._process.stdin.write(new)
                await self._process.stdin.drain()
            self.written = max(self.written, offset + len(data))
            if last and not self.closed:
                self.closed = True
                self._process.stdin.close()

    async def _wait(self) -> None:
        # `wait` would also wait for whoever else has its pipes.
        while self._process.returncode is None:
            await asyncio.sleep(POLL_S)
        self.status = self._process.returncode
        if self._limit:
            self._limit.cancel()
        self.over.set()

    async def _end_after(self, seconds: int) -> None:
        await asyncio.sleep(seconds)
        self.kill()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def ended(self) -> None:
        """After it was killed. Somebody who still holds its pipes open is not waited for."""
        await asyncio.wait(self._tasks, timeout=LAST_OUTPUT_S)
        for task in self._tasks:
            task.cancel()
        for output in (self.out, self.err):
            await output.end()


@dataclasses.dataclass
class Sandbox:
    """`second`: of the second kind, whose RPCs end in V2. `result` is there once it has ended."""

    app: str
    definition: Any
    tags: dict[str, str]
    environment: dict[str, str]
    folder: pathlib.Path
    created: float
    ends: float
    second: bool
    scheduled: bool
    id: str = ""
    task: str = ""
    result: Any = None
    main: Process | None = None

    def __post_init__(self) -> None:
        # The SDK tells the two kinds by how their ids look.
        self.id = new_id("sb", 26, string.digits + string.ascii_uppercase) if self.second else new_id("sb")
        self.task = new_id("ta") + ("V" if self.second else "0")
        self.started = asyncio.Event()
        self.over = asyncio.Event()
        self.commands: dict[str, Process] = {}
        self.root = self.folder / self.id
        self.root.mkdir()
        bare = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.root), "LANG": "C.UTF-8"}
        self.environment = {**bare, **self.environment, MARK: self.id}

    @property
    def name(self) -> str:
        return self.definition.name

    def has(self, tags: dict[str, str]) -> bool:
        return tags.items() <= self.tags.items()

    def inside(self, path: str) -> pathlib.Path:
        found = self.root / path.lstrip("/")
        found.mkdir(parents=True, exist_ok=True)
        return found

    def mount(self, path: str, volume: pathlib.Path) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(volume)

    async def start(self) -> None:
        """Raises OSError."""
        command = list(self.definition.entrypoint_args) or ["sleep", "172800"]
        made = Process()
        await made.start(command, self.environment, self.inside(self.definition.workdir), 0, 0)
        self.main = made
        self.started.set()

    async def run(self, number: str, command: list[str], extra: dict[str, str], workdir: str, limit: int) -> None:
        """Raises OSError."""
        assert self.main
        made = Process()
        group = self.main.pid
        await made.start(command, {**self.environment, **extra, MARK: self.id}, self.inside(workdir), group, limit)
        self.commands[number] = made

    async def end(self, result: Any) -> None:
        """Ends all its processes, also those that have left its process group."""
        if self.result is not None:
            return
        self.result = result
        if self.main:
            # The group's number is its own as long as one of its processes is there, and the first is not reaped yet
            # or one of them carries the mark.
            if not self.main.over.is_set():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.main.pid, signal.SIGKILL)
            while left := _marked(self.id):
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(POLL_S)
            for process in (self.main, *self.commands.values()):
                await process.ended()
        self.over.set()


def _marked(sandbox: str) -> list[int]:
    """The living processes that were started in this sandbox, and theirs."""
    mark, found = f"{MARK}={sandbox}".encode(), []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        # Of a process that has ended and is not reaped, nothing can be read.
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
