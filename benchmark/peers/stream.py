"""The streaming client: a fixed number of streams, each one request after the other on one connection.

    python3 stream.py --ports 30000 --bodies bodies.txt --streams 4 --requests 8 --seed 1

The time is taken at every read of a connection. Prints one line of JSON. A stream that is not answered with status 200 and
all chunks in their order is an error.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import pathlib
import random
import re
import selectors
import sys
import time

import engine
from statistics_of import percentile
from wire import Reader, WireError

CHUNK = re.compile(rb'"content": ?"(\d+) (\d+) (\d+)"')
MERGED_NS = int(engine.GAP_S / 2 * 1e9)
SPREAD_S = 0.5  # within which the streams begin, so that they do not all beat at once
ONE_REQUEST_S = engine.FIRST_CHUNK_S + engine.GAP_S * engine.CHUNKS


class Record:
    """What all streams saw, in nanoseconds."""

    def __init__(self) -> None:
        self.first: list[int] = []  # from the request to its first chunk, without the engine's own lateness
        self.gaps: list[int] = []  # from one chunk to the next of a stream
        self.transit: list[int] = []  # from the engine's write to the read here, on the same clock
        self.late: list[int] = []  # of the engine
        self.chunks = 0
        self.merged = 0  # reads with chunks of different times
        self.errors: list[str] = []


class Stream(asyncio.Protocol):
    """One connection with one request at a time."""

    def __init__(self, record: Record, requests: list[bytes], done: asyncio.Future[None]) -> None:
        self.record = record
        self.requests = requests
        self.done = done
        self.reader = Reader()
        self.is_over = False  # all answers came, or what went wrong is in the record

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.send()

    def send(self) -> None:
        if not self.requests:
            self.is_over = True
            self.transport.close()
            return
        request = self.requests.pop()
        self.body = b""
        self.head = b""
        self.expected = 0
        self.last = self.begin = time.monotonic_ns()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        ended = False
        try:
            for kind, value in self.reader.feed(data):
                if kind == "head":
                    self.head = value
                elif kind == "body":
                    self.body += value
                else:
                    ended = True
        except (WireError, ValueError) as error:
            self.fail(str(error))
            return
        self.count(now)
        if ended and not self.is_over:
            self.finish()

    def count(self, now: int) -> None:
        """Takes whole events from the body; a piece of one stays for the next read."""
        events, separator, rest = self.body.rpartition(b"\n\n")
        if not separator:
            return
        self.body = rest
        found = CHUNK.findall(events)
        for number, sent, late in found:
            if int(number) != self.expected:
                self.fail(f"chunk {int(number)} came in the place of {self.expected}")
                return
            if self.expected == 0:
                self.record.first.append(now - self.begin - int(late) * 1000)
            else:
                self.record.gaps.append(now - self.last)
            self.record.transit.append(now - int(sent))
            self.record.late.append(int(late) * 1000)
            self.last = now
            self.expected += 1
        self.record.chunks += len(found)
        # Chunks that a late engine wrote at once are not held against those on the way.
        self.record.merged += len(found) > 1 and int(found[-1][1]) - int(found[0][1]) > MERGED_NS

    def finish(self) -> None:
        if b" 200 " not in self.head.split(b"\r\n")[0]:
            self.fail(self.head.split(b"\r\n")[0].decode(errors="replace"))
        elif self.expected != engine.CHUNKS:
            self.fail(f"{self.expected} chunks came of {engine.CHUNKS}")
        else:
            self.send()

    def fail(self, reason: str) -> None:
        self.record.errors.append(reason)
        self.is_over = True
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """`exc` is also what went wrong in here while an answer was read."""
        if not self.is_over:
            reason = "" if exc is None else f": {exc!r}"
            self.record.errors.append(f"closed in an answer, with {len(self.requests)} requests to go{reason}")
        if not self.done.done():
            self.done.set_result(None)


def main() -> int:
    arguments = arguments_of(__doc__).parse_args()
    record = Record()
    run(arguments, record, Stream, SPREAD_S)
    print(json.dumps(figures(record)))
    sys.stdout.flush()
    return 0


def arguments_of(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ports", required=True, help="on 127.0.0.1; the streams take turns at several")
    parser.add_argument("--bodies", type=pathlib.Path, required=True, help="a file with one body on each line")
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--requests", type=int, required=True, help="one after the other, on each stream")
    parser.add_argument("--seed", type=int, required=True)
    return parser


def run(arguments: argparse.Namespace, record: Record, kind: type[Stream], spread_s: float) -> None:
    """Plays all streams, which begin within `spread_s`, into the record."""
    gc.disable()
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    try:
        limit = 10 + 4 * ONE_REQUEST_S * arguments.requests
        loop.run_until_complete(asyncio.wait_for(play(arguments, record, kind, spread_s), limit))
    except asyncio.TimeoutError:
        record.errors.append("not done in time")


async def play(arguments: argparse.Namespace, record: Record, kind: type[Stream], spread_s: float) -> None:
    chance = random.Random(arguments.seed)
    bodies = arguments.bodies.read_bytes().splitlines()
    ports = [int(port) for port in arguments.ports.split(",")]
    streams = []
    for number in range(arguments.streams):
        port = ports[number % len(ports)]
        begin = number * arguments.requests
        requests = [request(port, bodies[(begin + n) % len(bodies)]) for n in range(arguments.requests)]
        streams.append(one(kind, record, port, requests, chance.uniform(0, spread_s)))
    await asyncio.gather(*streams)


async def one(kind: type[Stream], record: Record, port: int, requests: list[bytes], pause: float) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(pause)
    done: asyncio.Future[None] = loop.create_future()
    try:
        await loop.create_connection(lambda: kind(record, requests, done), "127.0.0.1", port)
    except OSError as error:
        record.errors.append(f"no connection: {error}")
        return
    await done


def request(port: int, body: bytes) -> bytes:
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def figures(record: Record) -> dict[str, object]:
    milliseconds = {
        f"{name}_p{p}_ms": percentile(values, p) / 1e6
        for name, values in (("ttft", record.first), ("gap", record.gaps), ("transit", record.transit))
        for p in (50, 99)
    }
    return {
        "streams": len(record.first),
        "chunks": record.chunks,
        "merged": record.merged,
        "engine_late_p99_ms": percentile(record.late, 99) / 1e6,
        "errors": len(record.errors),
        "error_examples": sorted(set(record.errors))[:3],
        **milliseconds,
    }


if __name__ == "__main__":
    sys.exit(main())
