#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["modal>=1.5,<2"]
# ///
"""Uses Modal for `gotoni`: requests on standard input, answers on standard output, JSON, one a line.

The first line is {"event": "hello", "protocol": 1, "modal": VERSION}, or {"error": CODE, "message": TEXT}, and then
that is all. A request is {"id": ID, "op": NAME, "args": {...}}, and its answer {"id": ID, "ok": {...}} or
{"id": ID, "error": {"code": CODE, "message": TEXT}}. Before it `exec` says {"id": ID, "event": "stdout" or "stderr",
"data": BASE64}. Several requests may be under way at once. The end of standard input ends it; a sandbox that is just
being created then is ended, because nobody would know of it.

The account comes from the environment or from ~/.modal.toml. What is secret comes in a request's `secret_env`, and is
in no message. A sandbox's tags say what gotoni needs to know of it, because a list of sandboxes does not.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import importlib
import io
import json
import os
import platform
import re
import signal
import stat
import sys
import threading
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, BinaryIO, NoReturn, TypeVar

PROTOCOL = 1
# The first that has all that is used, and the first whose names may be others.
OLDEST, TOO_NEW = (1, 5), (2,)
INSTALL = 'pip install "modal>=1.5,<2" (or: uv tool install "modal>=1.5,<2")'

# Bytes of a line, with standard input in it; larger input is a file.
LONGEST_LINE = 8 << 20
MOST_AT_ONCE = 64
LONGEST_ID = 128
# Bytes that go to a command at once; the SDK holds at most 16 MiB.
INPUT_CHUNK = 4 << 20
# Bytes of output in one line, before base64.
OUTPUT_CHUNK = 192 << 10
LONGEST_MESSAGE = 2000
# Sandboxes whose connections are kept.
MOST_KEPT = 256
TAGS_AT_ONCE = 16

LIFE_S = 24 * 3600
WAIT_S = 600
BRIEF_S = 60
TUNNELS_S = 30
TERMINATE_S = 60
UPLOAD_S = 600
# After a command has ended, without a byte more: something that it has left behind holds its output.
LAST_OUTPUT_S = 3.0
CLEANING_S = 10.0
# What is under way when standard input ends; then the process ends as it is.
LAST_CALL_S = 0.5
LAST_WORK_S = 12.0

# One at a time has this name; the part is readable for nobody else, and becomes the file when it is complete.
UPLOAD = """set -eu
umask 077
path=$1 mode=$2 sum=$3 part=$1.$4.part
has() { [ "$(sha256sum < "$1" | cut -d ' ' -f 1)" = "$sum" ]; }
if [ -d "$path" ]; then exit 66; fi
if [ -f "$path" ] && has "$path"; then chmod "$mode" "$path"; echo same; exit 0; fi
trap 'rm -f "$part"' EXIT
mkdir -p "$(dirname "$path")"
cat > "$part"
has "$part" || exit 65
chmod "$mode" "$part"
mv -f "$part" "$path"
"""
OTHER_SUM, IS_FOLDER = 65, 66
LISTENING = 'until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do sleep 0.2; done'

modal: Any = None
Value = TypeVar("Value")


class Refused(Exception):
    """An answer that is an error; the codes are those of `_code`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


# MARK: Arguments


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("text")
    return value


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise ValueError("a list of texts")
    # One of a command's arguments may be empty.
    for each in value:
        if not isinstance(each, str) or "\0" in each:
            raise ValueError("a list of texts")
    return value


def _command(value: Any) -> list[str]:
    if not _texts(value) or not value[0]:
        raise ValueError("a command and its arguments")
    return value


def _regions(value: Any) -> list[str]:
    return [_text(value)] if isinstance(value, str) else [_text(each) for each in _texts(value)]


def _table(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise ValueError("an object of texts")
    return value


def _variables(value: Any) -> dict[str, str]:
    if not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in _table(value)):
        raise ValueError("an object with names of variables")
    return value


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_text(value) if value else "", validate=True)
    except binascii.Error:
        raise ValueError("base64") from None


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return check


def _number(low: float, high: float) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return value

    return check


def _mode(value: Any) -> str:
    if not re.fullmatch("0?[0-7]{3}", _text(value)):
        raise ValueError("permissions such as 0644")
    return str(value)


_port = _whole(1, 65535)


def _ports(value: Any) -> list[int]:
    if not isinstance(value, list):
        raise ValueError("a list of ports")
    return [_port(each) for each in value]


REQUIRED = object()
Arguments = dict[str, tuple[Callable[[Any], Any], Any]]
# A sandbox is named by its id, or by its app and its name.
ONE: Arguments = {"sandbox": (_text, None), "app": (_text, None), "name": (_text, None), "environment": (_text, None)}
SECONDS = _number(0.001, LIFE_S)


def _checked(args: Any, known: Arguments) -> dict[str, Any]:
    """Says which argument is wrong, and never what it was: it may be secret."""
    if not isinstance(args, dict):
        raise Refused("invalid", "args is no object")
    if others := sorted(set(args) - set(known)):
        raise Refused("invalid", f"there is no argument {others[0][:LONGEST_ID]}")
    found = {}
    for name, (check, default) in known.items():
        value = args.get(name)
        if value is None:
            if default is REQUIRED:
                raise Refused("invalid", f"{name} is missing")
            found[name] = default
            continue
        try:
            found[name] = check(value)
        except ValueError as error:
            raise Refused("invalid", f"{name} is not {error}") from None
    return found


# MARK: Operations


class Request:
    """What an operation gets: its arguments, and how to say something before it has ended."""

    def __init__(self, helper: Helper, number: Any, args: dict[str, Any]) -> None:
        self.helper, self.number, self.args = helper, number, args
        # Longest first: one may be a part of another.
        self.hidden = sorted((args.get("secret_env") or {}).values(), key=len, reverse=True)

    def __getitem__(self, name: str) -> Any:
        return self.args[name]

    def event(self, name: str, data: bytes) -> None:
        for at in range(0, len(data), OUTPUT_CHUNK):
            piece = base64.b64encode(data[at : at + OUTPUT_CHUNK]).decode()
            self.helper.say({"id": self.number, "event": name, "data": piece})

    def secrets(self) -> list[Any]:
        return [modal.Secret.from_dict(dict(self["secret_env"]))] if self["secret_env"] else []

    def clean(self, message: str) -> str:
        for value in filter(None, self.hidden):
            message = re.sub(re.escape(value), "***", message, flags=re.IGNORECASE)
        return message[:LONGEST_MESSAGE]


Operation = Callable[[Request], Coroutine[Any, Any, dict[str, Any]]]
OPERATIONS: dict[str, tuple[Operation, Arguments]] = {}


def operation(name: str, /, **known: tuple[Callable[[Any], Any], Any]) -> Callable[[Operation], Operation]:
    def add(work: Operation) -> Operation:
        OPERATIONS[name] = (work, known)
        return work

    return add


def brief(name: str, /, **known: tuple[Callable[[Any], Any], Any]) -> Callable[[Operation], Operation]:
    """One that asks Modal and no sandbox; without a limit the SDK would go on for minutes where nobody answers."""

    def add(work: Operation) -> Operation:
        async def limited(request: Request) -> dict[str, Any]:
            return await _limited(work(request), request["wait_s"], name)

        return operation(name, wait_s=(SECONDS, BRIEF_S), **known)(limited)

    return add


async def _limited(work: Awaitable[Value], seconds: float, what: str) -> Value:
    try:
        return await asyncio.wait_for(work, seconds)
    except (asyncio.TimeoutError, TimeoutError):
        raise Refused("timeout", f"{what}: not within {seconds:g} s") from None


@brief("hello")
async def _hello(_: Request) -> dict[str, Any]:
    """Whether Modal takes the account."""
    client = await modal.Client.from_env.aio()
    await client.hello.aio()
    return {"protocol": PROTOCOL, "modal": modal.__version__}


@operation(
    "create",
    app=(_text, REQUIRED),
    name=(_text, REQUIRED),
    environment=(_text, None),
    image=(_text, REQUIRED),
    add_python=(_text, None),
    command=(_command, ["sleep", "infinity"]),
    type=(_text, ""),
    cluster=(_text, ""),
    tags=(_table, {}),
    gpu=(_text, None),
    cpu=(_number(0.1, 1024), None),
    memory_mib=(_whole(128, 1 << 24), None),
    region=(_regions, []),
    encrypted_ports=(_ports, []),
    unencrypted_ports=(_ports, []),
    volumes=(_table, {}),
    env=(_variables, {}),
    secret_env=(_variables, {}),
    life_s=(_whole(1, LIFE_S), LIFE_S),
    wait_s=(SECONDS, WAIT_S),
)
async def _create(request: Request) -> dict[str, Any]:
    """Waits until Modal has a place for it, at most `wait_s`; it lives `life_s`."""
    mark = uuid.uuid4().hex
    tags = {**request["tags"], "gotoni-name": request["name"], "gotoni-create": mark}
    described = {"type": request["type"], "region": ",".join(request["region"]), "cluster": request["cluster"]}
    tags.update({f"gotoni-{name}": value for name, value in described.items() if value})
    app = await _limited(_app(request, make=True), request["wait_s"], "the app")
    try:
        made = await _limited(_created(request, app, tags), request["wait_s"], "there is no place for it")
    except (asyncio.CancelledError, Refused):
        # It may be there all the same, and would cost money for as long as it may live.
        with contextlib.suppress(Exception):
            await asyncio.shield(asyncio.wait_for(_end_marked(app, mark), CLEANING_S))
        raise
    request.helper.keep(made)
    return {"id": made.object_id, "name": request["name"], "tags": tags}


async def _created(request: Request, app: Any, tags: dict[str, str]) -> Any:
    volumes = {path: _volume(request, name) for path, name in request["volumes"].items()}
    return await modal.Sandbox.create.aio(
        *request["command"],
        app=app,
        name=request["name"],
        tags=tags,
        image=modal.Image.from_registry(request["image"], add_python=request["add_python"]),
        env=dict(request["env"]),
        secrets=request.secrets(),
        timeout=request["life_s"],
        gpu=request["gpu"],
        cpu=request["cpu"],
        memory=request["memory_mib"],
        region=request["region"] or None,
        volumes=volumes,
        encrypted_ports=request["encrypted_ports"],
        unencrypted_ports=request["unencrypted_ports"],
    )


async def _end_marked(app: Any, mark: str) -> None:
    async for box in modal.Sandbox.list.aio(app_id=app.app_id, tags={"gotoni-create": mark}):
        await box.terminate.aio()


async def _app(request: Request, make: bool) -> Any:
    environment = request["environment"]
    return await modal.App.lookup.aio(request["app"], create_if_missing=make, environment_name=environment)


def _volume(request: Request, name: str) -> Any:
    return modal.Volume.from_name(name, create_if_missing=True, environment_name=request["environment"])


@brief("list", app=(_text, REQUIRED), environment=(_text, None), tags=(_table, {}))
async def _list(request: Request) -> dict[str, Any]:
    """gotoni's that run, the newest first. An app that is not there has none."""
    try:
        app = await _app(request, make=False)
    except modal.exception.NotFoundError:
        # Not so an environment that is not there.
        if request["environment"]:
            await modal.Environment.from_name(request["environment"]).hydrate.aio()
        return {"sandboxes": []}
    boxes = [box async for box in modal.Sandbox.list.aio(app_id=app.app_id, tags=request["tags"])]
    turns = asyncio.Semaphore(TAGS_AT_ONCE)
    found = await asyncio.gather(*(_described(box, turns) for box in boxes))
    return {"sandboxes": [each for each in found if each]}


async def _described(box: Any, turns: asyncio.Semaphore) -> dict[str, Any] | None:
    async with turns:
        try:
            tags = await box.get_tags.aio()
        except modal.exception.NotFoundError:
            # It has ended meanwhile.
            return None
    if "gotoni-name" not in tags:
        return None
    named = {name: tags.get(f"gotoni-{name}", "") for name in ("name", "type", "region", "cluster")}
    return {"id": box.object_id, **named, "tags": tags}


async def _box(request: Request) -> Any:
    found = await _limited(_found(request), BRIEF_S, "the sandbox")
    request.helper.keep(found)
    return found


async def _found(request: Request) -> Any:
    kept = request.helper.kept
    if number := request["sandbox"]:
        return kept.get(number) or await modal.Sandbox.from_id.aio(number)
    if not request["app"] or not request["name"]:
        raise Refused("invalid", "sandbox, or app and name, is missing")
    place = {"environment_name": request["environment"]}
    found = await modal.Sandbox.from_name.aio(request["app"], request["name"], **place)
    # With its connection, if there is one.
    return kept.get(found.object_id, found)


@brief("poll", **ONE)
async def _poll(request: Request) -> dict[str, Any]:
    box = await _box(request)
    status = await box.poll.aio()
    return {"id": box.object_id, "running": status is None, "returncode": status}


@operation("wait-ready", port=(_port, None), wait_s=(SECONDS, WAIT_S), **ONE)
async def _wait_ready(request: Request) -> dict[str, Any]:
    """Until commands run in it; with `port`, until something listens there."""
    box, port = await _box(request), request["port"]
    command = ["/bin/bash", "-c", LISTENING, "-", str(port)] if port else ["true"]
    limit = request["wait_s"]
    status = await _limited(_status(box, command, limit), limit, f"port {port}" if port else "the sandbox")
    if status != 0:
        raise Refused("timeout" if port else "unavailable", f"a first command ended with {status}")
    return {"id": box.object_id}


async def _status(box: Any, command: list[str], limit: float) -> int:
    process = await box.exec.aio(*command, text=False, timeout=max(1, int(limit)))
    return int(await process.wait.aio())


@operation("tunnels", wait_s=(SECONDS, TUNNELS_S), **ONE)
async def _tunnels(request: Request) -> dict[str, Any]:
    box = await _box(request)
    seconds = max(1, int(request["wait_s"]))
    found = await _limited(box.tunnels.aio(timeout=seconds), seconds + 1, "tunnels")
    return {"tunnels": [_tunnel(port, tunnel) for port, tunnel in sorted(found.items())]}


def _tunnel(port: int, tunnel: Any) -> dict[str, Any]:
    if tunnel.unencrypted_host:
        host, at = tunnel.unencrypted_host, tunnel.unencrypted_port
        return {"port": port, "encrypted": False, "host": host, "at": at, "url": f"http://{host}:{at}"}
    url = f"https://{tunnel.host}" + (f":{tunnel.port}" if tunnel.port != 443 else "")
    return {"port": port, "encrypted": True, "host": tunnel.host, "at": tunnel.port, "url": url}


@operation(
    "exec",
    command=(_command, REQUIRED),
    stdin=(_bytes, None),
    stdin_file=(_text, None),
    env=(_variables, {}),
    secret_env=(_variables, {}),
    workdir=(_text, None),
    timeout_s=(_whole(1, LIFE_S), None),
    wait_s=(SECONDS, WAIT_S),
    **ONE,
)
async def _exec(request: Request) -> dict[str, Any]:
    """It has started within `wait_s`, and has ended `timeout_s` after that."""
    if request["stdin"] is not None and request["stdin_file"]:
        raise Refused("invalid", "stdin and stdin_file are both given")
    box = await _box(request)
    with _opened(request["stdin_file"]) if request["stdin_file"] else io.BytesIO(request["stdin"] or b"") as source:
        starting = box.exec.aio(
            *request["command"],
            text=False,
            env=dict(request["env"]),
            secrets=request.secrets(),
            workdir=request["workdir"],
            timeout=request["timeout_s"],
        )
        process = await _limited(starting, request["wait_s"], "the command's start")
        started = time.monotonic()
        status = await _ran(process, source, request.event)
    limit = request["timeout_s"]
    # The SDK's word for it is -1; Modal may have ended the command first.
    if limit and (status == -1 or (status in (124, 137) and time.monotonic() - started >= limit - 1)):
        raise Refused("timeout", f"the command has not ended within {limit} s, and was ended")
    return {"returncode": status}


async def _ran(process: Any, source: BinaryIO, event: Callable[[str, bytes], None]) -> int:
    """Its exit status, after it has got all of `source` and all of its output has been passed on."""
    last = [0.0]

    async def pass_on(name: str, stream: AsyncIterator[bytes]) -> None:
        async for data in stream:
            last[0] = time.monotonic()
            event(name, data)

    feeding = asyncio.create_task(_feed(process, source))
    reading = [asyncio.create_task(pass_on(name, getattr(process, name))) for name in ("stdout", "stderr")]
    waiting = asyncio.create_task(process.wait.aio())
    tasks = [feeding, waiting, *reading]
    try:
        while not waiting.done():
            under_way = [task for task in tasks if not task.done()]
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in (*reading, feeding):
                # A command need not read all that it is given, but then it has ended, or does so now.
                if task.done() and task.exception() and not waiting.done():
                    await asyncio.wait([waiting], timeout=1)
                    if not waiting.done():
                        task.result()
        last[0] = time.monotonic()
        while time.monotonic() - last[0] < LAST_OUTPUT_S:
            if all(task.done() for task in reading):
                break
            await asyncio.wait(reading, timeout=LAST_OUTPUT_S)
        for task in reading:
            if task.done():
                task.result()
        return int(waiting.result())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _feed(process: Any, source: BinaryIO) -> None:
    while data := source.read(INPUT_CHUNK):
        process.stdin.write(data)
        await process.stdin.drain.aio()
    process.stdin.write_eof()
    await process.stdin.drain.aio()


def _opened(path: str) -> BinaryIO:
    try:
        # Opening a pipe would wait for whoever writes.
        made = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Refused("invalid", f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(made).st_mode):
        os.close(made)
        raise Refused("invalid", f"{path} is no file")
    return open(made, "rb")


@operation(
    "upload",
    file=(_text, REQUIRED),
    path=(_text, REQUIRED),
    mode=(_mode, "0600"),
    wait_s=(_whole(1, LIFE_S), UPLOAD_S),
    **ONE,
)
async def _upload(request: Request) -> dict[str, Any]:
    """A file, to `path` in the sandbox. What is there stays until the new one is complete and has the right sum."""
    with _opened(request["file"]) as source:
        size, digest = os.fstat(source.fileno()).st_size, hashlib.sha256()
        while data := source.read(INPUT_CHUNK):
            digest.update(data)
        source.seek(0)
        box, said = await _box(request), {"stdout": b"", "stderr": b""}

        def keep(name: str, data: bytes) -> None:
            said[name] = (said[name] + data)[-LONGEST_MESSAGE:]

        numbers = [request["path"], request["mode"], digest.hexdigest(), uuid.uuid4().hex[:12]]
        command = ["/bin/sh", "-c", UPLOAD, "upload", *numbers]
        limit = request["wait_s"]
        process = await _limited(box.exec.aio(*command, text=False, timeout=limit), limit, "the command's start")
        status = await _limited(_ran(process, source, keep), limit + 1, request["path"])
    if status == 0:
        return {"sha256": digest.hexdigest(), "bytes": size, "unchanged": said["stdout"] == b"same\n"}
    if status == OTHER_SUM:
        raise Refused("unavailable", f"{request['path']}: what arrived has another SHA-256")
    if status == IS_FOLDER:
        raise Refused("invalid", f"{request['path']} is a folder")
    if status == -1:
        raise Refused("timeout", f"{request['path']}: not within {limit} s")
    raise Refused("internal", f"{request['path']}: {said['stderr'].decode(errors='replace').strip() or status}")


@operation("terminate", wait_s=(SECONDS, TERMINATE_S), **ONE)
async def _terminate(request: Request) -> dict[str, Any]:
    """One that has ended already is none to complain about."""
    box = await _box(request)
    request.helper.kept.pop(box.object_id, None)
    status = await _limited(box.terminate.aio(wait=True), request["wait_s"], "its end")
    return {"id": box.object_id, "returncode": status}


@brief("volume-ensure", volume=(_text, REQUIRED), environment=(_text, None))
async def _volume_ensure(request: Request) -> dict[str, Any]:
    volume = _volume(request, request["volume"])
    await volume.hydrate.aio()
    return {"id": volume.object_id}


@brief("rates")
async def _rates(_: Request) -> dict[str, Any]:
    """What the account pays, in dollars per unit and hour, by Modal's names."""
    workspace = modal.Workspace.from_context()
    if not hasattr(workspace, "billing"):
        raise Refused("invalid", f"modal {modal.__version__} cannot ask for rates; a newer one can: {INSTALL}")
    rates = await workspace.billing.rates.aio()
    return {"rates": {name: str(value) for name, value in rates.items()}}


# MARK: Errors


def _code(error: BaseException) -> str:
    """One of auth, not-found, exists, capacity, timeout, invalid, unavailable and internal."""
    if isinstance(error, Refused):
        return error.code
    kinds = modal.exception
    # The first that fits: a ConflictError is an InvalidError.
    for names, code in (
        (("AuthError", "PermissionDeniedError"), "auth"),
        (("NotFoundError", "SandboxTerminatedError"), "not-found"),
        (("AlreadyExistsError",), "exists"),
        (("ResourceExhaustedError",), "capacity"),
        (("TimeoutError",), "timeout"),
        (("InvalidError", "VersionError", "ImageBuildError"), "invalid"),
        (("ServiceError", "InternalError", "ConnectionError", "ClientClosed"), "unavailable"),
    ):
        if isinstance(error, tuple(getattr(kinds, name) for name in names if hasattr(kinds, name))):
            return code
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        return "timeout"
    return "unavailable" if isinstance(error, OSError) else "internal"


def _ended(error: BaseException) -> bool:
    """Whether it says that the sandbox has ended before it ran, or while it was asked for."""
    return isinstance(error, modal.exception.ConflictError) and "finished" in str(error)


# MARK: The process


class Helper:
    """Reads requests and answers them until standard input ends."""

    def __init__(self, source: int, sink: int) -> None:
        self.kept: dict[str, Any] = {}
        self._source, self._sink = source, sink
        self._tasks: dict[Any, asyncio.Task[None]] = {}
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        # What has been read and is not looked at yet is bounded, too.
        self._room = threading.Semaphore(MOST_AT_ONCE)

    def keep(self, box: Any) -> None:
        self.kept[box.object_id] = box
        while len(self.kept) > MOST_KEPT:
            del self.kept[next(iter(self.kept))]

    def say(self, document: dict[str, Any]) -> None:
        """Whoever reads slowly is waited for."""
        data = json.dumps(document, separators=(",", ":")).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._sink, data) :]
        except OSError:
            # Nobody is there any more.
            self._lines.put_nowait(None)

    def refuse(self, number: Any, code: str, message: str) -> None:
        self.say({"id": number, "error": {"code": code, "message": message[:LONGEST_MESSAGE]}})

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._lines.put_nowait, None)
        threading.Thread(target=self._read, args=(loop,), daemon=True).start()
        while (line := await self._lines.get()) is not None:
            self._room.release()
            self._take(line)
        left = list(self._tasks.values())
        for task in left:
            task.cancel()
        # Creating has something to put in order; the rest need not be waited for long.
        creating = [task for task in left if task.get_name() == "create"]
        for tasks, limit in ((left, LAST_CALL_S), (creating, LAST_WORK_S)):
            if tasks:
                await asyncio.wait(tasks, timeout=limit)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """Lines; of one that is too long only so much that it shows."""

        def put(line: bytes | None) -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._lines.put_nowait, line)

        line = bytearray()
        while data := self._input():
            *ends, rest = data.split(b"\n")
            for end in ends:
                line += end
                self._room.acquire()
                put(bytes(line[: LONGEST_LINE + 1]))
                line.clear()
            line += rest[: LONGEST_LINE + 1 - len(line)]
        put(None)

    def _input(self) -> bytes:
        try:
            return os.read(self._source, 1 << 16)
        except OSError:
            return b""

    def _take(self, line: bytes) -> None:
        if len(line) > LONGEST_LINE:
            return self.refuse(None, "invalid", f"a line of more than {LONGEST_LINE} bytes")
        if not line.strip():
            return None
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            return self.refuse(None, "invalid", "a line that is no JSON")
        number = document.get("id") if isinstance(document, dict) else None
        if isinstance(number, bool) or not isinstance(number, (int, str)) or len(str(number)) > LONGEST_ID:
            return self.refuse(None, "invalid", "a request has an id, a number or a short text")
        try:
            self._start(number, document)
        except Refused as error:
            self.refuse(number, error.code, str(error))
        return None

    def _start(self, number: Any, document: dict[str, Any]) -> None:
        if number in self._tasks:
            raise Refused("invalid", "a request with this id is under way")
        if others := sorted(set(document) - {"id", "op", "args"}):
            raise Refused("invalid", f"a request has no {others[0][:LONGEST_ID]}")
        name = document.get("op")
        if not isinstance(name, str) or name not in OPERATIONS:
            raise Refused("invalid", "op is none of " + ", ".join(OPERATIONS))
        work, known = OPERATIONS[name]
        request = Request(self, number, _checked(document.get("args", {}), known))
        if len(self._tasks) >= MOST_AT_ONCE:
            raise Refused("unavailable", f"{MOST_AT_ONCE} requests are under way")
        self._tasks[number] = asyncio.get_running_loop().create_task(self._answer(work, request), name=name)

    async def _answer(self, work: Operation, request: Request) -> None:
        try:
            document = {"id": request.number, "ok": await work(request)}
            del self._tasks[request.number]
            self.say(document)
        except asyncio.CancelledError:
            del self._tasks[request.number]
            raise
        except Exception as error:
            del self._tasks[request.number]
            code = "not-found" if _ended(error) else _code(error)
            if code == "internal":
                _show(error)
            self.refuse(request.number, code, request.clean(str(error) or type(error).__name__))


def _show(error: BaseException) -> None:
    """Where it happened; what was said may be secret."""
    places = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{os.path.basename(place.filename)}:{place.lineno}" for place in reversed(places))
    print(f"modal_helper: {type(error).__name__} at {where}", file=sys.stderr)


def _first(sink: int, document: dict[str, Any]) -> None:
    os.write(sink, json.dumps(document).encode() + b"\n")


def _fail(sink: int, code: str, message: str) -> NoReturn:
    _first(sink, {"error": code, "message": message, "protocol": PROTOCOL, "python": sys.executable})
    sys.exit(1)


def _load(sink: int) -> None:
    global modal
    if sys.version_info < (3, 10):
        _fail(sink, "python-too-old", f"Python {platform.python_version()} is too old for modal; 3.10 is the oldest")
    try:
        modal = importlib.import_module("modal")
        importlib.import_module("modal.exception")
    except ModuleNotFoundError as error:
        _fail(sink, "modal-not-installed", f"{sys.executable} has no {error.name}: {INSTALL}")
    except Exception as error:
        # Such as a ~/.modal.toml that is none.
        _fail(sink, "modal-unusable", str(error)[:LONGEST_MESSAGE] or type(error).__name__)
    version = tuple(int(part) for part in re.findall(r"\d+", modal.__version__)[:2])
    if not OLDEST <= version < TOO_NEW:
        _fail(sink, "modal-version", f"{sys.executable} has modal {modal.__version__}: {INSTALL}")


def main() -> None:
    # What is for the protocol is for nobody else: the SDK and what it loads print where they like.
    source, sink = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    _load(sink)
    _first(sink, {"event": "hello", "protocol": PROTOCOL, "modal": modal.__version__})
    # A terminal interrupts both; gotoni then closes standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(Helper(source, sink).run())
    # The SDK would wait for its connections.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
