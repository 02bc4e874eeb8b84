"""Two machines: each an sshd of its own on loopback, with its own home."""

from __future__ import annotations

import contextlib
import getpass
import os
import pathlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator

from home import Home, folder, home, process, until

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/sbin")
# What the machines' own shells get; pip is set up as it is here.
CARRIED = ("PIP_", "SSL_", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class Machines:
    """Both in one folder; `users` are their homes, `names` what ssh calls them."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.users = [stack.enter_context(home()) for _ in range(2)]
        self.port = _free_port()
        self.names = [f"{getpass.getuser()}@127.0.0.{index + 1}" for index in range(2)]
        self.key = folder() / "key"
        make_key(self.key)
        self.stubs = folder()
        for index, user in enumerate(self.users):
            stack.enter_context(self._sshd(index, user))

    @contextlib.contextmanager
    def _sshd(self, index: int, user: Home) -> Iterator[None]:
        place = folder()
        make_key(place / "host")
        variables = {
            "HOME": user.path,
            "XDG_RUNTIME_DIR": user.path / "run",
            "HF_HUB_OFFLINE": "1",
            "PATH": f"{self.stubs}:{pathlib.Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin",
            **{name: value for name, value in os.environ.items() if name.startswith(CARRIED)},
        }
        settings = [
            f"Port {self.port}",
            f"ListenAddress 127.0.0.{index + 1}",
            f"HostKey {place}/host",
            f"AuthorizedKeysFile {self.key}.pub",
            f"PidFile {place}/pid",
            "PasswordAuthentication no",
            "UsePAM no",
            "StrictModes no",
            "SetEnv " + " ".join(f'"{name}={value}"' for name, value in variables.items()),
        ]
        (place / "config").write_text("\n".join(settings) + "\n")
        with (place / "log").open("wb") as log, process(SSHD, "-D", "-e", "-f", place / "config", stderr=log):
            until("sshd listens", lambda: _listens(f"127.0.0.{index + 1}", self.port))
            yield

    def options(self) -> list[object]:
        return ["--identity", self.key, "--ssh-port", self.port]


def make_key(path: pathlib.Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


@contextlib.contextmanager
def machines() -> Iterator[tuple[Home, Machines] | None]:
    """None where there is no sshd."""
    if SSHD is None:
        print("  SKIPPED: there is no sshd here (Debian: apt install openssh-server)", flush=True)
        yield None
        return
    if os.geteuid() == 0:
        pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(home()), Machines(stack)
