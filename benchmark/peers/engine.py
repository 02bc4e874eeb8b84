"""The streaming server: answers each chat request with 100 chunks at fixed times after it.

    python3 engine.py --ports 19011,19012,19013

The head goes out at once, as from engines that are served by uvicorn; the first chunk 20 ms after the request, then one every
5 ms. Every time is a deadline counted from the request, so lateness never adds up. A chunk's content is its number, the
nanosecond at which it was written, and by how many microseconds that was late.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import selectors
import time

import traffic
from wire import Reader

CHUNKS = 100
FIRST_CHUNK_S = 0.020
GAP_S = 0.005

STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
OTHER_ANSWERS = {path.encode(): text.encode() for path, text in traffic.other_answers().items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ports", required=True, help="separated by commas; all on 127.0.0.1")
    ports = [int(port) for port in parser.parse_args().ports.split(",")]
    gc.disable()  # a pause would be taken for one of the router
    # select() waits for microseconds where epoll_wait() rounds up to the next millisecond.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    for port in ports:
        loop.run_until_complete(loop.create_server(lambda: Engine(loop), "127.0.0.1", port, backlog=1024))
    loop.run_forever()


class Engine(asyncio.Protocol):
    """One connection, with one request at a time: nobody here pipelines."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.reader = Reader()
        self.path = b""
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport  # asyncio has set TCP_NODELAY

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        for kind, value in self.reader.feed(data):
            if kind == "head":
                self.path = value.split(b" ", 2)[1].partition(b"?")[0]
            elif kind == "end":
                self.answer()

    def answer(self) -> None:
        if self.path == b"/v1/chat/completions":
            self.transport.write(STREAM_HEAD)
            self.begin = self.loop.time()
            self.number = 0
            self.plan()
            return
        body = OTHER_ANSWERS.get(self.path)
        status = b"200 OK" if body else b"404 Not Found"
        body = body or b"{}"
        head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
        self.transport.write(head + body)

    def plan(self) -> None:
        self.deadline = self.begin + FIRST_CHUNK_S + self.number * GAP_S
        self.timer = self.loop.call_at(self.deadline, self.send)

    def send(self) -> None:
        late = max(0, int((self.loop.time() - self.deadline) * 1e6))
        self.transport.write(chunk(self.number, time.monotonic_ns(), late))
        self.number += 1
        if self.number < CHUNKS:
            self.plan()
        else:
            self.timer = None
            self.transport.write(LAST_CHUNK)


def chunk(number: int, sent: int, late: int) -> bytes:
    event = (
        b'data: {"id":"chatcmpl-0","object":"chat.completion.chunk","created":1700000000,"model":"mock","choices":'
        b'[{"index":0,"delta":{"content":"%d %d %d"},"finish_reason":null}]}\n\n' % (number, sent, late)
    )
    return b"%x\r\n%s\r\n" % (len(event), event)


if __name__ == "__main__":
    main()
