"""A gateway in front of LLM servers, in ASGI: gotoni chooses the server, httpx asks it, tokens pass as they come.

    python3 gateway.py --listen 127.0.0.1:8000 --server http://10.0.0.2:30000 --server http://10.0.0.3:30000
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import gotoni
import httpx
import uvicorn

MAX_BODY = 8 << 20
ATTEMPTS = 3
WATCH_S = 1.0
LOOKS_TO_BE_DOWN = 3
TIMEOUT = httpx.Timeout(connect=2.0, read=300.0, write=30.0, pool=None)
# Of one connection, not of a message; and those that httpx sets.
HOP_BY_HOP = {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"proxy-connection"}
NOT_PASSED_ON = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
# How SGLang, vLLM and llama.cpp say what waits and what runs.
QUEUED = ("sglang:num_queue_reqs", "vllm:num_requests_waiting", "llamacpp:requests_deferred")
RUNNING = ("sglang:num_running_reqs", "vllm:num_requests_running", "llamacpp:requests_processing")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Refused(Exception):
    """An answer of ours."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Unanswered(Exception):
    """A server gave no answer, and another may."""


class ClientLeft(Exception):
    """Nobody waits for the answer."""


class Gateway:
    """The ASGI application. One process: the router has to see every request. Ids of servers count from 0."""

    def __init__(self, servers: list[httpx.URL], policy: str) -> None:
        self.servers = servers
        self.router = gotoni.Router(policy=policy)
        for id in range(len(servers)):
            self.router.add_server(id)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
        elif scope["type"] == "http":
            try:
                await self.serve(scope, receive, send)
            except ClientLeft:
                pass
            except Refused as refused:
                error = {"error": {"message": str(refused), "type": "server_error"}}
                await answer_json(send, refused.status, error)

    async def live(self, receive: Receive, send: Send) -> None:
        await receive()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=256)
        # Not httpx's own accept-encoding: answers pass as they are, so the client has to understand them.
        own = {"accept-encoding": "identity"}
        async with httpx.AsyncClient(timeout=TIMEOUT, limits=limits, headers=own, trust_env=False) as self.client:
            watchers = [asyncio.create_task(self.watch(id)) for id in range(len(self.servers))]
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await end(*watchers)
        self.router.close()
        await send({"type": "lifespan.shutdown.complete"})

    # ===== Requests

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/gotoni/status" and (scope["client"] or ("",))[0] == "127.0.0.1":
            return await answer_json(send, 200, self.status())
        if not scope["path"].startswith("/v1/"):
            raise Refused(404, "only /v1/ is served here")
        body = await read(receive)
        answering = asyncio.create_task(self.answer(scope, body, send))
        leaving = asyncio.create_task(client_left(receive))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            await end(answering, leaving)

    async def answer(self, scope: Scope, body: bytes, send: Send) -> None:
        """From one server after the other, until one has sent the first byte."""
        tokens, namespace = prompt_of(body)
        tried: list[int] = []
        while len(tried) < ATTEMPTS:
            try:
                ticket = self.router.route(tokens, namespace=namespace, exclude=tried)
            except (gotoni.NoServerError, gotoni.CapacityError) as error:
                raise Refused(503, str(error)) from None
            tried.append(ticket.server)
            # Entering commits. Leaving finishes the ticket: ok, failed by an exception, cancelled by a cancellation.
            with contextlib.suppress(Unanswered), ticket:
                return await self.attempt(ticket, scope, body, send)
        raise Refused(502, "no server answers")

    async def attempt(self, ticket: gotoni.Ticket, scope: Scope, body: bytes, send: Send) -> None:
        path = (scope["raw_path"] + b"?" + scope["query_string"]).rstrip(b"?")
        url = self.servers[ticket.server].copy_with(raw_path=path)
        headers = [(name, value) for name, value in scope["headers"] if name not in NOT_PASSED_ON]
        begun = False
        try:
            async with self.client.stream(scope["method"], url, headers=headers, content=body) as answer:
                if answer.status_code in (502, 503):
                    raise Unanswered
                async for piece in pieces(answer):
                    # The head of a stream comes before the first token, so it says nothing.
                    if not begun and answer.status_code < 400:
                        ticket.first_token()
                    elif begun:
                        ticket.progress()
                    if not begun:
                        await send({"type": "http.response.start", "status": answer.status_code, "headers": kept(answer)})
                    begun = True
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                if answer.status_code >= 400:
                    ticket.finish("failed")
                await send({"type": "http.response.body"})
        except httpx.TransportError as error:
            if begun:
                raise  # the client's connection is broken off as well: that is how it knows
            raise Unanswered from error

    # ===== Servers

    async def watch(self, id: int) -> None:
        """How far a server is, what it has to do, and whether it lives."""
        url, failures = self.servers[id], 0
        while True:
            try:
                rtt_ms = await round_trip_ms(url)
                answer = await self.client.get(url.copy_with(path="/metrics"), timeout=WATCH_S)
                if answer.status_code >= 500:
                    raise Unanswered
                failures = 0
                self.router.mark_server(id, "up")
                self.router.observe_rtt(id, rtt_ms)
                if answer.status_code == 200:
                    queued, running = metric(answer.text, QUEUED), metric(answer.text, RUNNING)
                    self.router.observe_metrics(id, queued_requests=queued, running_requests=running)
            except (OSError, ValueError, asyncio.TimeoutError, httpx.HTTPError, Unanswered):
                failures += 1
                if failures >= LOOKS_TO_BE_DOWN:
                    self.router.mark_server(id, "down")  # its cache is lost, and forgotten
            await asyncio.sleep(WATCH_S)

    def status(self) -> dict[str, Any]:
        up = sum(self.router.server(id).state == "up" for id in range(len(self.servers)))
        return {"up": up, **dataclasses.asdict(self.router.stats())}


def prompt_of(body: bytes) -> tuple[memoryview, int]:
    """A prompt's tokens, four bytes of its text to a token, and the namespace that it shares caches in.

    What counts is that prompts that begin alike have tokens that do. For a model's own: gotoni.Tokenizer.
    """
    try:
        asked = json.loads(body) if body else {}
    except ValueError:
        raise Refused(400, "the body is no JSON") from None
    if not isinstance(asked, dict):
        raise Refused(400, "the body is no JSON object")
    text = json.dumps(asked.get("messages") or asked.get("prompt") or "", ensure_ascii=False)
    data = text.encode(errors="surrogatepass")
    tokens = memoryview(data[: len(data) // 4 * 4]).cast("I")
    return tokens, gotoni.namespace(model=str(asked.get("model", "")))


async def read(receive: Receive) -> bytes:
    """A request's body. Raises Refused and ClientLeft."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise Refused(413, f"a body has at most {MAX_BODY} bytes")
        if not message.get("more_body", False):
            return bytes(body)


async def client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancels them, and waits until they have put away what they hold."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def pieces(answer: httpx.Response) -> AsyncIterator[bytes]:
    """As they come, not decoded; an answer without a body is one empty piece."""
    empty = True
    async for piece in answer.aiter_raw():
        empty = False
        yield piece
    if empty:
        yield b""


def kept(answer: httpx.Response) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in answer.headers.raw if name.lower() not in HOP_BY_HOP]


async def answer_json(send: Send, status: int, value: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


async def round_trip_ms(url: httpx.URL) -> float:
    """What it takes to connect. Raises OSError and TimeoutError."""
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    began = time.monotonic()
    _, writer = await asyncio.wait_for(asyncio.open_connection(url.host, port), WATCH_S)
    took = time.monotonic() - began
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return took * 1000


def metric(text: str, names: tuple[str, ...]) -> int | None:
    """The sum of a metric's lines in Prometheus' text; None if there are none."""
    lines = [line for line in text.splitlines() if line.startswith(names)]
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines)) if lines else None


def server_url(text: str) -> httpx.URL:
    url = httpx.URL(text)
    if url.scheme not in ("http", "https") or not url.host or url.path != "/":
        raise ValueError
    return url


def listening(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host:
        raise ValueError
    return host, int(port)


def main() -> None:
    parser = argparse.ArgumentParser(description="A gateway in front of LLM servers. Control-C ends it.")
    parser.add_argument("--listen", type=listening, default=("127.0.0.1", 8000), metavar="HOST:PORT")
    parser.add_argument("--server", type=server_url, action="append", required=True, metavar="URL", help="repeat for more")
    parser.add_argument("--policy", choices=gotoni.policies(), default="gorgo")
    options = parser.parse_args()
    host, port = options.listen
    app = Gateway(options.server, options.policy)
    uvicorn.run(app, host=host, port=port, access_log=False, log_level="warning", timeout_graceful_shutdown=30)


if __name__ == "__main__":
    sys.exit(main())
