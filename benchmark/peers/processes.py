"""Programs that this benchmark starts, what they cost, and their end. Only those it started are ever ended."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
from typing import IO, Callable, Sequence

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
STOP_S = 2.0
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

PROXIES = ("http_proxy", "https_proxy", "all_proxy")
IN_OWN_NETWORK = "GOTONI_BENCH_NETWORK"  # set in the environment of who is


class BenchError(Exception):
    """One sentence about why there is no measurement."""


class Program:
    """A running program and its children."""

    def __init__(self, name: str, command: Sequence[object], log: pathlib.Path, at_our_death: str = "KILL") -> None:
        self.name = name
        self.command = [str(word) for word in command]
        self.log = log
        # If this benchmark is killed the program ends too. Its own children do not, unless it ends them at `at_our_death`.
        guarded = guarded_command(self.command, at_our_death)
        self.output: IO[bytes] = log.open("wb")
        self.process = subprocess.Popen(
            guarded,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def check(self) -> None:
        if self.process.poll() is not None:
            raise BenchError(f"{self.name} ended with status {self.process.returncode}:\n{self.last_words()}")

    def last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def stop(self) -> None:
        """Also of its children, those too that it left behind. Raises nothing: others are stopped after it."""
        with contextlib.suppress(OSError):
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_S)
        with contextlib.suppress(OSError):  # nobody is left
            os.killpg(self.process.pid, signal.SIGKILL)  # a group of its own: see start_new_session
        self.process.wait()
        self.output.close()

    def usage(self) -> Usage:
        return usage_of(self.process.pid)


@dataclasses.dataclass(frozen=True)
class Usage:
    """Of a process and all its descendants."""

    cpu_s: float
    rss_mb: float
    threads: int


def usage_of(root: int) -> Usage:
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = stat_fields(int(entry.name))
            if fields:
                parents[int(entry.name)] = int(fields[1])
                ticks[int(entry.name)] = sum(int(field) for field in fields[11:15])  # utime stime cutime cstime
    family = [pid for pid in parents if is_descendant(pid, root, parents)]
    memory = [status_field(pid, "VmRSS") for pid in family]
    threads = [status_field(pid, "Threads") for pid in family]
    return Usage(sum(ticks[pid] for pid in family) / TICKS_PER_SECOND, sum(memory) / 1024, sum(threads))


def stat_fields(pid: int) -> list[str]:
    """Everything behind the name of the program; nothing if the process has ended meanwhile."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def status_field(pid: int, name: str) -> int:
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def is_descendant(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid != root:
        pid = parents.get(pid, 0)
        if pid == 0:
            return False
    return True


def end_on_signals(status: Callable[[int], int] = lambda _: 2) -> None:
    """Ctrl-C, SIGTERM and SIGHUP end this script with that status, so that what it started is ended, and only once."""
    under_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    wanted = [each for each in ENDING if not (each == signal.SIGHUP and under_nohup)]

    def end(number: int, _: object) -> None:
        for each in wanted:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(status(number))

    for each in wanted:
        signal.signal(each, end)


def go_on_in_own_network() -> None:
    """Starts this script again in a network namespace of its own, if it is not in one: nobody outside reaches what it
    starts, no port is taken, and the namespace ends with the last process in it. Users need no rights for it where they
    may make namespaces. Errors: BenchError."""
    if IN_OWN_NETWORK in os.environ:
        output_of(["ip", "link", "set", "lo", "up"], 10)
        return
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = [program("unshare"), *user, "--net", "--"]
    output_of([*command, "true"], 10)  # says so in a sentence where it is forbidden
    # No proxy can be reached from there, and some routers would ask one for their servers on 127.0.0.1.
    kept = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}
    os.execve(command[0], [*command, sys.executable, *sys.argv], {**kept, IN_OWN_NETWORK: "1"})


def program(name: str) -> str:
    """Daemons are often not on the path of those who are not root."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise BenchError(f"there is no program {name}")
    return found


def guarded_command(words: list[str], at_our_death: str) -> list[str]:
    """A signal that ends this script may come while a program is being started, before anybody has its number."""
    return ["setpriv", "--pdeathsig", at_our_death, "--", program(words[0]), *words[1:]]


def output_of(command: Sequence[object], limit_s: float) -> str:
    """What a program prints that ends by itself, or with this script. Errors: BenchError."""
    words = [str(word) for word in command]
    guarded = guarded_command(words, "KILL")
    try:
        done = subprocess.run(guarded, check=False, capture_output=True, text=True, timeout=limit_s)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{words[0]}: {error}") from error
    if done.returncode != 0:
        raise BenchError(f"{' '.join(words)}\nended with status {done.returncode}\n{done.stderr.strip()}")
    return done.stdout


def free_ports(count: int) -> list[int]:
    """Nobody else's now; held open together so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
