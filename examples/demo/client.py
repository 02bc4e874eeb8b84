"""A streaming chat client on plain connections that says to the microsecond when it asked and when it was answered.

asyncio's own protocol interface and nothing above it: the time of the first token is taken in the call that brings the
bytes, before anything is parsed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from typing import Any

LONGEST_S = 60.0


class AnswerError(Exception):
    """One sentence about why there is no answer."""


@dataclasses.dataclass
class Answer:
    text: str
    ttft_ms: float
    total_ms: float
    prompt_tokens: int
    cached_tokens: int


class Connection(asyncio.Protocol):
    """One request at a time, over HTTP/1.1 with chunked answers, as proxies and engines stream them."""

    def __init__(self) -> None:
        self.done: asyncio.Future[None] | None = None
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.is_open = True

    def ask(self, head: bytes, body: bytes) -> asyncio.Future[None]:
        self.received = b""
        self.first_ns = self.last_ns = 0
        self.done = asyncio.get_running_loop().create_future()
        self.sent_ns = time.perf_counter_ns()
        self.transport.write(head + body)
        return self.done

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter_ns()
        self.received += data
        if not self.first_ns and b"data:" in self.received:
            self.first_ns = now
        if self.done and not self.done.done() and self.is_complete():
            self.last_ns = now
            self.done.set_result(None)

    def is_complete(self) -> bool:
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return False
        fields = fields_of(head)
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            return body.endswith(b"0\r\n\r\n") and (body.startswith(b"0") or b"\r\n0\r\n\r\n" in body)
        return len(body) >= int(fields.get(b"content-length", b"0"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self.done and not self.done.done():
            self.done.set_exception(AnswerError("the connection was closed before the end of the answer"))


class Client:
    """Connections to one address, kept and used again."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.idle: list[Connection] = []

    async def chat(self, body: bytes, request_id: str) -> Answer:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {self.host}:{self.port}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\n\r\n"
        ).encode()
        connection = await self.connection()
        try:
            await asyncio.wait_for(connection.ask(head, body), LONGEST_S)
        except asyncio.TimeoutError as error:
            raise AnswerError(f"no answer within {LONGEST_S:.0f} s") from error
        finally:
            # Cancelled or failed: what comes late must not be taken for the next answer.
            if connection.last_ns == 0:
                connection.transport.abort()
        self.idle.append(connection)
        return read(connection)

    async def connection(self) -> Connection:
        while self.idle:
            connection = self.idle.pop()
            if connection.is_open:
                return connection
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(Connection, self.host, self.port)
        except OSError as error:
            raise AnswerError(f"no connection: {error}") from error
        return connection

    def close(self) -> None:
        for connection in self.idle:
            connection.transport.close()
        self.idle.clear()


def read(connection: Connection) -> Answer:
    """An answer that is not one, or not whole, is an error."""
    head, _, body = connection.received.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1].decode(errors="replace")
    if status != "200":
        raise AnswerError(f"status {status}: {body[:200].decode(errors='replace')}")
    try:
        text, usage = events(dechunked(body))
        return Answer(
            text,
            (connection.first_ns - connection.sent_ns) / 1e6,
            (connection.last_ns - connection.sent_ns) / 1e6,
            usage["prompt_tokens"],
            (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        )
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise AnswerError(f"not a chat completion: {error!r}") from error


def fields_of(head: bytes) -> dict[bytes, bytes]:
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.strip().lower(): value.strip().lower() for name, _, value in lines}


def dechunked(body: bytes) -> bytes:
    found = []
    at = 0
    while True:
        line = body.index(b"\r\n", at)
        size = int(body[at:line].split(b";")[0], 16)
        if size == 0:
            return b"".join(found)
        found.append(body[line + 2 : line + 2 + size])
        at = line + 2 + size + 2


def events(stream: bytes) -> tuple[str, dict[str, Any]]:
    """The text and the usage of a stream that is whole."""
    text = []
    usage: dict[str, Any] | None = None
    ended = False
    for event in stream.split(b"\n\n"):
        if not event.startswith(b"data:"):
            continue
        data = event[5:].strip()
        if data == b"[DONE]":
            ended = True
            continue
        document = json.loads(data)
        if "error" in document:
            raise ValueError(document["error"])
        usage = document.get("usage") or usage
        for choice in document["choices"]:
            text.append(choice["delta"].get("content") or "")
    if not ended or usage is None:
        raise ValueError("the stream has no end or no usage")
    return "".join(text), usage
