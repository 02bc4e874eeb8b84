"""Distance on one machine: TCP relays, each with a round trip.

    python3 delay.py 9001:8000:37 9002:8000:279      # port to listen on, port to go on to, milliseconds

A connection is opened one round trip after it was accepted, as a handshake takes, and every byte arrives half a round trip
after it was sent, in order, however many bytes are on their way. There is no slow start, no loss and no limit to the
throughput.
Prints "ready" when all ports listen.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import sys

MOST_ON_THE_WAY = 16 << 20


class Way:
    """One direction of a connection: what has been sent and is not there yet. One timer for all of it."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.loop = asyncio.get_running_loop()
        self.sent: collections.deque[tuple[float, bytes | None]] = collections.deque()
        self.on_the_way = 0
        self.opens_at = 0.0
        self.source: asyncio.Transport | None = None
        self.target: asyncio.Transport | None = None
        self.timer: asyncio.TimerHandle | None = None

    def send(self, data: bytes | None) -> None:
        """None is the end."""
        self.sent.append((max(self.loop.time(), self.opens_at) + self.delay_s, data))
        self.on_the_way += len(data or b"")
        if self.on_the_way > MOST_ON_THE_WAY and self.source:
            self.source.pause_reading()
        self.wait()

    def wait(self) -> None:
        if self.timer is None and self.target is not None and self.sent:
            self.timer = self.loop.call_at(self.sent[0][0], self.arrive)

    def arrive(self) -> None:
        self.timer = None
        # Timers come a little late: what is due within a quarter of a millisecond goes along.
        now = self.loop.time() + 0.000_25
        pieces: list[bytes] = []
        while self.sent and self.sent[0][0] <= now:
            data = self.sent.popleft()[1]
            if data is None:
                self.write(pieces)
                return self.finish()
            pieces.append(data)
        self.write(pieces)
        self.wait()

    def write(self, pieces: list[bytes]) -> None:
        if not pieces or self.target is None:
            return
        data = b"".join(pieces)
        self.on_the_way -= len(data)
        self.target.write(data)
        if self.source and not self.source.is_closing() and self.on_the_way <= MOST_ON_THE_WAY:
            self.source.resume_reading()

    def finish(self) -> None:
        if self.target is not None and not self.target.is_closing():
            self.target.close()


class End(asyncio.Protocol):
    """One end of a relayed connection."""

    def __init__(self, away: Way) -> None:
        self.away = away

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.away.source = transport

    def data_received(self, data: bytes) -> None:
        self.away.send(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.away.source = None
        self.away.send(None)


class Relay(End):
    """The accepted end: opens the other one when the handshake would be over."""

    def __init__(self, port: int, round_trip_s: float) -> None:
        super().__init__(Way(round_trip_s / 2))
        self.port = port
        self.round_trip_s = round_trip_s
        self.back = Way(round_trip_s / 2)
        self.opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.away.opens_at = self.away.loop.time() + self.round_trip_s
        self.opening = self.away.loop.create_task(self.open())

    async def open(self) -> None:
        accepted = self.away.source
        await asyncio.sleep(self.round_trip_s)
        if accepted is None or accepted.is_closing():
            return
        try:
            target, _ = await self.away.loop.create_connection(lambda: End(self.back), "127.0.0.1", self.port)
        except OSError:
            accepted.abort()
            return
        self.back.target = accepted
        self.away.target = target
        self.away.wait()


async def serve(relays: list[tuple[int, int, float]]) -> None:
    loop = asyncio.get_running_loop()
    for port, onward, milliseconds in relays:

        def relay(onward: int = onward, seconds: float = milliseconds / 1000) -> Relay:
            return Relay(onward, seconds)

        await loop.create_server(relay, "127.0.0.1", port, backlog=1024)
    print("ready", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    relays: list[tuple[int, int, float]] = []
    for word in sys.argv[1:]:
        port, onward, milliseconds = word.split(":")
        relays.append((int(port), int(onward), float(milliseconds)))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(relays))


if __name__ == "__main__":
    main()
