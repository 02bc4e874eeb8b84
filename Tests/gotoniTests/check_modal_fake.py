"""The fake of Modal, driven by the stock SDK: what it is to be faithful in."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import modal
from fakes.modal_control import Clock, ModalControl
from fakes.modal_sandboxes import _marked
from home import alive, folder, process, until
from modal.exception import AlreadyExistsError, AuthError, InvalidError, NotFoundError, ResourceExhaustedError

# Seconds of a sandbox's life, where it does not matter.
LIFE_S = 600
SECOND = modal.__version__ >= "1.6"


class Account:
    """The SDK, logged in at a fake."""

    def __init__(self, fake: ModalControl) -> None:
        os.environ.update(fake.environment())
        self.fake = fake
        self.client = modal.Client.from_credentials(*fake.state.token)
        self.app = modal.App.lookup("gotoni", create_if_missing=True, client=self.client)

    def create(self, *command: str, **options: Any) -> Any:
        # Each an image of its own: the SDK remembers at which server it has found one.
        image = modal.Image.from_registry("ubuntu:22.04")
        made = {"app": self.app, "timeout": LIFE_S, "image": image, **options}
        return modal.Sandbox.create(*(command or ("sleep", "infinity")), client=self.client, **made)

    def list(self, **tags: str) -> list[str]:
        found = modal.Sandbox.list(app_id=self.app.app_id, tags=tags, client=self.client)
        return [box.object_id for box in found]

    def named(self, name: str) -> Any:
        return modal.Sandbox.from_name("gotoni", name, client=self.client)


@contextlib.contextmanager
def _account(**options: Any) -> Iterator[Account]:
    with ModalControl(folder(), **options) as fake:
        account = Account(fake)
        try:
            yield account
        finally:
            # Before 1.6 the name has an underscore.
            getattr(account.client, "close" if SECOND else "_close")()


@contextlib.contextmanager
def _raises(kind: type[BaseException], *words: str) -> Iterator[None]:
    try:
        yield
    except kind as error:
        assert all(word in str(error) for word in words), error
        return
    raise AssertionError(f"no {kind.__name__}")


def _output(box: Any, *command: str, data: bytes = b"", **options: Any) -> tuple[int, bytes, bytes]:
    process = box.exec(*command, text=False, **options)
    if data:
        process.stdin.write(data)
    process.stdin.write_eof()
    process.stdin.drain()
    out, err = process.stdout.read(), process.stderr.read()
    return process.wait(), out, err


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def both_kinds_of_sandboxes_are_created_listed_and_found() -> None:
    with _account() as account:
        plain = account.create(name="plain", tags={"gotoni-cluster": "a", "gotoni-type": "cpu"}, region="us-east")
        gpu = account.create(name="gpu", tags={"gotoni-cluster": "a"}, gpu="H100:8", region=["us", "eu"])
        other = account.create(name="other", tags={"gotoni-cluster": "b"})
        kinds = [account.fake.state.sandboxes[box.object_id].second for box in (plain, gpu, other)]
        assert kinds == [SECOND, False, SECOND], kinds
        config = account.fake.state.sandboxes[gpu.object_id].definition
        assert (config.resources.gpu_config.gpu_type, config.resources.gpu_config.count) == ("H100", 8)
        assert list(config.scheduler_placement.regions) == ["us", "eu"]

        # The newest is first.
        assert account.list() == [other.object_id, gpu.object_id, plain.object_id]
        assert account.list(**{"gotoni-cluster": "a"}) == [gpu.object_id, plain.object_id]
        assert account.list(**{"gotoni-cluster": "a", "gotoni-type": "cpu"}) == [plain.object_id]
        assert account.list(**{"gotoni-cluster": "c"}) == []
        assert account.named("gpu").object_id == gpu.object_id
        assert account.named("plain").object_id == plain.object_id
        with _raises(NotFoundError):
            account.named("nobody")
        assert modal.Sandbox.from_id(gpu.object_id, client=account.client).get_tags() == {"gotoni-cluster": "a"}
        plain.set_tags({"gotoni-name": "new"})
        assert plain.get_tags() == {"gotoni-name": "new"} and account.list(**{"gotoni-type": "cpu"}) == []


def lists_are_paged() -> None:
    with _account() as account:
        account.fake.state.page = 3
        made = [account.create(gpu="T4" if index % 2 else None).object_id for index in range(7)]
        assert account.list() == made[::-1]
        pages = [name for name in account.fake.names() if name.startswith("SandboxList")]
        assert len(pages) == 4, pages


def commands_run_in_the_sandbox_s_folder() -> None:
    with _account() as account:
        for options in ({}, {"gpu": "T4"}):
            box = account.create(**options)
            assert _output(box, "cat", data=b"\0\xffhello") == (0, b"\0\xffhello", b"")
            assert _output(box, "sh", "-c", "echo out; echo err >&2; exit 3") == (3, b"out\n", b"err\n")
            assert _output(box, "sh", "-c", "kill -9 $$")[0] == 137
            assert _output(box, "sh", "-c", "echo here > file; pwd")[1].decode().strip().endswith(box.object_id)
            assert _output(box, "cat", "file")[1] == b"here\n"
            # What it leaves behind is not waited for.
            assert box.exec("sh", "-c", "sleep 30 & exit 4").wait() == 4
            running = box.exec("sleep", "30")
            assert running.poll() is None
            with _raises(InvalidError, "No such file"):
                box.exec("nothing-of-this-name")
            box.terminate(wait=True)


def large_output_and_input_are_complete() -> None:
    with _account() as account:
        box, data = account.create(), os.urandom(1 << 20) * 8
        status, out, _ = _output(box, "sh", "-c", "cat; seq 100000", data=data)
        assert status == 0 and out.startswith(data) and len(out) == len(data) + 588895, len(out)


def a_command_s_time_is_limited() -> None:
    with _account() as account:
        started = time.monotonic()
        box = account.create()
        assert _output(box, "sleep", "30", timeout=1)[0] != 0
        assert time.monotonic() - started < 5


def variables_and_secrets_reach_commands() -> None:
    with _account() as account:
        for options in ({}, {"gpu": "T4"}):
            secret = modal.Secret.from_dict({"SECRET": "s3cret"})
            box = account.create(secrets=[secret], **options)
            assert _output(box, "sh", "-c", 'echo "$SECRET"')[1] == b"s3cret\n"
            more = modal.Secret.from_dict({"MORE": "m0re"})
            assert _output(box, "sh", "-c", 'echo "$SECRET $MORE"', secrets=[more])[1] == b"s3cret m0re\n"
            assert _output(box, "sh", "-c", 'echo "$MORE"')[1] == b"\n"


def volumes_are_shared() -> None:
    with _account() as account:
        volume = modal.Volume.from_name("models", create_if_missing=True, client=account.client)
        first, second = (account.create(volumes={"/models": volume}, gpu=gpu) for gpu in (None, "T4"))
        assert _output(first, "sh", "-c", "echo weights > models/a")[0] == 0
        assert _output(second, "cat", "models/a")[1] == b"weights\n"
        with _raises(NotFoundError):
            modal.Volume.from_name("nothing", client=account.client).hydrate()


def a_sandbox_is_waited_for_and_says_how_it_ended() -> None:
    with _account() as account:
        for options in ({}, {"gpu": "T4"}):
            box = account.create("sh", "-c", "echo said; read line; exit $line", **options)
            assert box.poll() is None
            box.terminate()
            until("it has ended", lambda: box.poll() is not None)
            assert box.returncode == 137 and account.list() == []
            ends = account.create("sh", "-c", "echo said; exit 5", **options)
            ends.wait()
            assert (ends.returncode, ends.stdout.read()) == (5, "said\n")
            done = account.create("true", **options)
            done.wait()
            assert done.poll() == 0


def what_has_ended_is_not_found_and_nothing_of_it_runs() -> None:
    with _account() as account:
        for options in ({}, {"gpu": "T4"}):
            box = account.create(name="box", **options)
            started = box.exec("sh", "-c", "setsid sleep 300 & sleep 300 & echo started; wait")
            assert next(iter(started.stdout)) == "started\n"
            until("all three", lambda: len(_marked(box.object_id)) >= 4)
            box.terminate(wait=True)
            assert _marked(box.object_id) == []
            with _raises((NotFoundError, InvalidError)):  # type: ignore[arg-type]
                box.exec("true")
            with _raises(NotFoundError):
                account.named("box")
            # Ended twice, and its name is free.
            box.terminate()
            account.create(name="box", **options).terminate()


def a_name_is_given_once_in_an_app() -> None:
    with _account() as account:
        for options in ({}, {"gpu": "T4"}):
            box = account.create(name="same", **options)
            with _raises(AlreadyExistsError, "same"):
                account.create(name="same", **options)
            other = modal.App.lookup("other", create_if_missing=True, client=account.client)
            account.create(name="same", app=other, **options).terminate()
            box.terminate(wait=True)
            account.create(name="same", **options).terminate()


def without_room_nothing_is_created() -> None:
    with _account() as account:
        account.fake.state.full = True
        for options in ({}, {"gpu": "T4"}):
            with _raises(ResourceExhaustedError, "capacity"):
                account.create(**options)
        assert not account.fake.state.sandboxes
        account.fake.state.full = False
        account.create(gpu="T4")


def what_is_held_starts_later() -> None:
    with _account() as account:
        account.fake.state.held = True
        if not SECOND:
            box = account.create(gpu="T4")
        else:
            box = account.create()
        assert box.poll() is None and account.list() == [box.object_id]
        account.fake.release()
        assert _output(box, "echo", "there")[1] == b"there\n"


def a_sandbox_ends_when_its_time_is_up() -> None:
    clock = Clock()
    with _account(clock=clock) as account:
        short, long = account.create(timeout=600), account.create(timeout=7200, gpu="T4")
        clock.advance(601)
        until("it has ended", lambda: short.poll() is not None)
        assert short.returncode == 124 and long.poll() is None
        with _raises(InvalidError, "86400"):
            account.create(timeout=86401)


def tunnels_lead_to_the_sandbox_s_ports() -> None:
    files = folder()
    make = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=127.0.0.1 \
        -addext subjectAltName=IP:127.0.0.1 -keyout {files}/key -out {files}/certificate"
    subprocess.run(make.split(), check=True, capture_output=True)
    with _account(certificate=(files / "certificate", files / "key")) as account:
        for options in ({}, {"gpu": "T4"}):
            safe, bare = _free_port(), _free_port()
            serve = f"echo hello > index.html; {sys.executable} -m http.server {safe} --bind 127.0.0.1 & \
                exec {sys.executable} -m http.server {bare} --bind 127.0.0.1"
            box = account.create("sh", "-c", serve, encrypted_ports=[safe], unencrypted_ports=[bare], **options)
            tunnels = box.tunnels()
            assert set(tunnels) == {safe, bare}, tunnels
            assert not tunnels[safe].unencrypted_host and tunnels[safe].port != safe
            trusted = ssl.create_default_context(cafile=files / "certificate")
            where = tunnels[safe].tls_socket
            _until_answered(lambda: http.client.HTTPSConnection(*where, timeout=5, context=trusted))
            _until_answered(lambda: http.client.HTTPConnection(*tunnels[bare].tcp_socket, timeout=5))


def _until_answered(connection: Callable[[], http.client.HTTPConnection]) -> None:
    def answered() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection()) as made:
            made.request("GET", "/")
            return made.getresponse().read() == b"hello\n"
        return False

    until("an answer", answered)


def an_rpc_that_fails_once_is_repeated_and_creates_one_sandbox() -> None:
    with _account() as account:
        create = "SandboxCreateV2" if SECOND else "SandboxCreate"
        account.fake.fail(create)
        account.create(name="a")
        account.fake.fail(create, after=True)
        account.create(name="b")
        account.fake.fail("SandboxCreate", after=True)
        account.create(name="c", gpu="T4")
        assert sorted(box.name for box in account.fake.running()) == ["a", "b", "c"]
        assert account.fake.count()[create] + (account.fake.count()["SandboxCreate"] if SECOND else 0) == 6
        box = account.named("a")
        for name in ("TaskExecStart", "TaskExecStdioRead", "TaskExecStdinWrite", "TaskExecWait"):
            account.fake.fail(name)
        assert _output(box, "sh", "-c", "cat; echo once >> file; cat file", data=b"in\n")[1] == b"in\nonce\n"


def access_that_is_no_longer_good_is_fetched_again() -> None:
    with _account() as account:
        box = account.create(gpu="T4")
        assert _output(box, "true")[0] == 0
        before = account.fake.count()["TaskGetCommandRouterAccess"]
        account.fake.forget_access()
        assert _output(box, "echo", "again")[1] == b"again\n"
        assert account.fake.count()["TaskGetCommandRouterAccess"] > before


def who_says_the_wrong_thing_is_refused() -> None:
    with _account() as account:
        wrong = modal.Client.from_credentials("ak-somebody", "as-wrong")
        with _raises(AuthError):
            modal.App.lookup("gotoni", client=wrong)
        account.fake.state.oldest_client = (99, 0)
        with _raises(InvalidError, "Old client"):
            account.client.hello()
        account.fake.state.oldest_client = (1, 0)
        account.client.hello()
        with _raises(NotFoundError, "nowhere"):
            modal.App.lookup("gotoni", environment_name="nowhere", client=account.client)
        with _raises(NotFoundError, "missing"):
            modal.App.lookup("missing", client=account.client)
        with _raises(InvalidError, "X9000"):
            account.create(gpu="X9000")


def prices_are_the_account_s() -> None:
    with _account() as account:
        workspace = modal.Workspace.from_context(client=account.client)
        # 1.5.0 cannot ask for them.
        if not hasattr(workspace, "billing"):
            return
        assert {name: str(value) for name, value in workspace.billing.rates().items()}["gpu_hour_cost_h100"] == "3.95"


def as_a_program_it_prints_its_url_and_takes_orders() -> None:
    place = folder()
    command = [sys.executable, "-B", "-m", "fakes.modal_control", "--folder", place, "--token-id", "ak-other"]
    pipe = subprocess.PIPE
    with process(*command, stdin=pipe, stdout=pipe) as program:
        assert program.stdin and program.stdout
        os.environ.update(MODAL_SERVER_URL=program.stdout.readline().decode().strip())

        def order(line: str) -> bytes:
            assert program.stdin and program.stdout
            program.stdin.write(line.encode() + b"\n")
            program.stdin.flush()
            return program.stdout.readline()

        client = modal.Client.from_credentials("ak-other", "as-secret")
        app = modal.App.lookup("gotoni", create_if_missing=True, client=client)

        def create(*command: str) -> Any:
            image = modal.Image.from_registry("ubuntu:22.04")
            return modal.Sandbox.create(*command, app=app, name="one", timeout=60, image=image, client=client)

        box = create("sleep", "300")
        assert b'"name": "one"' in order("running")
        assert order("advance 61") == b"null\n"
        until("it has ended", lambda: box.poll() == 124)
        assert b"error" in order("nonsense") and b"ClientHello" not in order("rpcs")
        box = create("sh", "-c", "setsid sleep 300 & wait")
        until("two processes", lambda: len(_marked(box.object_id)) == 2)
        pids = _marked(box.object_id)
        program.stdin.close()
        assert program.wait(10) == 0
        assert not any(alive(pid) for pid in pids)
