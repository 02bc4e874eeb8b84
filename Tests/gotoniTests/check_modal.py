"""`gotoni` on the fake of Modal: sandboxes as machines, the helper's process, and which cloud is asked."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import modal
from fakes.modal_control import Clock, ModalControl
from home import GOTONI, Home, alive, folder, home, until

SECOND = modal.__version__ >= "1.6"
# The SDK can ask for prices.
PRICED = hasattr(modal.Workspace, "billing")


@contextlib.contextmanager
def _account(**options: Any) -> Iterator[tuple[Home, ModalControl]]:
    with home() as user, ModalControl(folder(), **options) as fake:
        user.environment |= {**fake.environment(), "GOTONI_MODAL_PYTHON": sys.executable}
        yield user, fake


def _machines(user: Home) -> list[dict[str, Any]]:
    return user.gotoni("list", "--json").ends(0).json()


def _helpers(gotoni: int) -> list[int]:
    """The helper of this process, and what it has started: it leads a session of its own."""
    found = []
    for file in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = file.read_text().rpartition(")")[2].split()
            found.append((int(file.parent.name), int(words[1]), int(words[3])))
    leaders = {pid for pid, parent, session in found if parent == gotoni and session == pid}
    return [pid for pid, _, session in found if session in leaders]


@contextlib.contextmanager
def _creating(user: Home, fake: ModalControl) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """`gotoni` that waits for the answer to a creation, and the processes of its helper."""
    fake.state.delays = {"SandboxCreateV2": 30, "SandboxCreate": 30}
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    made = subprocess.Popen(
        [GOTONI, "launch", "a", "-t", "cpu", "-y"],
        env=user.environment,
        stdin=nothing,
        stdout=pipe,
        stderr=pipe,
        text=True,
    )
    try:
        until("it is being created", fake.running)
        pids = _helpers(made.pid)
        assert pids
        yield made, pids
    finally:
        made.kill()
        made.communicate()


def a_sandbox_is_launched_listed_waited_for_and_ended() -> None:
    with _account() as (user, fake):
        launch = ["launch", "one", "--type", "gpu_8x_h100", "--region", "us-east"]
        price = ["$73.99 an hour", "$1775.76 a day"] if PRICED else ["price that is not known"]
        user.gotoni(*launch).ends(2, "1 x H100:8 in us-east", "1.75 times", "24 h", "Say --yes", *price)
        user.gotoni(*launch, "--dry-run").ends(0, "would launch one")
        assert not fake.state.sandboxes and not fake.state.apps

        said = user.gotoni(*launch, "--yes", "--life", "2h", "--tag", "team=a").ends(0, "one", "active", "https://")
        assert "launching one" in said.err and "launching one" not in said.out
        (box,) = fake.running()
        definition = box.definition
        assert definition.timeout_secs == 7200 and list(definition.scheduler_placement.regions) == ["us-east"]
        assert (definition.resources.gpu_config.gpu_type, definition.resources.gpu_config.count) == ("H100", 8)
        assert (definition.resources.milli_cpu, definition.resources.memory_mb) == (32_000, 256 << 10)
        ports = [(port.port, port.unencrypted) for port in definition.open_ports.ports]
        assert ports == [(8000, False), (8080, False)], ports
        (machine,) = _machines(user)
        assert (machine["name"], machine["type"], machine["region"]) == ("one", "H100:8", "us-east")
        assert (machine["status"], machine["url"], machine["tags"]["team"]) == ("active", "https://127.0.0.1:8000", "a")
        assert machine.get("price_cents_per_hour") == (7399 if PRICED else None)
        user.gotoni("list").ends(0, "1 running, $73.99 an hour" if PRICED else "whose price is not known")
        user.gotoni("wait", "one").ends(0, "active")

        user.gotoni("launch", "pair", "-t", "cpu", "--count", "2", "-y", "--port", "9000", "--json").ends(0)
        pair = [box for box in fake.running() if box.name != "one"]
        assert [[port.port for port in box.definition.open_ports.ports] for box in pair] == [[9000]] * 2
        # A day, whatever the time to wait for it.
        assert {box.definition.timeout_secs for box in pair} == {86400}
        user.gotoni("kill", "one").ends(2, "Say --yes")
        user.gotoni("kill", machine["id"][:10], "--yes").ends(0, "one: ending")
        assert {box.name for box in fake.running()} == {"pair-1", "pair-2"}
        user.gotoni("kill", "--all", "--yes", "--json").ends(0)
        assert not fake.running() and user.gotoni("list").ends(0, "no machines")
        user.gotoni("kill", "one", "--yes").ends(5, 'no machine "one"')


def images_and_volumes_are_those_that_were_named() -> None:
    with _account() as (user, fake):
        user.gotoni("launch", "a", "-t", "cpu", "-y", "--image", "debian:12", "--filesystem", "models").ends(0)
        user.gotoni("launch", "b", "-t", "T4", "-y").ends(0)
        images = [image.dockerfile_commands[0] for image in fake.state.images.values()]
        assert images[0] == "FROM debian:12" and images[1].startswith("FROM nvidia/cuda:"), images
        (with_volume,) = [box for box in fake.running() if box.definition.volume_mounts]
        assert with_volume.definition.volume_mounts[0].mount_path == "/modal-volume"
        assert list(fake.state.volumes) == [("main", "models")]


def types_have_modal_s_names_and_the_account_s_prices() -> None:
    with _account() as (user, _):
        types = user.gotoni("available", "--min-gpus", "8", "--json").ends(0).json()
        assert {each["name"] for each in types} >= {"H100:8", "B200:8", "A100-80GB:8"} and len(types) == 8
        said = user.gotoni("price").ends(0, "A100-80GB:4", "cpu")
        for wish, name in (
            ("H100", "H100"),
            ("h100:1", "H100"),
            ("gpu_1x_a100_sxm4", "A100-40GB"),
            ("gpu_2x_a100_80gb_sxm4", "A100-80GB:2"),
            ("cpu", "cpu"),
            # What is not known here is left to Modal.
            ("X9000:3", "X9000:3"),
        ):
            user.gotoni("launch", "x", "-t", wish, "--dry-run").ends(0, f"1 x {name} in anywhere")
        for wish in ("H100:0", "H100:x", "H100:1:2", ":1", "gpu_0x_h100"):
            user.gotoni("launch", "x", "-t", wish, "--dry-run").ends(5, "is no type")
        user.gotoni("launch", "x", "-t", "X9000", "-y").ends(1, "Modal refused", "X9000")
        user.gotoni("launch", "x", "-t", "X9000", "--max-price", "1000", "--dry-run").ends(6, "may cost any sum")
        if not PRICED:
            return
        # Cores and memory are in it.
        assert "$5.29" in said.out and "$0.76" in said.out, said
        user.gotoni("launch", "x", "-t", "H100", "-r", "eu", "--dry-run").ends(0, "$7.94 an hour", "1.5 times")
        user.gotoni("launch", "x", "-t", "H100", "-r", "eu,us-west", "--dry-run").ends(0, "$9.26 an hour", "1.75 times")
        user.gotoni("launch", "x", "-t", "H100", "--max-price", "5", "-y").ends(6, "more than --max-price")
        said = user.gotoni("available", "--max-price", "2").ends(0, "T4", "cpu")
        # One whose price is not known may cost more.
        assert "H100" not in said.out and "B200" not in said.out


def what_modal_does_not_have_is_said() -> None:
    with _account() as (user, fake):
        user.gotoni("keys").ends(2, "modal has no keys")
        user.gotoni("launch", "x", "-t", "cpu", "-y", "--ssh-key", "mine").ends(2, "modal has no keys")
        user.gotoni("launch", "x", "-t", "cpu", "-y", "--life", "25h").ends(2, "--life")
        user.gotoni("launch", "x", "-t", "cpu", "-y").ends(0)
        user.gotoni("restart", "x", "-y").ends(2, "modal has no restarts")
        assert len(fake.running()) == 1
        user.environment["LAMBDA_API_KEY"] = "a-key"
        user.gotoni("launch", "x", "-p", "lambda", "-t", "cpu", "-y", "--life", "1h").ends(2, "no --life")


def what_cannot_be_had_has_its_status() -> None:
    with _account() as (user, fake):
        user.gotoni("launch", "a", "-t", "cpu", "-y").ends(0)
        user.gotoni("launch", "a", "-t", "T4", "-y").ends(1, "a sandbox called a already")
        fake.state.full = True
        user.gotoni("launch", "b", "-t", "T4", "-y").ends(6, "no room for it now")
        fake.state.full = False
        fake.state.held = True
        # Earlier versions do not wait for its start; then the list is asked until then.
        words = "no place" if SECOND else "Not all are active"
        user.gotoni("launch", "c", "-t", "T4", "-y", "--timeout", "2").ends(124, words)
        assert [box.name for box in fake.running() if box.name != "c" or SECOND] == ["a"]


def a_launch_whose_answer_was_lost_is_found() -> None:
    with _account() as (user, fake):
        # More often than the SDK tries.
        for name in ("SandboxCreateV2", "SandboxCreate"):
            fake.fail(name, times=99, after=True)
        for name, gpu in (("a", "T4"), ("b", "cpu")):
            user.gotoni("launch", name, "-t", gpu, "-y").ends(0, "active")
        assert len(fake.running()) == 2
        fake.state.failures = []
        for name in ("SandboxCreateV2", "SandboxCreate"):
            fake.fail(name, times=99)
        user.gotoni("launch", "c", "-t", "T4", "-y").ends(1, "Modal does not answer")
        assert len(fake.running()) == 2


def a_sandbox_is_booting_until_it_has_started_and_gone_when_it_has_ended() -> None:
    clock = Clock()
    with _account(clock=clock) as (user, fake):
        user.gotoni("launch", "a", "-t", "cpu", "-y", "--life", "10m").ends(0)
        if not SECOND:
            fake.state.held = True
            user.gotoni("launch", "b", "-t", "T4", "-y", "--no-wait").ends(0, "booting")
            user.gotoni("wait", "b", "--timeout", "1").ends(124, "Not all are active")
            fake.release()
            user.gotoni("wait", "b").ends(0, "active")
        clock.advance(601)
        until("it has ended", lambda: "a" not in [box.name for box in fake.running()])
        assert "a" not in [each["name"] for each in _machines(user)]
        user.gotoni("wait", "a").ends(5, "no machine")


def apps_and_environments_can_be_named() -> None:
    with _account() as (user, fake):
        fake.state.environments |= {"one", "two", "three"}
        for option, variables, place in (
            ([], {"MODAL_ENVIRONMENT": "one"}, "one"),
            ([], {"MODAL_ENVIRONMENT": "one", "GOTONI_MODAL_ENV": "two"}, "two"),
            (["--modal-env", "three"], {"GOTONI_MODAL_ENV": "two"}, "three"),
            ([], {}, "main"),
        ):
            with _variables(user, variables):
                user.gotoni("launch", "a", "-t", "cpu", "-y", *option).ends(0)
            assert (place, "gotoni") in fake.state.apps, place
        with _variables(user, {"GOTONI_MODAL_APP": "mine"}):
            assert not _machines(user)
            user.gotoni("launch", "a", "-t", "cpu", "-y").ends(0)
        assert ("main", "mine") in fake.state.apps
        user.gotoni("list", "--modal-env", "nowhere").ends(5, "nowhere")


@contextlib.contextmanager
def _variables(user: Home, variables: dict[str, str]) -> Iterator[None]:
    before = user.environment
    user.environment = {**before, **variables}
    yield
    user.environment = before


def many_sandboxes_are_asked_at_once() -> None:
    """More than the helper takes."""
    with _account() as (user, fake):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            counts = (64, 6)
            list(pool.map(lambda n: user.gotoni("launch", f"x{n}", "-t", "cpu", "-y", "--count", n).ends(0), counts))
        assert len(fake.running()) == 70
        assert {each["status"] for each in _machines(user)} == {"active"} and len(_machines(user)) == 70
        user.gotoni("kill", "--all", "-y").ends(0)
        assert not fake.running()


def who_may_not_is_told() -> None:
    with _account() as (user, fake):
        user.environment["MODAL_TOKEN_SECRET"] = "as-wrong"
        said = user.gotoni("list").ends(4, "does not take these credentials", "wrong. Is the token right?")
        assert "as-wrong" not in said.err
        del user.environment["MODAL_TOKEN_SECRET"]
        user.gotoni("list", "-p", "modal").ends(4, "MODAL_TOKEN_SECRET are not set")
        place = folder() / "modal.toml"
        identity, secret = fake.state.token
        place.write_text(f'[mine]\ntoken_id = "{identity}"\ntoken_secret = "{secret}"\nactive = true\n')
        del user.environment["MODAL_TOKEN_ID"]
        with _variables(user, {"MODAL_CONFIG_PATH": str(place)}):
            user.gotoni("list").ends(0, "no machines")
        place.rename(user.path / ".modal.toml")
        user.gotoni("list").ends(0, "no machines")


def the_cloud_is_the_one_that_is_named_or_the_only_one_with_credentials() -> None:
    nowhere = {"GOTONI_LAMBDA_URL": "http://127.0.0.1:9", "GOTONI_LAMBDA_INTERVAL": "0.01"}
    lambda_key = {"LAMBDA_API_KEY": "a-key", **nowhere}
    with _account() as (user, _):
        tokens = {name: user.environment.pop(name) for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET")}
        lambda_s, modal_s = (1, "Lambda does not answer"), (0, "There are no machines")
        for option, variables, (status, words) in (
            ([], {}, (4, "There are no credentials for a cloud")),
            ([], {"MODAL_TOKEN_ID": "ak-x"}, (4, "There are no credentials for a cloud")),
            ([], lambda_key, lambda_s),
            ([], tokens, modal_s),
            ([], {**lambda_key, **tokens}, (2, "credentials for lambda and for modal: say which")),
            ([], {**lambda_key, **tokens, "GOTONI_CLOUD": ""}, (2, "say which")),
            ([], {**lambda_key, **tokens, "GOTONI_CLOUD": "modal"}, modal_s),
            ([], {**lambda_key, **tokens, "GOTONI_CLOUD": "lambda"}, lambda_s),
            (["-p", "lambda"], {**lambda_key, **tokens, "GOTONI_CLOUD": "modal"}, lambda_s),
            (["--provider", "modal"], {**lambda_key, **tokens}, modal_s),
            (["--provider", "modal"], lambda_key, (4, "MODAL_TOKEN_ID and MODAL_TOKEN_SECRET are not set")),
            ([], {**tokens, "GOTONI_CLOUD": "lambda"}, (4, "LAMBDA_API_KEY is not set")),
            (["--provider", "orgo"], tokens, (2, 'no provider "orgo"; there are lambda, modal')),
            ([], {**tokens, "GOTONI_CLOUD": "Modal"}, (2, 'no provider "Modal"')),
        ):
            with _variables(user, variables):
                user.gotoni("list", *option).ends(status, words)


def python_is_looked_for_where_it_may_be() -> None:
    with _account() as (user, _):
        del user.environment["GOTONI_MODAL_PYTHON"]
        # Beside each other, and each alone with what a script needs.
        place = folder()
        bare = _program(place / "bare" / "python3", f'exec {sys.executable} -S "$@"')
        own = _program(place / "own" / "python3", f'echo own >> {place}/asked; exec {sys.executable} "$@"')
        uv = _program(place / "uv" / "uv", f'echo "$1 $2" >> {place}/asked; shift 2; exec {sys.executable} "$@"')
        _program(place / "modal" / "modal", "", f"#!{own}")
        # As pip writes it where the path is long.
        _program(place / "long" / "modal", "", f"#!/bin/sh\n'''exec' \"{own}\" \"$0\" \"$@\"\n' '''")
        # As pyenv has it.
        _program(place / "shim" / "modal", "", "#!/usr/bin/env bash")

        def ends(status: int, words: str, asked: str, *folders: str) -> None:
            (place / "asked").write_text("")
            path = ":".join([*(str(place / each) for each in folders), "/usr/bin", "/bin"])
            with _variables(user, {"PATH": path}):
                user.gotoni("list").ends(status, words)
            assert (place / "asked").read_text() == asked, (folders, asked)

        ends(0, "no machines", "own\n", "own")
        ends(0, "no machines", "run --script\n", "uv", "own", "modal")
        ends(0, "no machines", "own\n", "modal", "bare")
        ends(0, "no machines", "own\n", "long", "bare")
        ends(0, "no machines", "own\n", "shim", "own")
        ends(1, 'pip install "modal>=1.5,<2"', "", "bare")
        ends(1, "--modal-python", "", "shim", "bare")
        user.environment["GOTONI_MODAL_PYTHON"] = str(own)
        ends(0, "no machines", "own\n", "uv")
        user.gotoni("list", "--modal-python", bare).ends(1, "has no", "uv tool install")
        user.gotoni("list", "--modal-python", place / "nobody").ends(1, "before it was ready", "nobody", "pip install")
        user.gotoni("list", "--modal-python", "/bin/false").ends(1, "before it was ready")
        assert uv.exists()


def _program(path: pathlib.Path, line: str, first: str = "#!/bin/sh") -> pathlib.Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{first}\n{line}\n")
    path.chmod(0o755)
    return path


def the_helper_is_for_nobody_else_and_the_newest() -> None:
    with _account() as (user, _):
        user.gotoni("list").ends(0)
        (script,) = (user.path / ".cache" / "gotoni").iterdir()
        assert script.stat().st_mode & 0o777 == 0o600 and script.parent.stat().st_mode & 0o777 == 0o700
        wanted = script.read_bytes()
        assert wanted == pathlib.Path(os.environ["MODAL_HELPER"]).read_bytes()
        script.write_bytes(b"raise SystemExit(3)\n")
        user.gotoni("list").ends(0)
        assert script.read_bytes() == wanted and len(list(script.parent.iterdir())) == 1
        with _variables(user, {"XDG_CACHE_HOME": "/proc/none"}):
            user.gotoni("list").ends(1, "/proc/none/gotoni cannot be made")


def a_helper_that_dies_is_said_with_what_it_said() -> None:
    with _account() as (user, fake):
        with _creating(user, fake) as (gotoni, pids):
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            _, errors = gotoni.communicate(timeout=20)
            assert gotoni.returncode == 1 and "ended in the middle of its work" in errors, errors
        dying = _program(folder() / "python", 'echo \'{"event": "hello"}\'; echo "out of memory" >&2; exit 3')
        user.gotoni("list", "--modal-python", dying).ends(1, "in the middle of its work", "out of memory")


def a_helper_that_reads_no_more_is_not_written_to() -> None:
    with _account() as (user, _):
        hello, rates = '{"event": "hello"}', '{"id": 1, "ok": {"rates": {}}}'
        deaf = _program(folder() / "python", f"echo '{hello}'; read line; exec <&-; echo '{rates}'; exec sleep 60")
        user.gotoni("launch", "a", "-t", "cpu", "-y", "--modal-python", deaf).ends(1, "in the middle of its work")


def nothing_is_left_of_a_gotoni_that_dies() -> None:
    with _account() as (user, fake):
        with _creating(user, fake) as (gotoni, pids):
            gotoni.kill()
            until("the helper has ended", lambda: not any(alive(pid) for pid in pids), 20)
            assert not fake.running()


def a_helper_that_does_not_do_as_it_should_is_ended_with_all_that_it_started() -> None:
    hello = "echo '{\"event\": \"hello\"}'; read line; "
    with _account() as (user, _):
        for lines, status, words in (
            ("echo nonsense", 1, "not understood"),
            ("echo '{\"error\": \"modal-version\", \"message\": \"too old\"}'", 1, "too old"),
            (hello + "head -c 20000000 /dev/zero", 1, "says more than is wanted"),
            (hello + "echo '{\"id\": 1, \"ok\": {}}'; exec cat", 1, "answer that is not understood"),
            (hello + "exec >&-", 1, "in the middle of its work"),
            # It does not end when its input does.
            (hello + "echo '{\"id\": 1, \"ok\": {\"sandboxes\": []}}'", 0, "no machines"),
        ):
            place = folder()
            # It holds what the helper's errors go to.
            start = f"sleep 60 > /dev/null & echo $$ $! > {place}/pids; "
            python = _program(place / "python", start + lines + "; sleep 60")
            user.gotoni("list", "--modal-python", python).ends(status, words)
            pids = [int(word) for word in (place / "pids").read_text().split()]
            assert len(pids) == 2
            until("nothing of it is left", lambda: not any(alive(pid) for pid in pids))


def commands_run_in_a_sandbox() -> None:
    with _account() as (user, _):
        user.gotoni("launch", "a", "-t", "cpu", "-y").ends(0)
        assert user.gotoni("run", "a", "--", "printf", "%s|", "it's", "$HOME; *").ends(0).out == "it's|$HOME; *|\n"
        assert user.gotoni("run", "a", "echo $((6 * 7)); echo aside >&2; exit 7").ends(7).out == "42\naside\n"
        user.gotoni("run", "a", "kill -9 $$").ends(137)
        user.gotoni("run", "a", "sleep 60", "--timeout", "1s").ends(124)
        said = user.gotoni("run", "a", "echo yes", "--json").ends(0).json()["machines"]
        assert [(each["machine"], each["status"], each["output"]) for each in said] == [("a", 0, "yes\n")]
        user.gotoni("run", "b", "true").ends(5, 'no machine "b"')
        for words in (["connect", "a"], ["cp", "a:x", "y"], ["forward", "a", "8000"]):
            user.gotoni(*words).ends(2, "sandbox without ssh")
