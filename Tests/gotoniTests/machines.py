"""Two machines: each an sshd of its own on loopback, with its own home."""

from __future__ import annotations

import contextlib
import getpass
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

from home import Home, folder, home, process, until

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/sbin")
# What the machines' own shells get; pip is set up as it is here.
CARRIED = ("PIP_", "SSL_", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class Machines:
    """Both in one folder; `users` are their homes, `names` what ssh calls them. They let in who has the private half of
    `allowed`, or of a key of their own."""

    def __init__(self, stack: contextlib.ExitStack, allowed: pathlib.Path | None = None) -> None:
        self.users = [stack.enter_context(home()) for _ in range(2)]
        self.port = _free_port()
        self.names = [f"{getpass.getuser()}@127.0.0.{index + 1}" for index in range(2)]
        self.key = folder() / "key"
        make_key(self.key)
        self.allowed = allowed or pathlib.Path(f"{self.key}.pub")
        # Programs that a machine finds first: of all, and of each.
        self.stubs = folder()
        self.own_stubs = [folder() for _ in self.users]
        self.running = [stack.enter_context(contextlib.ExitStack()) for _ in self.users]
        for index in range(len(self.users)):
            self.start(index)

    def start(self, index: int, has_new_key: bool = False) -> None:
        """Its sshd, after it was ended."""
        self.running[index].enter_context(self._sshd(index, has_new_key))

    def end(self, index: int) -> None:
        """Its sshd, and with it all connections; what was started there goes on."""
        self.running[index].close()

    @contextlib.contextmanager
    def _sshd(self, index: int, has_new_key: bool) -> Iterator[None]:
        place, user = folder(), self.users[index]
        key = user.path / "host"
        if has_new_key:
            key.unlink()
            key.with_suffix(".pub").unlink()
        if not key.exists():
            make_key(key)
        variables = {
            "HOME": user.path,
            "XDG_RUNTIME_DIR": user.path / "run",
            "HF_HUB_OFFLINE": "1",
            "PATH": f"{self.own_stubs[index]}:{self.stubs}:{pathlib.Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin",
            **{name: value for name, value in os.environ.items() if name.startswith(CARRIED)},
        }
        settings = [
            f"Port {self.port}",
            f"ListenAddress 127.0.0.{index + 1}",
            f"HostKey {key}",
            f"AuthorizedKeysFile {self.allowed}",
            f"PidFile {place}/pid",
            "PasswordAuthentication no",
            "UsePAM no",
            "StrictModes no",
            "Subsystem sftp internal-sftp",
            "SetEnv " + " ".join(f'"{name}={value}"' for name, value in variables.items()),
        ]
        (place / "config").write_text("\n".join(settings) + "\n")
        with (place / "log").open("wb") as log:
            with process(SSHD, "-D", "-e", "-f", place / "config", stderr=log, start_new_session=True) as daemon:
                until("sshd listens", lambda: _listens(f"127.0.0.{index + 1}", self.port))
                sessions = set()
                try:
                    yield
                finally:
                    sessions = _children(daemon.pid)
            for session in sessions:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(session, signal.SIGKILL)

    def options(self) -> list[object]:
        return ["--identity", self.key, "--ssh-port", self.port]


def _children(pid: int) -> set[int]:
    """The processes that this one has forked: of an sshd, its connections."""
    found = set()
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        found |= {int(each) for each in task.read_text().split()}
    return found | {each for child in found for each in _children(child)}


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
def machines(of_its_own_key: bool = False) -> Iterator[tuple[Home, Machines] | None]:
    """None where there is no sshd. `of_its_own_key`: they let in the key that gotoni makes."""
    if SSHD is None:
        print("  SKIPPED: there is no sshd here (Debian: apt install openssh-server)", flush=True)
        yield None
        return
    if os.geteuid() == 0:
        pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        user = stack.enter_context(home())
        own = user.path / ".config" / "gotoni" / "keys" / "id_ed25519.pub"
        yield user, Machines(stack, own if of_its_own_key else None)
