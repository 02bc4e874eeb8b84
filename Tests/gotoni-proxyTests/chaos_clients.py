"""The clients of the chaos run: raw sockets that read every byte and judge how each request ended."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
import random
import time
from collections.abc import Callable
from typing import TextIO

from chaos_judge import Question, Wrong, broken_engine, judge, read_head

# No answer takes longer than the proxy's own limits together.
LIMIT_S = 40.0
# Who is told that there is no place does not come back at once.
PAUSE_S = 0.03
WORDS = "the of and to in is you that it he was for on are as with his they at be this from have or by one had not".split()


@dataclasses.dataclass
class Failure:
    """A request that ended as none may."""

    number: int
    kind: str
    what: str
    began: float
    ended: float

    def __str__(self) -> str:
        return f"request {self.number} ({self.kind}), at {self.began:.2f} to {self.ended:.2f} s: {self.what}"


class Questions:
    """What is asked: drawn from the seed, in order, whoever asks it."""

    def __init__(self, count: int, seed: int, plant: str | None) -> None:
        self.count = count
        self.asked = 0
        self.plant = plant
        self.random = random.Random(seed)
        self.conversations = [self._text(400) for _ in range(64)]

    def _text(self, size: int) -> str:
        return " ".join(self.random.choices(WORDS, k=max(1, size // 4)))

    def next(self) -> Question | None:
        if self.asked >= self.count:
            return None
        self.asked += 1
        draw = self.random
        kind = draw.choices(("stream", "plain", "tokens", "models", "bad"), (50, 34, 8, 6, 2))[0]
        tokens = draw.randint(1, 8)
        leaves = draw.choices(("never", "in the request", "before the answer", "in the answer"), (94, 1, 2.5, 2.5))[0]
        identity = f"c{self.asked}"
        path = "/v1/chat/completions"
        if kind == "models":
            return self._question(kind, identity, "GET", "/v1/models", b"", tokens, leaves)
        if kind == "bad":
            body = b'{"messages":[{"role":"user","content":"' + self._text(40).encode()
        elif kind == "tokens":
            path = "/v1/completions"
            length = draw.randint(1, 400)
            body = json.dumps({"prompt": [draw.randrange(50_000) for _ in range(length)], "max_tokens": tokens}).encode()
        else:
            # Conversations that many have in common, now and then one of a new and long prompt.
            start = draw.choice(self.conversations)
            rest = self._text(draw.choice((20, 100, 400)) if draw.random() < 0.99 else 20_000)
            asks = tokens - 1 if self.plant == "a token less" and tokens > 1 and self.asked % 200 == 0 else tokens
            messages = [{"role": "system", "content": start}, {"role": "user", "content": rest}]
            body = json.dumps({"messages": messages, "max_tokens": asks, "stream": kind == "stream"}).encode()
        return self._question(kind, identity, "POST", path, body, tokens, leaves)

    def _question(
        self, kind: str, identity: str, method: str, path: str, body: bytes, tokens: int, leaves: str
    ) -> Question:
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nx-request-id: {identity}\r\n"
        if method == "POST":
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        data = head.encode() + b"\r\n" + body
        delay = self.random.random() * 0.004
        return Question(self.asked, kind, data, identity.encode(), tokens, leaves, delay)


class Wire(asyncio.Protocol):
    """A connection: what came, and whether it ended."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.is_closed = False
        self.was_reset = False
        self.served = 0
        self.transport: asyncio.Transport | None = None
        self.waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self._wake()

    def eof_received(self) -> bool:
        self.is_closed = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self.was_reset = self.was_reset or isinstance(exc, ConnectionError)
        self._wake()

    def _wake(self) -> None:
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(None)

    async def more(self) -> bool:
        """Waits for more than `size` bytes; False: there will be none."""
        size = len(self.buffer)
        while len(self.buffer) == size:
            if self.is_closed:
                return False
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        return True

    def send(self, data: bytes) -> None:
        assert self.transport
        self.transport.write(data)

    def leave(self, abruptly: bool) -> None:
        if self.transport:
            (self.transport.abort if abruptly else self.transport.close)()


class Ended(Exception):
    """The connection ended before the answer did."""


class Left(Exception):
    """The client has gone."""


class Clients:
    """All of them, and how their requests ended."""

    def __init__(
        self,
        port: int,
        questions: Questions,
        is_broken: Callable[[str | None, float, float], bool],
        is_replaced: Callable[[str | None, float, float], bool],
        seed: int,
        log: TextIO,
        limit: float = LIMIT_S,
    ) -> None:
        self.port = port
        self.limit = limit
        self.questions = questions
        self.is_broken = is_broken
        self.is_replaced = is_replaced
        # The number of the last question that may be asked by now: nobody runs ahead of the restarts.
        self.allowed = questions.count
        self.log = log
        self.seed = seed
        self.start = time.monotonic()
        # By how it ended and what was asked.
        self.outcomes: collections.Counter[tuple[str, str]] = collections.Counter()
        self.failures: list[Failure] = []
        self.sent_again = 0
        self.resets_when_idle = 0
        self.done = 0
        self.under_way: dict[int, tuple[float, Wire]] = {}

    async def all(self, count: int) -> None:
        watch = asyncio.create_task(self._watch())
        await asyncio.gather(*(self._client(number) for number in range(count)))
        watch.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.limit / 40)
            late = time.monotonic() - self.limit
            for began, wire in list(self.under_way.values()):
                if began < late:
                    wire.leave(abruptly=True)

    async def _client(self, number: int) -> None:
        draw = random.Random(f"{self.seed}/{number}")
        wire: Wire | None = None
        left = 0
        while question := self.questions.next():
            while question.number > self.allowed:
                await asyncio.sleep(PAUSE_S)
            # Connections do not live for ever: new ones are made all the time, during restarts as well. One with
            # unread bytes is used again, which finds them.
            if wire and not wire.buffer and (wire.is_closed or left <= 0):
                wire.leave(abruptly=False)
                wire = None
            left = draw.randint(1, 30) if wire is None else left - 1
            began = time.monotonic()
            wire, outcome = await self._ask(question, wire, draw, began)
            self.outcomes[outcome, question.kind] += 1
            self.done += 1
            if outcome.startswith("error 503") or outcome.startswith("error 429"):
                await asyncio.sleep(PAUSE_S)
        if wire:
            wire.leave(abruptly=False)

    async def _ask(
        self, question: Question, wire: Wire | None, draw: random.Random, began: float
    ) -> tuple[Wire | None, str]:
        """The connection for the next request, and how this one ended."""
        for attempt in (1, 2):
            if wire is None:
                try:
                    _, wire = await asyncio.get_running_loop().create_connection(Wire, "127.0.0.1", self.port)
                except OSError as error:
                    return None, self._fail(question, began, f"no connection: {error}")
            served = wire.served
            self.under_way[question.number] = (time.monotonic(), wire)
            try:
                outcome, keeps = await self._exchange(question, wire, draw)
                wire.served += 1
                if not keeps:
                    wire.leave(abruptly=False)
                return (wire if keeps else None), outcome
            except Left:
                return None, f"left {question.leaves}"
            except Wrong as wrong:
                wire.leave(abruptly=True)
                return None, self._fail(question, began, str(wrong))
            except Ended:
                got = bytes(wire.buffer)
                wire.leave(abruptly=False)
                if time.monotonic() - began > self.limit:
                    return None, self._fail(question, began, f"no end within {self.limit} s; {got[-200:]!r}")
                if got:
                    return None, self._broken(question, began, got)
                how = "reset" if wire.was_reset else "closed"
                if served == 0 or attempt == 2 or not self.is_replaced(None, began, time.monotonic()):
                    return None, self._fail(question, began, f"{how} without an answer, connection of {served} before")
                # A proxy that ends closed an idle connection while the request was on its way. Once more, on a new one.
                self.sent_again += 1
                self.resets_when_idle += wire.was_reset
                wire = None
            finally:
                self.under_way.pop(question.number, None)
        raise AssertionError("not reached")

    def _broken(self, question: Question, began: float, got: bytes) -> str:
        try:
            engine = broken_engine(got)
        except Wrong as wrong:
            return self._fail(question, began, str(wrong))
        if not self.is_broken(engine, began, time.monotonic()):
            return self._fail(
                question, began, f"broken, and nothing had happened to {engine or 'any engine'}: {got[-200:]!r}"
            )
        return "broken with its engine"

    def _fail(self, question: Question, began: float, what: str) -> str:
        failure = Failure(question.number, question.kind, what, began - self.start, time.monotonic() - self.start)
        self.failures.append(failure)
        print(failure, file=self.log, flush=True)
        return "FAILED"

    async def _exchange(self, question: Question, wire: Wire, draw: random.Random) -> tuple[str, bool]:
        if wire.buffer:
            raise Wrong(f"bytes that nobody asked for: {bytes(wire.buffer[:100])!r}")
        abruptly = draw.random() < 0.5
        if question.leaves == "in the request":
            wire.send(question.data[: draw.randrange(1, len(question.data))])
            await asyncio.sleep(question.delay)
            wire.leave(abruptly)
            raise Left
        wire.send(question.data)
        if question.leaves == "before the answer":
            await asyncio.sleep(question.delay)
            wire.leave(abruptly)
            raise Left
        buffer = wire.buffer
        while (end := buffer.find(b"\r\n\r\n")) < 0:
            if not await wire.more():
                raise Ended
        if question.leaves == "in the answer":
            wire.leave(abruptly)
            raise Left
        status, fields = read_head(bytes(buffer[:end]).lower(), question)
        body, end = await self._body(wire, end + 4, fields)
        outcome = judge(question, status, fields, body)
        # What is behind it now, or comes before the next question, was asked for by nobody.
        del buffer[:end]
        if buffer:
            raise Wrong(f"bytes behind the end: {bytes(buffer[:100])!r}")
        return outcome, fields.get(b"connection") != b"close"

    @staticmethod
    async def _body(wire: Wire, at: int, fields: dict[bytes, bytes]) -> tuple[bytes, int]:
        """The body that begins at `at`, and where it ends."""
        buffer = wire.buffer
        if (length := fields.get(b"content-length")) is not None:
            if b"transfer-encoding" in fields:
                raise Wrong("two framings")
            end = at + int(length)
            while len(buffer) < end:
                if not await wire.more():
                    raise Ended
            body = bytes(buffer[at:end])
        elif fields.get(b"transfer-encoding") == b"chunked":
            pieces = []
            while True:
                while (line := buffer.find(b"\r\n", at)) < 0:
                    if not await wire.more():
                        raise Ended
                try:
                    size = int(buffer[at:line], 16)
                except ValueError:
                    raise Wrong(f"a chunk without a size: {bytes(buffer[at:line])[:100]!r}") from None
                end = line + 2 + size
                while len(buffer) < end + 2:
                    if not await wire.more():
                        raise Ended
                if buffer[end : end + 2] != b"\r\n":
                    raise Wrong(f"a chunk that does not end: {bytes(buffer[at : end + 2])[-100:]!r}")
                pieces.append(bytes(buffer[line + 2 : end]))
                at = end = end + 2
                if size == 0:
                    break
            body = b"".join(pieces)
        else:
            raise Wrong("an answer without framing")
        return body, end


class Explains:
    """Whether something had been done to an engine, or to the proxy, while a request ran."""

    # From the fault to the client's noticing it, on a busy machine.
    SLACK_S = 1.0

    def __init__(self) -> None:
        # Engine, from, to; to is infinite until it is over.
        self.faults: list[list] = []

    def begin(self, engine: str) -> list:
        fault = [engine, time.monotonic(), float("inf")]
        self.faults.append(fault)
        return fault

    def end(self, fault: list) -> None:
        fault[2] = time.monotonic()

    def __call__(self, engine: str | None, began: float, ended: float) -> bool:
        return any(
            (engine is None or engine == name) and start <= ended and began <= end + self.SLACK_S
            for name, start, end in reversed(self.faults)
        )
