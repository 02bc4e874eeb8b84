"""What none may do, done to the judges of the chaos run on purpose: each must find it, and find nothing else."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Callable

from chaos_clients import Clients, Questions
from chaos_judge import Question, ended_badly, left_over, uneven

ERROR = b'{"error":{"message":"%s","type":"t","param":null,"code":"c"}}'
PLAIN = b'{"model":"e0","usage":{"completion_tokens":3}}'
EVENT = b'data: {"model":"e0","choices":[{"delta":{"content":"x"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
IDENTITY = b"the id of the question"


def _answer(body: bytes, status: bytes = b"200 OK", fields: bytes = b"", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 %s\r\nx-request-id: %s\r\n%scontent-length: %d\r\n\r\n%s" % (status, IDENTITY, fields, size, body)


def _stream(*events: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nx-request-id: %s\r\ncontent-type: text/event-stream\r\n" % IDENTITY
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)
    return head + b"transfer-encoding: chunked\r\n\r\n" + chunks + end


RETRY = b"retry-after: 1\r\n"
CLOSE, RESET, HANG = b"<close>", b"<reset>", b"<hang>"
# One request of a connection is answered; the next is read, and then the connection is closed.
ONCE = b"<once>"
WHOLE = _answer(PLAIN)

# What is asked, what comes for it, and words of what must be found; none: it is as it must be.
ANSWERS: tuple[tuple[str, str, bytes, str], ...] = (
    ("a complete answer", "plain", WHOLE, ""),
    ("a complete stream", "stream", _stream(EVENT, EVENT, EVENT, DONE), ""),
    ("an honest error", "plain", _answer(ERROR % b"no", b"502 Bad Gateway"), ""),
    ("an honest 503", "stream", _answer(ERROR % b"no", b"503 Unavailable", RETRY), ""),
    ("a truncated answer", "plain", _answer(PLAIN, length=len(PLAIN) + 9) + CLOSE, "broken, and nothing had happened"),
    ("a truncated stream", "stream", _stream(EVENT, EVENT, end=b"") + CLOSE, "broken, and nothing had happened to e0"),
    ("a truncated head", "plain", b"HTTP/1.1 200 OK\r\nx-re" + CLOSE, "broken, and nothing had happened"),
    ("a stream that only seems whole", "stream", _stream(EVENT, EVENT, EVENT), "a complete stream without its end"),
    ("a stream without its last chunk", "stream", _stream(EVENT, EVENT, EVENT, DONE, end=b"") + CLOSE, "yet it says"),
    ("an answer of fewer tokens", "stream", _stream(EVENT, EVENT, DONE), "2 tokens and not 3"),
    ("a double answer", "plain", WHOLE + WHOLE, "bytes behind the end"),
    ("a double end", "stream", _stream(EVENT, EVENT, EVENT, DONE, DONE), "a complete stream without its end"),
    ("an error behind an answer", "plain", WHOLE + _answer(ERROR % b"no", b"500 No"), "bytes behind the end"),
    ("somebody else's answer", "plain", WHOLE.replace(IDENTITY, b"c9999"), "the answer is not ours"),
    ("no answer", "plain", CLOSE, "closed without an answer"),
    ("a reset", "plain", RESET, "without an answer"),
    ("an answer that never comes", "plain", HANG, "no end within"),
    ("an answer that stops", "stream", _stream(EVENT, end=b"") + HANG, "no end within"),
    ("an error without words", "plain", _answer(ERROR % b"", b"502 Bad Gateway"), "without words"),
    ("an error that is no JSON", "plain", _answer(b"<html>", b"502 Bad Gateway"), "without an error"),
    ("an error of the proxy's own making", "plain", _answer(ERROR % b"no", b"500 No"), "status 500"),
    ("a 503 that does not say when", "plain", _answer(ERROR % b"no", b"503 Unavailable"), "without retry-after"),
    ("an answer to half a body", "bad", WHOLE, "half a body is taken"),
)
EVEN = {
    "open_tickets": 0, "under_way": 0, "queue_size": 0, "servers": [{"id": "e0", "proxy_tracked_running": 0}],
    "total_handled": 3, "total_forwarded": 2, "total_rejected": 0, "total_failed": 1, "total_cancelled": 0,
}  # fmt: skip
STOPPED = "NOTICE stopped requests=0 tickets=0 waiting=0"


class _One:
    """The same question, `count` times."""

    def __init__(self, kind: str, count: int) -> None:
        self.kind, self.count, self.asked = kind, count, 0

    def next(self) -> Question | None:
        if self.asked >= self.count:
            return None
        self.asked += 1
        identity = b"c%d" % self.asked
        data = b"GET / HTTP/1.1\r\nx-request-id: %s\r\n\r\n" % identity
        return Question(self.asked, self.kind, data, identity, 3, "never", 0)


async def _ask(kind: str, answer: bytes, count: int = 1, is_replaced: bool = False, port: int = 0) -> Clients:
    """A client of a server that answers so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.readuntil(b"\r\n\r\n"):
                identity = data.split(b"x-request-id: ")[1].split(b"\r\n")[0]
                ends = [end for end in (CLOSE, RESET, HANG, ONCE) if answer.endswith(end)]
                text = answer.removesuffix(ends[0]) if ends else answer
                writer.write(text.replace(IDENTITY, identity))
                if ends == [HANG]:
                    await reader.read()
                if ends == [ONCE]:
                    await reader.readuntil(b"\r\n\r\n")
                if ends == [RESET]:
                    writer.transport.abort()
                if ends:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        used = port or server.sockets[0].getsockname()[1]
        questions: Questions = _One(kind, count)  # type: ignore[assignment]
        clients = Clients(used, questions, lambda *_: False, lambda *_: is_replaced, 1, io.StringIO(), 0.4)
        await clients.all(1)
    return clients


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


async def _answers() -> list[str]:
    found = []
    for name, kind, answer, words in ANSWERS:
        failures = [failure.what for failure in (await _ask(kind, answer)).failures]
        if not words and failures:
            found.append(f"{name} is taken for a failure: {failures}")
        elif words and not (len(failures) == 1 and words in failures[0]):
            found.append(f"{name}: {failures}")
    refused = (await _ask("plain", WHOLE, port=_closed_port())).failures
    if not (len(refused) == 1 and "no connection" in refused[0].what):
        found.append(f"a refused connection: {refused}")
    # Without an answer on a connection that had answered before: excused while a proxy ends, and only then.
    clients = await _ask("plain", WHOLE + ONCE, 2, is_replaced=True)
    if clients.failures or clients.sent_again != 1:
        found.append(f"an idle connection closed by a proxy that ends: {clients.failures}")
    failures = (await _ask("plain", WHOLE + ONCE, 2)).failures
    if not (len(failures) == 1 and "closed without an answer" in failures[0].what):
        found.append(f"a connection closed by a proxy that goes on: {failures}")
    return found


def _accounts() -> list[str]:
    found = []

    def check(name: str, problems: list[str], is_wrong: bool = True) -> None:
        if bool(problems) != is_wrong:
            found.append(f"{name}: {problems}")

    def changed(**figures: object) -> dict[str, object]:
        return EVEN | figures

    finds: tuple[tuple[str, Callable[[dict], list[str]], dict[str, object]], ...] = (
        ("a leaked ticket", left_over, changed(open_tickets=1)),
        ("a request under way", left_over, changed(under_way=1)),
        ("a request in the queue", left_over, changed(queue_size=2)),
        ("a place that was not given back", left_over, changed(servers=[{"id": "e0", "proxy_tracked_running": 1}])),
        ("a count below zero", left_over, changed(under_way=-1)),
        ("a request that ended twice", uneven, changed(total_cancelled=1)),
        ("a request that never ended", uneven, changed(total_handled=4)),
    )
    for name, judge, status in finds:
        check(name, judge(status))
    check("an even account", left_over(dict(EVEN)) + uneven(dict(EVEN)), is_wrong=False)
    check("a clean end", ended_badly("p", 0, f"first\n{STOPPED}\n"), is_wrong=False)
    check("an end by a signal", ended_badly("p", -9, ""))
    check("an end with 1", ended_badly("p", 1, STOPPED))
    check("an end that says nothing", ended_badly("p", 0, "NOTICE stopping"))
    check("an end with a ticket", ended_badly("p", 0, STOPPED.replace("tickets=0", "tickets=1")))
    return found


def missed() -> list[str]:
    """What the judges did not find, or found where nothing was."""
    return asyncio.run(_answers()) + _accounts()
