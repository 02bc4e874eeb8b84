"""The way from one node to another: as long as wanted, and it can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any

from wire import LIMIT_S

_loop = asyncio.new_event_loop()
threading.Thread(target=_loop.run_forever, daemon=True).start()


def _do(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run_coroutine_threadsafe(work, _loop).result(LIMIT_S)


class Relay:
    """TCP from a port of its own to `target` and back; every byte takes `delay` seconds, either way. A connection is
    made without delay."""

    def __init__(self, target: int = 0, delay: float = 0.0) -> None:
        self.target = target
        self.delay = delay
        self.bytes = 0
        self.port = 0
        self.flows = asyncio.Event()
        self.flows.set()
        self.server: asyncio.Server | None = None
        self.writers: set[asyncio.StreamWriter] = set()
        _do(self._listen())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Bytes wait for the way to be open again, as TCP has it, and nobody is told."""
        _loop.call_soon_threadsafe(self.flows.clear)

    def refuse(self) -> None:
        """Connections end, and there are no new ones."""
        _do(self._refuse())

    def open(self) -> None:
        _do(self._open())

    async def _listen(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self.server:
            self.server.close()
            self.server = None
        for writer in list(self.writers):
            writer.transport.abort()

    async def _open(self) -> None:
        self.flows.set()
        if self.server is None:
            await self._listen()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        ours = {writer, back}
        self.writers |= ours
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        except OSError:
            pass
        finally:
            for each in ours:
                each.transport.abort()
            self.writers -= ours

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction. Reading goes on while what was read is under way."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1024)

        async def read() -> None:
            while True:
                data = await reader.read(1 << 16)
                await under_way.put((_loop.time() + self.delay, data))
                if not data:
                    return

        reading = asyncio.ensure_future(read())
        try:
            while True:
                if reading.done() and under_way.empty():
                    reading.result()
                    return
                arrives, data = await self._next(under_way, reading)
                if arrives > _loop.time():
                    await asyncio.sleep(arrives - _loop.time())
                await self.flows.wait()
                if not data:
                    with contextlib.suppress(OSError):
                        writer.write_eof()
                    return
                self.bytes += len(data)
                writer.write(data)
                await writer.drain()
        finally:
            reading.cancel()

    @staticmethod
    async def _next(
        under_way: asyncio.Queue[tuple[float, bytes]], reading: asyncio.Future[None]
    ) -> tuple[float, bytes]:
        """What comes next; the error of reading, once nothing is left."""
        getting = asyncio.ensure_future(under_way.get())
        await asyncio.wait({getting, reading}, return_when=asyncio.FIRST_COMPLETED)
        if not getting.done() and reading.done() and reading.exception():
            getting.cancel()
            reading.result()
        return await getting

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
