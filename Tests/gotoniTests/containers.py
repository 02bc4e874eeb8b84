"""Machines with GPUs and Docker, as far as cluster.sh can tell: fakes/docker.py."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import sys
from collections.abc import Iterator

from home import GOTONI, Home, alive
from machines import Machines

DRIVER = "570.124.06"
# sudo without a password, as on a cloud's machines; systemd is only asked to start Docker.
SUDO = """#!/bin/sh
[ "$1" = -n ] || exit 1
shift
echo "sudo $*" >>"$HOME/docker/sudo"
GOTONI_FAKE_ROOT=1 exec "$@"
"""
SYSTEMCTL = """#!/bin/sh
[ "$*" = "start docker" ] || exec /usr/bin/systemctl "$@"
[ -n "$GOTONI_FAKE_ROOT" ] && rm -f "$HOME/docker/down"
"""


class Docker:
    """Of one machine."""

    def __init__(self, user: Home) -> None:
        self.path = user.path / "docker"
        self.path.mkdir()

    def calls(self, first: str) -> list[list[str]]:
        """The words of those that began so."""
        log = self.path / "log"
        found = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [words for words in found if words[0] == first]

    def set(self, name: str, text: str = "") -> None:
        (self.path / name).write_text(text)

    def pid(self) -> int:
        return int(json.loads((self.path / "container").read_text())["pid"])

    def end(self) -> None:
        if (self.path / "container").exists() and (pid := self.pid()) and alive(pid):
            os.kill(pid, signal.SIGKILL)


def program(folder: pathlib.Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def driver(folder: pathlib.Path, version: str, gpus: int = 1) -> None:
    program(folder, "nvidia-smi", "#!/bin/sh\n" + f"echo '{version}, NVIDIA H100'\n" * gpus)


@contextlib.contextmanager
def containers(hosts: Machines) -> Iterator[list[Docker]]:
    fake = pathlib.Path(__file__).parent / "fakes" / "docker.py"
    engine = pathlib.Path(GOTONI).parent / "gotoni-engine"
    program(hosts.stubs, "docker", f'#!/bin/sh\nGOTONI_FAKE_ENGINE={engine} exec {sys.executable} -IS {fake} "$@"\n')
    program(hosts.stubs, "sudo", SUDO)
    program(hosts.stubs, "systemctl", SYSTEMCTL)
    # A model and its image want room, which is not to be looked for here.
    program(hosts.stubs, "df", "#!/bin/sh\necho; echo / 99999999 1 99999999 1% /\n")
    driver(hosts.stubs, DRIVER)
    made = [Docker(user) for user in hosts.users]
    try:
        yield made
    finally:
        for each in made:
            each.end()
