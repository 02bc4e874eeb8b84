"""Deploying, and the commands on other machines."""

from __future__ import annotations

import functools
import pathlib
import tarfile

from home import Home, alive, folder, process
from machines import Machines, machines, make_key
from tokenizer_process import SERVICE, model


@functools.cache
def _package() -> pathlib.Path:
    path = folder() / "gotoni-tokenizer.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("README.md", "pyproject.toml", "gotoni_tokenizer"):
            tar.add(SERVICE / name, f"gotoni-tokenizer/{name}", filter=lambda it: None if "__pycache__" in it.name else it)
    return path


def deploying_twice_does_everything_once() -> None:
    with machines() as given:
        if given is None:
            return
        user, pair = given
        first, second = pair.users
        place = model()
        # One after the other, so that it shows what a machine of several lacks.
        deploy = ["deploy", "--model", place, "--package", _package(), *pair.options()]
        one, two = ([*deploy, name] for name in pair.names)

        plan = user.run(*one, "--dry-run").ends(0, "would send package, send models/tiny, install, start")
        assert "0/1 hosts" in plan.out and not (first.path / ".local").exists(), plan
        words = user.run(*one).ends(0, "1/1 hosts have the tokenizer running", "done: send package, send models/tiny")
        assert f"{pair.names[0]}: installing\n" in words.err and "installing" not in words.out, words
        sent = first.path / ".local/share/gotoni/tokenizer/models/tiny"
        assert sorted(path.name for path in sent.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
        pid = first.pid()

        assert not user.run(*one, "--dry-run").ends(0, "nothing to do").err
        assert not user.run(*one).ends(0, "tiny, ", "; unchanged").err
        assert first.pid() == pid

        # Both at once: the second is made, the first is left.
        document = user.run(*deploy, *pair.names, "--json").ends(0).json()
        assert (document["running"], document["total"]) == (2, 2)
        assert [host["name"] for host in document["hosts"]] == pair.names
        assert "unchanged" in document["hosts"][0]["info"] and "install" in document["hosts"][1]["info"]
        assert first.pid() == pid

        # Another model: only that is sent, and the service is another.
        (place / "tokenizer_config.json").write_text('{"model_max_length": 8192}')
        words = user.run(*one).ends(0, "done: send models/tiny, stop, start")
        assert "installing" not in words.err and not alive(pid) and first.pid() != pid

        on = ["--on", *pair.names, *pair.options()]
        user.run("status", *on).ends(0, "2/2 hosts", *pair.names)
        user.run("test", "hello world", *on).ends(0, f"{pair.names[0]}: model tiny", f"{pair.names[1]}: model")
        hosts = user.run("test", "hello world", "--json", *on).ends(0).json()["hosts"]
        assert [host["texts"][0]["tokens"] for host in hosts] == [[1, 2], [1, 2]]
        user.run("stop", "--on", pair.names[1], *pair.options()).ends(0, "stopped, process ")
        user.run("status", *on).ends(7, "1/2 hosts", "not_running")
        user.run("test", "hello", *on).ends(7, "Nobody answers")
        # A model that was deployed has its name there.
        user.run("start", "--model", "tiny", *on).ends(0, "it ran already", "process ")
        user.run(*two).ends(0, "done: send models/tiny, stop, start")
        user.run("stop", *on).ends(0)
        user.run("status", *on).ends(1, "0/2 hosts")

        # Connections and files of the run are gone; the pair' keys are in a file of our own.
        assert len((user.path / ".config/gotoni/known_hosts").read_text().splitlines()) == 2

        _failures(user, pair, deploy)
        _systemd(user, pair, one)


def _failures(user: Home, pair: Machines, deploy: list[object]) -> None:
    first, second = pair.names
    words = user.run(*deploy, first, "nobody@127.0.0.3").ends(7, "nobody@127.0.0.3 cannot be reached by ssh", "1/2 hosts")
    assert "Connection refused" in words.err and "error" in words.out, words
    user.run("status", "--on", "nobody@127.0.0.3", *pair.options()).ends(1, "cannot be reached", "error")
    user.run("status", "--on", "no.such.invalid").ends(1, "cannot be reached")
    other = folder() / "key"
    make_key(other)
    user.run("status", "--on", first, "--identity", other, "--ssh-port", pair.port).ends(1, "Permission denied")

    on = [*pair.options(), second]
    user.run("deploy", "--model", "/nowhere", *on).ends(1, "package is not beside gotoni")
    user.run("deploy", "--model", "/nowhere", "--package", _package(), *on).ends(1, "There is no model /nowhere here")
    user.run("deploy", "--model", folder(), "--package", _package(), *on).ends(1, "neither a tokenizer.json")
    user.run("deploy", "--model", f"../x={model()}", "--package", _package(), *on).ends(1, "is no name for a model")
    user.run("deploy", "--model", "no/name", "--package", _package(), *on).ends(1, "ended at once", "no such folder")
    user.run("deploy", "--model", "no/name", "--package", model() / "tokenizer.json", *on).ends(1, "cannot be unpacked")
    broken = folder() / "package.tar.gz"
    with tarfile.open(broken, "w:gz") as tar:
        (folder_ := folder() / "pyproject.toml").write_text("not TOML")
        tar.add(folder_, "pyproject.toml")
    words = user.run("deploy", "--model", model(), "--package", broken, *on).ends(1, "Installing with pip failed")
    assert 1 <= sum(line.startswith("  ") for line in words.err.splitlines()) <= 10, words
    # What was broken is made good by the next.
    user.run(*deploy, second).ends(0, "done: send package, send models/tiny, install")

    # A machine without a Python that will do.
    old = pair.stubs / "python3"
    old.write_text('#!/bin/sh\necho "Python 3.7.1"\nexit 1\n')
    old.chmod(0o755)
    user.run(*deploy, first).ends(1, "Looking what is there failed", "Python 3.7.1 is too old")
    old.unlink()

    # A machine with the name of one and the key of another.
    known = user.path / ".config/gotoni/known_hosts"
    before = known.read_text()
    lines = [line.split(" ", 1) for line in before.splitlines()]
    known.write_text(f"{lines[0][0]} {lines[1][1]}\n{lines[1][0]} {lines[0][1]}\n")
    user.run("status", "--on", first, *pair.options()).ends(4, "has another host key than before", "ssh-keygen -f")
    known.write_text(before)


def _systemd(user: Home, pair: Machines, one: list[object]) -> None:
    """Where the user's systemd answers, it is what runs the service."""
    user.run("stop", "--on", pair.names[0], *pair.options()).ends(0)
    log = pair.stubs / "log"
    sources = {
        "loginctl": f'echo "loginctl $*" >> {log}',
        "systemd-run": f'echo "systemd-run $*" >> {log}\nwhile [ "$1" != -- ]; do shift; done; shift\n'
        f'setsid "$@" </dev/null >>"$HOME/.local/state/gotoni/tokenizer.log" 2>&1 & echo $! > {pair.stubs}/pid',
        "systemctl": f'echo "systemctl $*" >> {log}; cat {pair.stubs}/pid',
    }
    for name, source in sources.items():
        (pair.stubs / name).write_text(f"#!/bin/sh\n{source}\n")
        (pair.stubs / name).chmod(0o755)
    user.run(*one).ends(0, "done: start")
    said = log.read_text().splitlines()
    assert said[0] == "loginctl enable-linger" and "--user" in said[1] and "MainPID" in said[2], said
    assert int((pair.stubs / "pid").read_text()) == pair.users[0].pid()
    user.run("stop", "--on", pair.names[0], *pair.options()).ends(0, "stopped")
