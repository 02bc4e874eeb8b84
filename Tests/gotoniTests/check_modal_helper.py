"""The helper that uses Modal, as a process, at the fake."""

from __future__ import annotations

import base64
import collections
import contextlib
import hashlib
import json
import os
import pathlib
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import modal
from fakes.modal_control import Clock, ModalControl
from fakes.modal_sandboxes import _marked
from home import folder, until

HELPER = pathlib.Path(os.environ["MODAL_HELPER"])
LIMIT_S = 20.0
SECRET = "hf_S3cretThatNobodyMaySee"
SECOND = modal.__version__ >= "1.6"
APP = {"app": "my-app"}
NEW = {**APP, "image": "nvidia/cuda:12.4.0-runtime-ubuntu22.04"}
CODES = {"auth", "not-found", "exists", "capacity", "timeout", "invalid", "unavailable", "internal"}


class Helper:
    """The process, and its lines sorted by whose they are."""

    def __init__(self, environment: dict[str, str], python: str = sys.executable, *options: str) -> None:
        self.home = folder()
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [python, "-B", "-u", *options, HELPER],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env={**kept, "HOME": str(self.home), **environment},
        )
        self.out, self.err = b"", b""
        self.numbers = iter(range(1, 1 << 30))
        self.lines: collections.defaultdict[Any, queue.Queue[dict[str, Any]]] = collections.defaultdict(queue.Queue)
        self.threads = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_errors)]
        for thread in self.threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.out += line
            document = json.loads(line)
            key = document.get("id", "first") if "event" not in document or "id" in document else "first"
            self.lines["first" if document.get("event") == "hello" else key].put(document)

    def _read_errors(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.err += line

    def next(self, key: Any) -> dict[str, Any]:
        """The next line that is `key`'s. It fails at once where there will be none."""
        end = time.monotonic() + LIMIT_S
        while True:
            alive = self.threads[0].is_alive() and time.monotonic() < end
            try:
                return self.lines[key].get(timeout=0.1)
            except queue.Empty:
                assert alive, (key, self.out[-1000:], self.err[-2000:].decode())

    def first(self) -> dict[str, Any]:
        return self.next("first")

    def write(self, line: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def send(self, op: str, **args: Any) -> int:
        number = next(self.numbers)
        self.write(json.dumps({"id": number, "op": op, "args": args}).encode() + b"\n")
        return number

    def answer(self, number: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
        """What it ends with, and the output before."""
        output: collections.defaultdict[str, bytes] = collections.defaultdict(bytes)
        while True:
            document = self.next(number)
            if "event" not in document:
                assert set(document) in ({"id", "ok"}, {"id", "error"}), document
                return document, output
            output[document["event"]] += base64.b64decode(document["data"])

    def ok(self, op: str, **args: Any) -> Any:
        document, output = self.answer(self.send(op, **args))
        assert "ok" in document, document
        return (document["ok"]["returncode"], output["stdout"], output["stderr"]) if op == "exec" else document["ok"]

    def fails(self, code: str, word: str, op: str, **args: Any) -> None:
        self.failed(code, word, self.send(op, **args))

    def failed(self, code: str, word: str, number: Any) -> None:
        document, _ = self.answer(number)
        error = document.get("error", {})
        assert error.get("code") == code and word in error["message"] and code in CODES, (code, word, document)

    def create(self, name: str, **args: Any) -> str:
        return str(self.ok("create", **{**NEW, "name": name, **args})["id"])

    def end(self) -> int:
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        status = self.process.wait(LIMIT_S)
        for thread in self.threads:
            thread.join()
        return status


@contextlib.contextmanager
def _helper(*, environment: dict[str, str] | None = None, **options: Any) -> Iterator[tuple[ModalControl, Helper]]:
    with ModalControl(folder(), **options) as fake:
        helper = Helper({**fake.environment(), **(environment or {})})
        try:
            assert helper.first() == {"event": "hello", "protocol": 1, "modal": modal.__version__}
            yield fake, helper
            assert helper.end() == 0, helper.err
            assert b"Traceback" not in helper.err, helper.err.decode()
        finally:
            helper.process.kill()
            helper.process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def a_sandbox_from_its_creation_to_its_end() -> None:
    with _helper() as (fake, helper):
        assert helper.ok("hello") == {"protocol": 1, "modal": modal.__version__}
        made = helper.ok(
            "create",
            **NEW,
            name="node-a",
            type="gpu_8x_h100",
            cluster="c",
            gpu="H100:8",
            region=["us-east", "us-west"],
            encrypted_ports=[8080],
            volumes={"/models": "models"},
            cpu=2,
            memory_mib=1024,
        )
        box = fake.state.sandboxes[made["id"]]
        definition = box.definition
        assert definition.timeout_secs == 24 * 3600 and list(definition.entrypoint_args) == ["sleep", "infinity"]
        assert definition.resources.gpu_config.count == 8 and definition.resources.memory_mb == 1024
        assert [(port.port, port.unencrypted) for port in definition.open_ports.ports] == [(8080, False)]
        tags = {f"gotoni-{name}": value for name, value in (("name", "node-a"), ("cluster", "c"))}
        assert made["tags"].items() >= {**tags, "gotoni-type": "gpu_8x_h100"}.items(), made
        (listed,) = helper.ok("list", **APP)["sandboxes"]
        named = {name: listed[name] for name in ("id", "name", "type", "region", "cluster")}
        assert named == {
            "id": made["id"],
            "name": "node-a",
            "type": "gpu_8x_h100",
            "region": "us-east,us-west",
            "cluster": "c",
        }
        assert helper.ok("list", **APP, tags={"gotoni-cluster": "other"}) == {"sandboxes": []}
        assert helper.ok("wait-ready", sandbox=made["id"], wait_s=20) == {"id": made["id"]}
        by_name = {**APP, "name": "node-a"}
        assert helper.ok("poll", **by_name) == {"id": made["id"], "running": True, "returncode": None}
        assert helper.ok("terminate", **by_name) == {"id": made["id"], "returncode": 137}
        assert helper.ok("poll", sandbox=made["id"])["returncode"] == 137
        assert helper.ok("terminate", sandbox=made["id"])["returncode"] == 137
        helper.fails("not-found", "node-a", "poll", **by_name)
        assert helper.ok("list", **APP) == {"sandboxes": []} and not _marked(made["id"])
        images = [image.dockerfile_commands[0] for image in fake.state.images.values()]
        assert images == ["FROM nvidia/cuda:12.4.0-runtime-ubuntu22.04"], images


def apps_and_environments_are_only_those_of_the_request() -> None:
    with _helper() as (fake, helper):
        assert helper.ok("list", app="nobody-s") == {"sandboxes": []} and not fake.state.apps
        helper.fails("not-found", "nowhere", "list", **APP, environment="nowhere")
        helper.fails("not-found", "nowhere", "create", **NEW, name="a", environment="nowhere")
        fake.state.environments.add("other")
        number = helper.create("a", environment="other")
        assert set(fake.state.apps) == {("other", "my-app")}
        assert [each["id"] for each in helper.ok("list", **APP, environment="other")["sandboxes"]] == [number]
        assert helper.ok("poll", **APP, name="a", environment="other")["running"]
        volume = helper.ok("volume-ensure", volume="models", environment="other")["id"]
        assert helper.ok("volume-ensure", volume="models", environment="other")["id"] == volume
        assert fake.state.volumes == {("other", "models"): volume}
        # Those of others are not gotoni's.
        fake.state.sandboxes[number].tags.clear()
        assert helper.ok("list", **APP, environment="other") == {"sandboxes": []}


def many_are_created_and_used_at_once() -> None:
    with _helper() as (fake, helper):
        fake.state.page = 4
        names = [f"node-{index}" for index in range(10)]
        creates = [helper.send("create", **NEW, name=name, gpu="T4" if "3" in name else None) for name in names]
        found = [helper.answer(number)[0]["ok"]["id"] for number in creates]
        assert {each["name"] for each in helper.ok("list", **APP)["sandboxes"]} == set(names)
        began = time.monotonic()
        slow = helper.send("exec", sandbox=found[0], command=["sh", "-c", "echo slow; sleep 2; exit 1"])
        runs = [helper.send("exec", sandbox=box, command=["sh", "-c", "sleep 0.5; pwd"]) for box in found]
        for number, box in zip(runs, found):
            document, output = helper.answer(number)
            assert document["ok"] == {"returncode": 0} and output["stdout"].strip().endswith(box.encode()), document
        # One after the other it would be 5 s, and the slow one has not been waited for.
        assert time.monotonic() - began < 2
        assert helper.answer(slow)[0]["ok"] == {"returncode": 1}
        ends = [helper.send("terminate", sandbox=box) for box in found]
        assert all("ok" in helper.answer(number)[0] for number in ends) and not fake.running()


def commands_get_input_and_give_output_and_their_status() -> None:
    with _helper() as (_, helper):
        box = helper.create("a")
        data = bytes(range(256)) * 1000
        stdin = base64.b64encode(data).decode()
        assert helper.ok("exec", sandbox=box, command=["cat"], stdin=stdin) == (0, data, b"")
        assert helper.ok("exec", sandbox=box, command=["cat"]) == (0, b"", b"")
        both = "printf out; printf err >&2; exit 3"
        assert helper.ok("exec", sandbox=box, command=["sh", "-c", both]) == (3, b"out", b"err")
        # Nothing is interpreted, by nobody.
        words = ["$(id)", "a b", "'", "", "*", "\n"]
        assert helper.ok("exec", sandbox=box, command=["printf", "%s|", *words])[1] == "|".join([*words, ""]).encode()
        env = {"A": "a b"}
        assert helper.ok("exec", sandbox=box, command=["sh", "-c", 'echo "$A"'], env=env)[1] == b"a b\n"
        file = folder() / "input"
        file.write_bytes(os.urandom(9 << 20))
        said = helper.ok("exec", sandbox=box, command=["sha256sum"], stdin_file=str(file))[1]
        assert said.split()[0].decode() == hashlib.sha256(file.read_bytes()).hexdigest()
        # It need not be read.
        assert helper.ok("exec", sandbox=box, command=["true"], stdin_file=str(file))[0] == 0
        began = time.monotonic()
        helper.fails("timeout", "1 s", "exec", sandbox=box, command=["sleep", "30"], timeout_s=1)
        # What is left behind holds the output, and is not waited for long.
        assert helper.ok("exec", sandbox=box, command=["sh", "-c", "sleep 30 & echo on"])[:2] == (0, b"on\n")
        assert time.monotonic() - began < 10
        helper.fails("invalid", "nothing-such", "exec", sandbox=box, command=["nothing-such"])
        helper.fails("invalid", "cannot be read", "exec", sandbox=box, command=["cat"], stdin_file="/nowhere/file")
        helper.fails("invalid", "both", "exec", sandbox=box, command=["cat"], stdin_file=str(file), stdin="")


def output_comes_while_a_command_runs_and_in_short_lines() -> None:
    with _helper() as (_, helper):
        box = helper.create("a")
        number = helper.send("exec", sandbox=box, command=["sh", "-c", "echo first; sleep 2; seq 200000"])
        began = time.monotonic()
        first = helper.lines[number].get(timeout=LIMIT_S)
        assert base64.b64decode(first["data"]) == b"first\n" and time.monotonic() - began < 1.5, first
        document, output = helper.answer(number)
        assert document["ok"] == {"returncode": 0} and output["stdout"].endswith(b"\n200000\n")
        assert max(map(len, helper.out.splitlines())) < 300_000


def a_file_is_uploaded_whole_or_not_at_all() -> None:
    with _helper() as (fake, helper):
        box = helper.create("a", gpu="T4")
        root = fake.state.sandboxes[box].root
        file = folder() / "gotoni-lb"
        file.write_bytes(os.urandom(30 << 20))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        began = time.monotonic()
        sent = {"sandbox": box, "file": str(file), "path": "bin/gotoni-lb", "mode": "0755"}
        assert helper.ok("upload", **sent) == {"sha256": digest, "bytes": 30 << 20, "unchanged": False}
        assert time.monotonic() - began < 15
        there = root / "bin" / "gotoni-lb"
        assert hashlib.sha256(there.read_bytes()).hexdigest() == digest
        assert (there.stat().st_mode & 0o777, there.parent.stat().st_mode & 0o777) == (0o755, 0o700)
        # What is there already is not sent again; its permissions are set.
        assert helper.ok("upload", **{**sent, "mode": "0700"})["unchanged"]
        assert there.stat().st_mode & 0o777 == 0o700
        token = folder() / "token"
        token.write_text(SECRET)
        helper.ok("upload", sandbox=box, file=str(token), path="odd 'name'; $(x)")
        assert (root / "odd 'name'; $(x)").stat().st_mode & 0o777 == 0o600
        # The last bytes of one are lost.
        (root / "truncated").mkdir()
        stub = root / "truncated" / "cat"
        stub.write_text("#!/bin/sh\nexec head -c 1000000\n")
        stub.chmod(0o755)
        fake.state.sandboxes[box].environment["PATH"] = f"{stub.parent}:/usr/bin:/bin"
        file.write_bytes(os.urandom(3 << 20))
        helper.fails("unavailable", "another SHA-256", "upload", **sent)
        fake.state.sandboxes[box].environment["PATH"] = "/usr/bin:/bin"
        assert hashlib.sha256(there.read_bytes()).hexdigest() == digest
        assert [each.name for each in there.parent.iterdir()] == ["gotoni-lb"]
        helper.fails("invalid", "is a folder", "upload", **{**sent, "path": "bin"})
        helper.fails("invalid", "is no file", "upload", **{**sent, "file": str(file.parent)})
        (root / "file").touch()
        helper.fails("internal", "file/x", "upload", **{**sent, "path": "file/x"})


def tunnels_are_encrypted_unless_asked_otherwise() -> None:
    with _helper() as (_, helper):
        ports = sorted(_free_port() for _ in range(2))
        box = helper.create("a", gpu="T4", encrypted_ports=ports[:1], unencrypted_ports=ports[1:])
        safe, bare = helper.ok("tunnels", sandbox=box)["tunnels"]
        assert (safe["port"], safe["encrypted"]) == (ports[0], True) and safe["url"].startswith("https://127.0.0.1:")
        assert bare == {
            "port": ports[1],
            "encrypted": False,
            "host": "127.0.0.1",
            "at": ports[1],
            "url": f"http://127.0.0.1:{ports[1]}",
        }
        waits = helper.send("wait-ready", sandbox=box, port=ports[1], wait_s=20)
        time.sleep(0.3)
        assert helper.lines[waits].empty()
        serve = f"setsid {sys.executable} -m http.server {ports[1]} --bind 127.0.0.1 > log 2>&1 &"
        assert helper.ok("exec", sandbox=box, command=["sh", "-c", serve])[0] == 0
        assert helper.answer(waits)[0]["ok"] == {"id": box}
        helper.fails("timeout", f"port {ports[0]}", "wait-ready", sandbox=box, port=ports[0], wait_s=1)


def what_cannot_be_has_a_code() -> None:
    clock = Clock()
    with _helper(clock=clock) as (fake, helper):
        number = helper.create("a", life_s=600)
        for gpu in (None, "T4"):
            helper.fails("exists", "'a'", "create", **NEW, name="a", gpu=gpu)
        fake.state.full = True
        for gpu in (None, "T4"):
            helper.fails("capacity", "capacity", "create", **NEW, name="b", gpu=gpu)
        fake.state.full = False
        helper.fails("invalid", "X9000", "create", **NEW, name="b", gpu="X9000")
        helper.fails("not-found", "nobody", "poll", **APP, name="nobody")
        helper.fails("not-found", "sb-", "poll", sandbox="sb-0123456789012345678901")
        clock.advance(601)
        until("it has ended", lambda: not fake.running())
        assert helper.ok("poll", sandbox=number) == {"id": number, "running": False, "returncode": 124}
        for op, args in (("exec", {"command": ["true"]}), ("wait-ready", {}), ("tunnels", {})):
            helper.fails("not-found", "", op, sandbox=number, **args)
        fake.fail("SandboxListV2" if SECOND else "SandboxList", times=9)
        helper.fails("unavailable", "told to fail", "list", **APP)
        fake.state.oldest_client = (99, 0)
        helper.fails("invalid", "Old client", "hello")


def what_fails_once_is_tried_again() -> None:
    with _helper() as (fake, helper):
        for name in ("AppGetOrCreate", "SandboxCreateV2", "SandboxCreate", "TaskExecStart", "TaskExecStdioRead"):
            fake.fail(name)
        for name in ("SandboxCreateV2", "SandboxCreate", "TaskExecStdinWrite"):
            fake.fail(name, after=True)
        for gpu in (None, "T4"):
            box = helper.create(f"a-{gpu}", gpu=gpu)
            stdin = base64.b64encode(b"once\n").decode()
            assert helper.ok("exec", sandbox=box, command=["sh", "-c", "cat >> x; cat x"], stdin=stdin)[1] == b"once\n"
        assert len(fake.running()) == 2
        fake.forget_access()
        assert helper.ok("exec", sandbox=box, command=["echo", "again"])[1] == b"again\n"


def a_sandbox_for_which_there_is_no_place_in_time_is_ended() -> None:
    with _helper() as (fake, helper):
        fake.state.held = True
        if not SECOND:
            # Earlier versions do not wait for it to start.
            box = helper.create("a", gpu="T4")
            helper.fails("timeout", "sandbox", "wait-ready", sandbox=box, wait_s=1)
            return
        helper.fails("timeout", "no place", "create", **NEW, name="a", gpu="T4", wait_s=1)
        assert len(fake.state.sandboxes) == 1 and not fake.running()


def a_sandbox_that_was_created_too_late_is_ended() -> None:
    with _helper() as (fake, helper):
        left = helper.create("left")
        fake.state.delays = {"SandboxCreateV2": 3, "SandboxCreate": 3}
        for name, gpu in (("a", None), ("b", "T4")):
            helper.fails("timeout", "no place", "create", **NEW, name=name, gpu=gpu, wait_s=1)
        assert len(fake.state.sandboxes) == 3
        until("one is left", lambda: [box.id for box in fake.running()] == [left])


def what_is_being_created_when_nobody_listens_any_more_is_ended() -> None:
    with _helper() as (fake, helper):
        left = helper.create("left")
        fake.state.held = SECOND
        helper.send("create", **NEW, name="a", gpu="T4")
        until("it is there", lambda: len(fake.running()) == 2)
        began = time.monotonic()
        assert helper.end() == 0 and time.monotonic() - began < 10
        if SECOND:
            # What was there before stays.
            assert [box.id for box in fake.running()] == [left]


def the_end_of_input_ends_it_in_the_middle_of_work() -> None:
    with _helper() as (_, helper):
        box = helper.create("a")
        number = helper.send("exec", sandbox=box, command=["sh", "-c", "echo on; sleep 30"])
        assert "data" in helper.lines[number].get(timeout=LIMIT_S)
        helper.write(b'{"id": "half a l')
        began = time.monotonic()
        assert helper.end() == 0 and time.monotonic() - began < 5
        assert helper.lines["half a l"].empty()


def a_terminal_s_interrupt_is_not_for_it_and_a_termination_is() -> None:
    with _helper() as (_, helper):
        box = helper.create("a")
        number = helper.send("exec", sandbox=box, command=["sh", "-c", "echo on; sleep 30"])
        assert "data" in helper.next(number)
        helper.process.send_signal(signal.SIGINT)
        assert helper.ok("poll", sandbox=box)["running"]
        helper.process.send_signal(signal.SIGTERM)
        assert helper.process.wait(5) == 0


def a_server_that_is_gone_is_not_waited_for_long() -> None:
    with ModalControl(folder()) as fake:
        helper = Helper(fake.environment())
        helper.first()
        box = helper.create("a")
        helper.ok("exec", sandbox=box, command=["true"])
    began = time.monotonic()
    asked = [helper.send("poll", sandbox=box, wait_s=2), helper.send("list", **APP, wait_s=2)]
    for number in (*asked, helper.send("exec", sandbox=box, wait_s=2, command=["true"])):
        assert helper.answer(number)[0]["error"]["code"] in ("timeout", "unavailable")
    assert helper.end() == 0 and time.monotonic() - began < 8


def a_request_that_is_none_is_refused_and_the_next_is_answered() -> None:
    with _helper() as (fake, helper):
        for line in (b"{", b"[]", b"1", b'"x"', b"\xff\xfe", b'{"op": "hello"}', b'{"id": null, "op": "hello"}'):
            helper.write(line + b"\n")
            helper.failed("invalid", "", None)
        for line in (b'{"id": true, "op": "hello"}', b'{"id": "' + b"x" * 200 + b'"}', b"[" * 100_000):
            helper.write(line + b"\n")
            helper.failed("invalid", "", None)
        helper.write(b"\n  \n" + b'{"id": "x", "op": "hello", "more": 1}\n')
        helper.failed("invalid", "more", "x")
        helper.fails("invalid", "op is none of hello, create", "format")
        helper.fails("invalid", "no argument colour", "list", **APP, colour=1)
        helper.fails("invalid", "app is missing", "list")
        helper.fails("invalid", "sandbox, or app and name", "poll", **APP)
        for args in (
            {"name": 1},
            {"name": ""},
            {"command": []},
            {"command": ["a\0b"]},
            {"command": "sleep 1"},
            {"encrypted_ports": [0]},
            {"encrypted_ports": [True]},
            {"life_s": 24 * 3600 + 1},
            {"life_s": 1.5},
            {"cpu": float("nan")},
            {"env": {"A=B": "x"}},
            {"secret_env": {"A": 1}},
            {"tags": []},
        ):
            (name,) = args
            helper.fails("invalid", f"{name} is not ", "create", **{**NEW, "name": "a", **args})
        number = helper.create("a")
        helper.fails("invalid", "mode is not", "upload", sandbox=number, file="/x", path="x", mode="4755")
        helper.fails("invalid", "stdin is not base64", "exec", sandbox=number, command=["cat"], stdin="%")
        long = b'{"id": 1, "op": "hello", "args": {"x": "' + b"x" * (9 << 20) + b'"}}\n'
        helper.write(long + b'{"id": "after", "op": "hello"}\n')
        helper.failed("invalid", "more than 8388608 bytes", None)
        assert "ok" in helper.answer("after")[0]
        assert len(fake.state.sandboxes) == 1


def no_more_than_64_requests_are_under_way() -> None:
    with _helper() as (_, helper):
        box = helper.create("a")
        helper.ok("exec", sandbox=box, command=["true"])
        wait = {"sandbox": box, "command": ["sh", "-c", "until [ -f go ]; do sleep 0.1; done"]}
        numbers = [helper.send("exec", **wait) for _ in range(66)]
        for number in numbers[64:]:
            helper.failed("unavailable", "64 requests", number)
        # An id is one request's at a time.
        helper.write(json.dumps({"id": numbers[0], "op": "hello"}).encode() + b"\n")
        helper.failed("invalid", "under way", numbers[0])
        time.sleep(0.5)
        helper.numbers = iter(range(1000, 2000))
        # There is no room for what would end them.
        helper.fails("unavailable", "64 requests", "terminate", sandbox=box)
        began = time.monotonic()
        assert helper.end() == 0 and time.monotonic() - began < 5


def nobody_sees_a_secret() -> None:
    with _helper() as (fake, helper):
        secret = {"HF_TOKEN": SECRET}
        for gpu in (None, "T4"):
            box = helper.create(f"box-{gpu}", gpu=gpu, secret_env=secret)
            show = 'printf %s "$HF_TOKEN" | sha256sum'
            said = helper.ok("exec", sandbox=box, command=["sh", "-c", show])[1]
            assert said.split()[0].decode() == hashlib.sha256(SECRET.encode()).hexdigest()
            sleeps = helper.send("exec", sandbox=box, command=["sleep", "30"], secret_env={"MORE": SECRET})
            until("it runs", lambda: len(_marked(box)) > 1)
            assert SECRET not in _command_lines(), "in a command line"
            assert helper.lines[sleeps].empty()
        # Where an error would tell it.
        helper.fails("invalid", "secret_env is not", "create", **NEW, name="b", secret_env={"A": SECRET, "B": 1})
        helper.fails("invalid", "secret_env is not", "create", **NEW, name="b", secret_env={SECRET + "=": "x"})
        helper.fails("invalid", "***", "create", **NEW, name="b", gpu=SECRET, secret_env=secret)
        helper.write(b'{"id": 1, "op": "hello", "args": "' + SECRET.encode() + b'"\n')
        helper.failed("invalid", "no JSON", None)
        held = [call for call in fake.state.calls if SECRET in str(call.metadata)]
        assert not held and fake.state.token[1] not in _command_lines()
        helper.end()
        for said in (helper.out, helper.err):
            assert SECRET.encode() not in said and fake.state.token[1].encode() not in said


def _command_lines() -> str:
    found = []
    for file in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(file.read_bytes().decode(errors="replace"))
    return "\n".join(found)


def the_account_comes_from_the_environment_or_from_a_file() -> None:
    with _helper(environment={"MODAL_TOKEN_SECRET": "as-wrong"}) as (_, helper):
        helper.fails("auth", "", "hello")
        helper.fails("auth", "", "create", **NEW, name="a")
        helper.fails("auth", "", "list", **APP)
    with ModalControl(folder()) as fake:
        server = {"MODAL_SERVER_URL": fake.url}
        with contextlib.closing(_Ended(server)) as helper:
            helper.first()
            helper.fails("auth", "Token missing", "hello")
        place = folder() / "modal.toml"
        identity, secret = fake.state.token
        place.write_text(f'[mine]\ntoken_id = "{identity}"\ntoken_secret = "{secret}"\nactive = true\n')
        with contextlib.closing(_Ended({**server, "MODAL_CONFIG_PATH": str(place)})) as helper:
            helper.first()
            helper.ok("hello")
        place.write_text("this = is [no toml")
        with contextlib.closing(_Ended({**server, "MODAL_CONFIG_PATH": str(place)})) as helper:
            said = helper.first()
            assert said.get("error") == "modal-unusable" or "error" in helper.answer(helper.send("hello"))[0], said


class _Ended(Helper):
    def close(self) -> None:
        self.end()


def without_modal_it_says_what_to_install() -> None:
    # -S: without the packages that are installed.
    with contextlib.closing(_Ended({"PYTHONPATH": ""}, sys.executable, "-S")) as helper:
        said = helper.first()
        assert said["error"] == "modal-not-installed" and 'pip install "modal>=1.5,<2"' in said["message"], said
    assert helper.process.returncode == 1
    other = folder() / "modal"
    other.mkdir()
    (other / "exception.py").touch()
    for version in ("2.0.0", "1.4.3"):
        (other / "__init__.py").write_text(f'print("hello")\n__version__ = "{version}"\n')
        with contextlib.closing(_Ended({"PYTHONPATH": str(other.parent)}, sys.executable, "-S")) as helper:
            said = helper.first()
            assert said["error"] == "modal-version" and version in said["message"], said
        # What it prints is no answer.
        assert helper.err == b"hello\n" and helper.out.count(b"\n") == 1


def rates_are_the_account_s() -> None:
    with _helper() as (_, helper):
        if not hasattr(modal.Workspace, "billing"):
            helper.fails("invalid", "a newer one", "rates")
            return
        assert helper.ok("rates")["rates"]["gpu_hour_cost_h100"] == "3.95"
