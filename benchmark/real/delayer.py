"""Distance between network namespaces: a TUN pair per region, and every packet held back for half a round trip.

    python3 delayer.py PID:10.87.1:40 PID:10.87.2:80      # a process in the namespace, its /24, milliseconds one way

This namespace gets the addresses 10.87.x.1, that of process PID gets 10.87.x.2. Whole IP packets pass, so handshakes, slow
start, acknowledgements and idle connections cost what they cost over a real distance. Nothing is lost, and nothing limits the
rate. Prints "ready" when the addresses are up.
"""

from __future__ import annotations

import collections
import ctypes
import dataclasses
import fcntl
import os
import select
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN_WITHOUT_HEADER = 0x0001 | 0x1000
CLONE_NEWNET = 0x40000000
QUEUE_PACKETS = 10_000  # of the device; the way itself holds what a window holds
MOST_PACKETS = 100_000  # on one way; more are dropped, as a router would
LARGEST_PACKET = 65536


@dataclasses.dataclass
class Way:
    """One direction: what has been read on one side and is not written on the other yet."""

    source: int
    target: int
    delay_s: float
    packets: collections.deque[tuple[float, bytes]] = dataclasses.field(default_factory=collections.deque)

    def take(self) -> None:
        packet = os.read(self.source, LARGEST_PACKET)
        if len(self.packets) < MOST_PACKETS:
            self.packets.append((time.monotonic() + self.delay_s, packet))

    def give(self, now: float) -> None:
        while self.packets and self.packets[0][0] <= now:
            os.write(self.target, self.packets.popleft()[1])


def main() -> None:
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    ways: dict[int, Way] = {}
    for number, word in enumerate(sys.argv[1:]):
        process, network, milliseconds = word.split(":")
        there = os.open(f"/proc/{process}/ns/net", os.O_RDONLY)
        near = device(here, f"far{number}", f"{network}.1", f"{network}.2")
        far = device(there, "home", f"{network}.2", f"{network}.1")
        enter(here)
        delay_s = float(milliseconds) / 1000
        ways.update({near: Way(near, far, delay_s), far: Way(far, near, delay_s)})
    print("ready", flush=True)
    pass_on(ways)


def enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def device(namespace: int, name: str, address: str, peer: str) -> int:
    """A TUN device that is up in that namespace; this process stays in it."""
    enter(namespace)
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN_WITHOUT_HEADER))
    for words in (
        ["link", "set", "lo", "up"],
        ["address", "add", address, "peer", peer, "dev", name],
        ["link", "set", name, "txqueuelen", str(QUEUE_PACKETS), "up"],
    ):
        subprocess.run(["ip", *words], check=True)
    return tun


def pass_on(ways: dict[int, Way]) -> None:
    while True:
        due = min((way.packets[0][0] for way in ways.values() if way.packets), default=None)
        # select, not epoll: its time limits are microseconds, not milliseconds.
        wait = None if due is None else max(due - time.monotonic(), 0)
        for source in select.select(list(ways), [], [], wait)[0]:
            ways[source].take()
        now = time.monotonic()
        for way in ways.values():
            way.give(now)


if __name__ == "__main__":
    main()
