"""The units are what systemd takes, and what the programs do."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
from typing import Any

import material
import programs
from material import DEPLOY, flags_are_known, in_force, said, seconds, temporary
from programs import Engine, Gateway, Proxy, chat, started, until
from wire import ask

_UNPRIVILEGED = ["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
PROGRAMS = {"gotoni-proxy": "proxy.yaml", "gotoni-lb": "lb.yaml"}
# systemd-analyze gives 0 (best) to 100.
MOST_EXPOSED = 20


def units_have_no_fault_that_systemd_knows() -> None:
    for program in PROGRAMS:
        text = _unit(program)
        assert not _verified(program, text), _verified(program, text)
        for fault in (text.replace("ProtectClock=", "ProtectClocks="), text.replace(f"/{program} --", "/nothing --")):
            assert _verified(program, fault), "a fault in a unit went unnoticed"


def units_are_as_closed_as_they_say() -> None:
    for program in PROGRAMS:
        path = str(temporary(f"{program}.service", _unit(program)))
        command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", path]
        assert "Overall exposure level" in said(command)


def both_units_differ_in_their_program_only() -> None:
    """Lines of the one that the other has not: what it is, what is started, its secrets and the word on them."""
    proxy, balancer = (set(setting.splitlines()) for setting in map(_unit, PROGRAMS))
    assert len(proxy - balancer) == len(balancer - proxy) == 4, (proxy ^ balancer)


def what_is_started_takes_its_options_and_file() -> None:
    for program, file in PROGRAMS.items():
        (command,) = re.findall(r"^ExecStart=(.*)", _unit(program), re.M)
        name, *words = command.split()
        assert pathlib.Path(name) == material.BIN / program, name
        flags_are_known(program, words)
        assert words == ["--config", f"/etc/gotoni/{file}"], words
        settings = _configured(program)
        assert settings["listen"] and (settings.get("server") or settings.get("peer")), settings


def systemd_waits_longer_than_requests_may_take() -> None:
    for program in PROGRAMS:
        assert _number(program, "TimeoutStopSec") > seconds(_configured(program)["drain-timeout"])


def connections_have_files_enough() -> None:
    for program in PROGRAMS:
        assert _number(program, "LimitNOFILE") > 2 * _configured(program)["max-connections"]


def secrets_of_the_environment_are_those_of_the_programs() -> None:
    for program in PROGRAMS:
        named = set(re.findall(r"GOTONI_\w+", _unit(program)))
        assert named and all(name in material.help_of(program) for name in named), named


def wrong_options_are_not_tried_again() -> None:
    for program in PROGRAMS:
        said([str(material.BIN / program), "--no-such-option"], status=_number(program, "RestartPreventExitStatus"))


def there_is_no_reload() -> None:
    """So the units have none."""
    assert not any("ExecReload" in _unit(program) for program in PROGRAMS)
    engine = Engine()
    # As systemd starts it, and not as whoever runs the tests may have left it (nohup).
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with started(engine):
        proxy = Proxy(servers=[engine.url])
        proxy.signal(signal.SIGHUP)
        assert proxy.wait() == -signal.SIGHUP


def requests_are_served_without_any_privilege() -> None:
    """As by the user and with the capabilities that systemd and Kubernetes give them: none."""
    engine = Engine()
    with started(engine):
        for program, role in (("gotoni-proxy", "--server"), ("gotoni-lb", "--engine")):
            command = [str(material.BIN / program), "--listen", "127.0.0.1:0", role, engine.url]
            gateway = Gateway([*_UNPRIVILEGED, *command] if os.geteuid() == 0 else command)
            with started(gateway):
                until(f"{program} is up", lambda: ask(gateway.port, "GET", "/health").status == 200)
                assert gateway.chat("hello").status == 200
                assert gateway.stop() == 0


def no_system_call_is_made_that_is_filtered() -> None:
    """While requests are served, whole and streamed, and at the end."""
    allowed = (_calls("@default") | _calls("@system-service")) - _calls("@privileged")
    log = temporary("calls", "")
    engine = Engine()
    with started(engine):
        # -D: the process that is started is the proxy, and not strace.
        trace = ["strace", "-D", "-f", "-qq", "-o", str(log)]
        proxy = Gateway([*trace, programs.PROXY, "--listen", "127.0.0.1:0", "--server", engine.url])
        with started(proxy):
            proxy.until_up(1)
            for stream in (False, True):
                body = chat("hello", stream=stream)
                assert ask(proxy.port, "POST", "/v1/chat/completions", body).status == 200
            assert proxy.stop() == 0
    made = set(re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.M))
    assert {"epoll_wait", "accept4", "execve"} & made, f"these are not all: {made}"
    assert made <= allowed, made - allowed


def _unit(program: str) -> str:
    """With the programs where they are here."""
    text = (DEPLOY / f"systemd/{program}.service").read_text()
    assert text.count("/usr/local/bin/") == 1
    return text.replace("/usr/local/bin", str(material.BIN))


def _number(program: str, key: str) -> int:
    (value,) = re.findall(rf"^{key}=(\d+)$", _unit(program), re.M)
    return int(value)


def _configured(program: str) -> dict[str, Any]:
    path = str(DEPLOY / "systemd" / PROGRAMS[program])
    return in_force(program, ["--config", path], {"GOTONI_MESH_KEY": "key"})


def _verified(program: str, text: str) -> str:
    """What systemd says of it; it says nothing of what is right."""
    path = str(temporary(f"{program}.service", text))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def _calls(group: str) -> set[str]:
    """System calls of a group of systemd's, and of the groups in it."""
    lines = said(["systemd-analyze", "syscall-filter", group]).splitlines()[1:]
    found: set[str] = set()
    for word in (line.strip() for line in lines):
        if word and not word.startswith("#"):
            found |= _calls(word) if word.startswith("@") else {word}
    return found
