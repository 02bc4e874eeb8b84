"""The commands of the first gotoni's README, to the letter, against machines that are real to ssh: with the ports that they
have by default, so in a network of their own."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import pty
import re
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator

from accounts import INTERVAL
from clusters import KEY, ask, light
from containers import containers
from home import GOTONI, Home, Said, process, until
from lambda_cloud import LambdaCloud
from machines import Machines, machines

PORTS = (8000, 8080, 9000)
MODEL = "Qwen/Qwen3-8B"
STATS = [
    *("Nodes", "Leaves", "Max depth", "Avg depth", "Avg branching", "Avg prefix length"),
    *("Total server refs", "Unique servers"),
]
_NEW_NETWORK = 0x40000000
_SIOCSIFFLAGS, _UP = 0x8914, 0x1


@contextlib.contextmanager
def _network() -> Iterator[bool]:
    """One of its own, with loopback only, for what is begun in it; for who may not, the one that is there. False: some of
    PORTS is taken there."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/proc/self/task/{threading.get_native_id()}/ns/net") as before:
        if libc.unshare(_NEW_NETWORK) != 0:
            assert ctypes.get_errno() in (errno.EPERM, errno.ENOSYS, errno.EINVAL), os.strerror(ctypes.get_errno())
            yield all(map(_is_free, PORTS))
            return
        try:
            with socket.socket() as any_socket:
                fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _UP))
            yield True
        finally:
            assert libc.setns(before.fileno(), _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def _account() -> Iterator[tuple[Home, Machines, LambdaCloud] | None]:
    with contextlib.ExitStack() as stack:
        if not stack.enter_context(_network()):
            print(f"  SKIPPED: some of the ports {PORTS} is taken, and only root has a network of its own", flush=True)
            yield None
            return
        found = stack.enter_context(machines(of_its_own_key=True))
        if found is None:
            yield None
            return
        user, hosts = found
        # Private addresses that this machine has.
        cloud = stack.enter_context(
            LambdaCloud(key=KEY, boot_seconds=0.05, end_seconds=0.05, private_network="127.20.0.0")
        )
        user.environment |= {
            "LAMBDA_API_KEY": KEY,
            "GOTONI_LAMBDA_URL": cloud.url,
            "GOTONI_LAMBDA_INTERVAL": INTERVAL,
            "GOTONI_SSH_PORT": str(hosts.port),
            "GOTONI_SSH_USER": hosts.names[0].split("@")[0],
            "PATH": f"{light().parent}:{os.environ['PATH']}",
        }
        yield user, hosts, cloud


def _shell(user: Home, line: str, answer: str | None = None) -> Said:
    """`line` as a shell runs it; with `answer` typed on a terminal."""
    keyboard, terminal = pty.openpty()
    try:
        if answer is not None:
            os.write(keyboard, answer.encode())
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=user.path,
            env=user.environment,
            stdin=terminal if answer is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        os.close(keyboard)
        os.close(terminal)
    return Said(done.returncode, done.stdout, done.stderr)


def the_readmes_commands_do_what_they_did() -> None:
    with _account() as found:
        if found is None:
            return
        user, hosts, cloud = found
        cloud.set_capacity("gpu_8x_h100_sxm5", "us-west-2", 1)
        with containers(hosts):
            _they_rent(user, cloud)
            # The other lines know machines by other names.
            _shell(user, "gotoni kill my-node --yes && gotoni rename big-cluster west_1").ends(0)
            _shell(user, "gotoni launch west_2 --type gpu_1x_a100 --region us-west-2 --yes").ends(0)
            until("my-node is gone", lambda: "my-node" not in _shell(user, "gotoni list").out)
            _they_serve(user)


def _they_rent(user: Home, cloud: LambdaCloud) -> None:
    _shell(user, "gotoni available").ends(0, "gpu_1x_a100", "us-east-1", "$1.29")
    launch = "gotoni launch --type gpu_1x_a100 --name my-node --region us-east-1"
    _shell(user, launch).ends(2, "Say --yes")
    _shell(user, launch, answer="n\n").ends(1, "[y/N]", "Nothing was done")
    assert not cloud.launches()
    _shell(user, launch, answer="y\n").ends(0, "$1.29 an hour", "[y/N]", "my-node", "active")
    said = _shell(user, "gotoni launch --type gpu_8x_h100 --name big-cluster --region us-west-2", answer="y\n")
    said.ends(0, "1 x gpu_8x_h100_sxm5 in us-west-2", "[y/N]", "big-cluster", "active")
    _shell(user, "GOTONI_SSH_PORT=x gotoni run --json my-node true").ends(2, "A port of SSH is from 1 to 65535")
    # Of two such types neither is meant.
    _shell(user, "gotoni launch --type gpu_8x --name big-cluster --region us-west-2 --yes").ends(5, "no type gpu_8x;")


def _they_serve(user: Home) -> None:
    said = _shell(user, "gotoni cluster setup").ends(0, "west_1", "west_2", "1 peers answer", "runs, answers at")
    hosts = sorted(set(re.findall(r"answers at (127\.20\.\S+):8000", said.out)))
    assert len(hosts) == 2, said
    for host in hosts:
        ask(f"http://{host}:8000", "hello " * 300, model=MODEL)
    _shell(user, "gotoni cluster flush-cache").ends(0, "emptied", "forgot")
    _shell(user, "gotoni cluster restart-lb --strategy prefix-tree --max-concurrent 50").ends(0, "done")
    _shell(user, "gotoni cluster status").ends(0, "strategy prefix-tree")
    _shell(user, "gotoni cluster start-trace").ends(0, "runs")
    ask(f"http://{hosts[0]}:8000", "traced", model=MODEL)
    _shell(user, "gotoni cluster stop-trace").ends(0, "written:")
    _shell(user, "gotoni cluster upload && gotoni cluster restart-lb").ends(0, "gotoni-lb", "held", "done")
    _shell(user, "gotoni proxy deploy west_2 --listen-port 9000").ends(0, ":9000")
    ask("http://127.0.0.1:9000", "through the proxy", model=MODEL)
    # The one on port 9000: it has seen one request.
    status = _shell(user, "gotoni proxy --remote west_2 status").ends(0, "west_1", "west_2")
    assert re.search(r"^Handled: +1$", status.out, re.MULTILINE), status
    _shell(user, "gotoni proxy --remote west_2 clear-cache").ends(0)
    # A proxy of this machine's.
    engines = [word for host in hosts for word in ("--server", f"http://{host}:8080")]
    proxy = GOTONI.rpartition("/")[0] + "/gotoni-proxy"
    with process(proxy, "--listen", "127.0.0.1:8000", *engines, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        until("it answers", lambda: _shell(user, "gotoni proxy status").status == 0)
        ask("http://127.0.0.1:8000", "to the proxy " * 300, model=MODEL)
        lines = _shell(user, "gotoni proxy prefix-stats").ends(0).out.splitlines()
    stats = dict(re.split(r":\s*", line) for line in lines)
    assert list(stats) == STATS and float(stats["Nodes"]) >= 1 and stats["Unique servers"] == "1", lines
