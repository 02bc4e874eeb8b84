"""The server: requests come in, go to the node that was chosen, and answers come back as they are made."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import time
import uuid
from typing import Any, Mapping

import aiohttp
import yarl
from aiohttp import web
from choosing import Choice, ChoiceError, Chooser
from figures import Figures
from lookup import Lookup
from multidict import CIMultiDict
from nodes import Node
from prompts import CHAT, COMPLETIONS, BodyError, read
from record import Log, Record
from settings import Settings
from usage import UsageReader

# Of one connection only (RFC 9110, 7.6.1), and so never passed on.
HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade")
)  # fmt: skip
# The body goes on unpacked and with a length of its own; the client's Expect has been answered here.
OF_THIS_REQUEST = frozenset(("host", "content-length", "content-encoding", "expect", "x-request-id"))
OF_THE_BODY = frozenset(("content-length",))  # made anew for a body that was read whole
MODELS_S = 10.0
LONGEST_ID = 128
CLIENT_GONE = 499


class GeoProxy:
    """All of the proxy. Everything happens in one event loop."""

    def __init__(
        self,
        settings: Settings,
        nodes: list[Node],
        lookup: Lookup,
        chooser: Chooser,
        log: Log,
        trusted: ssl.SSLContext | None,
    ) -> None:
        self.settings = settings
        self.nodes = nodes
        self.lookup = lookup
        self.chooser = chooser
        self.log = log
        self.trusted = trusted
        self.figures = Figures([node.name for node in nodes])
        self.active = 0
        self.stopping = False
        self.idle = asyncio.Event()
        self.idle.set()
        self.session: aiohttp.ClientSession | None = None

    def application(self) -> web.Application:
        app = web.Application(client_max_size=self.settings.max_body, middlewares=[as_json])
        app.router.add_post(CHAT, self.generate)
        app.router.add_post(COMPLETIONS, self.generate)
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/health", self.health)
        app.router.add_get("/stats", self.stats)
        app.router.add_post("/stats/reset", self.reset_stats)
        app.router.add_post("/cache/clear", self.clear_cache)
        app.cleanup_ctx.append(self.connections)
        return app

    async def connections(self, _: web.Application):
        """Those to the nodes, opened when first needed and kept."""
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(note_connection)
        connector = aiohttp.TCPConnector(
            limit=0,  # of all nodes together: the limit of each one is enough
            limit_per_host=self.settings.max_connections,
            keepalive_timeout=self.settings.keep_alive,
            ssl=self.trusted if self.trusted is not None else True,
        )
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self.settings.node_timeout),
            auto_decompress=False,  # bytes go through as they are
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            trace_configs=[trace],
        ) as self.session:
            yield

    # ===== Requests

    async def generate(self, request: web.Request) -> web.StreamResponse:
        if self.stopping:
            return self.refused(503, "The proxy is shutting down.", "unavailable")
        if self.active >= self.settings.max_requests:
            text = f"There are {self.active} requests under way, and no more at one time."
            return self.refused(503, text, "overloaded", {"Retry-After": "1"})
        self.active += 1
        self.idle.clear()
        try:
            return await self.route(request)
        finally:
            self.active -= 1
            if self.active == 0:
                self.idle.set()

    async def route(self, request: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        try:
            asked = read(await request.read(), request.path)
        except BodyError as error:
            return self.refused(400, str(error), "invalid_request_error")
        except web.HTTPRequestEntityTooLarge:
            text = f"The body is longer than {self.settings.max_body} bytes."
            return self.refused(413, text, "invalid_request_error")
        place, known = self.lookup.find(asked.key)
        try:
            choice = self.chooser.choose(asked, place)
        except ChoiceError as error:
            return self.refused(error.status, str(error), "routing_error")
        record = Record(
            request_id_of(request), asked.key, len(asked.prompt), place, known, self.chooser.name, choice.node,
            choice.distance_km, choice.user_rtt_ms, choice.prompt_tokens, choice.cost_ms, choice.matched_tokens,
            started,
        )  # fmt: skip
        return await Exchange(self, request, choice, record).run(asked.body)

    def refused(self, status: int, text: str, kind: str, headers: Mapping[str, str] | None = None) -> web.Response:
        self.figures.refused += 1
        return error_response(status, text, kind, headers)

    # ===== Everything else

    async def models(self, request: web.Request) -> web.Response:
        """From the first node, in the file's order, that answers. Headers go both ways, as those of a chat."""
        assert self.session is not None
        headers = passed_on(request.headers, OF_THIS_REQUEST)
        for node in self.nodes:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                limit = aiohttp.ClientTimeout(total=MODELS_S)
                async with self.session.get(
                    f"{node.url}/v1/models", headers=headers, timeout=limit, trace_request_ctx=None
                ) as answer:
                    if answer.status == 200:
                        return web.Response(body=await answer.read(), headers=passed_on(answer.headers, OF_THE_BODY))
        return error_response(503, "No node answers.", "unavailable")

    async def health(self, _: web.Request) -> web.Response:
        finished = {name: node.requests for name, node in self.figures.nodes.items()}
        return web.json_response(
            {
                "status": "shutting_down" if self.stopping else "healthy",
                "request_count": sum(finished.values()),
                "active_requests": self.active,
                "node_stats": finished,
                "lookup_size": len(self.lookup),
            }
        )

    async def stats(self, _: web.Request) -> web.Response:
        own = {"router_counters": self.chooser.counters()}
        return web.json_response({"router": self.chooser.name, **self.figures.fields(), **own})

    async def reset_stats(self, _: web.Request) -> web.Response:
        self.figures.reset()
        return web.json_response({"message": "All figures but those of requests under way begin anew."})

    async def clear_cache(self, _: web.Request) -> web.Response:
        return web.json_response({"message": self.chooser.forget()})


class Exchange:
    """One request on its way to a node, and its answer on the way back: at most one, or a connection that breaks."""

    def __init__(self, proxy: GeoProxy, request: web.Request, choice: Choice, record: Record) -> None:
        self.proxy = proxy
        self.request = request
        self.choice = choice
        self.record = record
        self.answer: web.StreamResponse | None = None  # as soon as the client may have got some of it

    async def run(self, body: bytes) -> web.StreamResponse:
        self.proxy.figures.begin(self.record)
        outcome = "cancelled"
        try:
            response = await self.forward(body)
            outcome = "ok" if self.record.status == 200 else "failed"
            if outcome == "failed":
                self.record.error = f"the node answered {self.record.status}"
            return response
        except TimeoutError:
            outcome = "failed"
            return self.failed(504, f"the node took longer than {self.proxy.settings.node_timeout:g} s")
        except aiohttp.ClientConnectorError as error:
            outcome = "not_sent"
            return self.failed(502, f"the node cannot be reached: {error}")
        except (aiohttp.ClientError, OSError) as error:
            if self.client_is_gone():
                raise asyncio.CancelledError from error
            outcome = "failed"
            return self.failed(502, f"the node broke off: {type(error).__name__}: {error}")
        finally:
            self.end(outcome)

    async def forward(self, body: bytes) -> web.StreamResponse:
        proxy, record, ticket = self.proxy, self.record, self.choice.receipt
        assert proxy.session is not None
        url = yarl.URL(record.node.url + self.request.rel_url.raw_path_qs, encoded=True)
        headers = passed_on(self.request.headers, OF_THIS_REQUEST)
        headers["X-Request-ID"] = record.request_id
        if ticket is not None:
            ticket.commit()
        async with proxy.session.post(
            url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=record
        ) as response:
            record.status = response.status
            usage = UsageReader(response.content_type == "text/event-stream")
            headers = passed_on(response.headers, frozenset(("x-request-id",)))
            headers["X-Request-ID"] = record.request_id
            self.answer = web.StreamResponse(status=response.status, reason=response.reason, headers=headers)
            await self.answer.prepare(self.request)
            # Every piece is written as it comes; aiohttp has TCP_NODELAY on both sides.
            while piece := await response.content.readany():
                if record.ttft_ms is None:
                    record.ttft_ms = record.elapsed_ms()
                    if ticket is not None and response.status == 200:
                        ticket.first_token()
                elif ticket is not None:
                    ticket.progress()
                usage.feed(piece)
                await self.answer.write(piece)
            record.usage = usage.usage()
            await self.answer.write_eof()
        return self.answer

    def failed(self, status: int, text: str) -> web.StreamResponse:
        """An error, if nothing of an answer has left; else the client sees its connection break."""
        self.record.error = text
        if self.answer is None:
            self.record.status = status
            sentence = f"{self.record.node.name}: {text}"
            return error_response(status, sentence, "node_error", {"X-Request-ID": self.record.request_id})
        if self.request.transport is not None:
            self.request.transport.abort()
        return self.answer

    def client_is_gone(self) -> bool:
        return self.request.transport is None or self.request.transport.is_closing()

    def end(self, outcome: str) -> None:
        record, ticket = self.record, self.choice.receipt
        record.total_ms = record.elapsed_ms()
        if outcome == "cancelled":
            record.error = "the client went away"
            record.status = record.status or CLIENT_GONE
        if ticket is not None:
            if record.usage.cached_tokens is not None:
                # The engine counts its own tokens, the router perhaps estimated ones.
                ticket.observe_cached_tokens(min(record.usage.cached_tokens, ticket.prompt_tokens))
            ticket.finish(outcome)  # type: ignore[arg-type]  # one of the four words
        self.proxy.figures.end(record, outcome)
        self.proxy.log.write(record)


async def note_connection(_: aiohttp.ClientSession, context: Any, __: aiohttp.TraceConnectionCreateEndParams) -> None:
    if context.trace_request_ctx is not None:
        context.trace_request_ctx.new_connection = True


def passed_on(headers: Mapping[str, str], without: frozenset[str]) -> CIMultiDict[str]:
    """All headers but those of the connection, among them those that Connection itself names."""
    named = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    kept = CIMultiDict[str]()
    for name, value in headers.items():
        if name.lower() not in HOP_BY_HOP | without | named:
            kept.add(name, value)
    return kept


def request_id_of(request: web.Request) -> str:
    """The client's, if it is of a kind that can be passed on and logged; else a new one."""
    given = request.headers.get("X-Request-ID", "")
    return given if given.isascii() and given.isprintable() and 0 < len(given) <= LONGEST_ID else uuid.uuid4().hex


def error_response(status: int, text: str, kind: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """As OpenAI's API has errors."""
    body = {"error": {"message": text, "type": kind, "param": None, "code": status}}
    return web.Response(status=status, text=json.dumps(body), content_type="application/json", headers=headers)


@web.middleware
async def as_json(request: web.Request, handler: Any) -> web.StreamResponse:
    """What aiohttp itself refuses, such as an unknown path."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return error_response(error.status, f"{request.method} {request.path}: {error.reason}", "invalid_request_error")


async def serve(proxy: GeoProxy, stop: asyncio.Event) -> None:
    """Serves until `stop` is set and what is under way has ended or had its time. Errors: OSError, a port in use."""
    settings = proxy.settings
    # A client that goes away cancels its handler, and with it the request to the node.
    runner = web.AppRunner(proxy.application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.listen, settings.port, backlog=1024)
        await site.start()
        host, port = runner.addresses[0][:2]
        name = f"[{host}]" if ":" in host else host
        print(
            f"geo proxy: http://{name}:{port}, {len(proxy.nodes)} nodes, {len(proxy.lookup)} places, "
            f"router {proxy.chooser.name}",
            flush=True,
        )
        await stop.wait()
        proxy.stopping = True
        logging.info("stopping: %d requests are under way", proxy.active)
        try:
            await asyncio.wait_for(proxy.idle.wait(), settings.shutdown_timeout)
        except TimeoutError:
            logging.warning("%d requests did not end within %g s and are cut", proxy.active, settings.shutdown_timeout)
    finally:
        await runner.cleanup()
