"""The HTTP service: what it is asked, in what order it works, and how it says no.

The event loop moves bytes. Reading JSON, rendering and tokenizing happen on threads, in two lanes: large requests
have a thread of their own, so that they are never before small ones.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import logging
import platform
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from importlib import metadata
from typing import Any

from aiohttp import web

from gotoni_tokenizer import __version__
from gotoni_tokenizer.errors import RequestError
from gotoni_tokenizer.models import Model
from gotoni_tokenizer.prompts import Text, flag, prompts, read
from gotoni_tokenizer.sockets import BACKLOG, Listener

# Bytes of a body. A text of that size takes half a second.
LARGE = 1 << 20
# Large bodies held at once, in multiples of the largest.
MOST_HELD = 4
MOST_IN_BATCH = 1024
# Ids written at once: the interpreter lets no other thread run meanwhile.
IDS_AT_ONCE = 8192
# Together the 5 s after which the service ends whatever it does.
LAST_WORK_S = 4.5
CLOSING_S = 0.25
POLL_S = 0.005

Answer = Iterator[str]
log = logging.getLogger("gotoni-tokenizer")


class Service:
    """Answers for `models`; the first is the one for requests that name none."""

    def __init__(self, models: list[Model], threads: int, most_body: int, most_waiting: int) -> None:
        self.models = {model.name: model for model in models}
        self.first = models[0]
        self.most_body = most_body
        self.most_admitted = threads + most_waiting
        self.threads = threads
        self.admitted = 0
        self.held = 0
        self.stopping = False
        self.started = time.monotonic()
        self.counters = {"requests": 0, "tokens": 0, "failed": 0, "refused": 0}
        # Looking them up reads files.
        self._versions = {name: metadata.version(name) for name in ("tokenizers", "jinja2", "aiohttp")}
        self._versions["python"] = platform.python_version()
        # Guards the counters and what follows, which threads change.
        self._counting = threading.Lock()
        self._running = 0
        self._small = concurrent.futures.ThreadPoolExecutor(threads, "small")
        self._large = concurrent.futures.ThreadPoolExecutor(1, "large")

    def application(self) -> web.Application:
        made = web.Application(middlewares=[self._errors_as_json], client_max_size=self.most_body + 1)
        made.router.add_post("/tokenize", self._tokenize)
        made.router.add_post("/count", self._count)
        made.router.add_post("/batch", self._batch)
        made.router.add_get("/health", self._health)
        made.router.add_get("/models", self._list)
        return made

    def end(self) -> bool:
        """Takes no more work. Whether all threads are free."""
        for lane in (self._small, self._large):
            lane.shutdown(wait=False)
        with self._counting:
            return self._running == 0

    # MARK: Requests

    async def _tokenize(self, request: web.Request) -> web.Response:
        endpoint = request.query.get("endpoint")
        return await self._work(request, lambda body: self._tokenized(body, endpoint))

    async def _count(self, request: web.Request) -> web.Response:
        return await self._work(request, self._counted)

    async def _batch(self, request: web.Request) -> web.Response:
        return await self._work(request, self._tokenized_each)

    async def _health(self, _: web.Request) -> web.Response:
        return _json(
            {
                "status": "ok",
                "model": self.first.name,
                "models": list(self.models),
                "version": __version__,
                "versions": self._versions,
                "uptime_seconds": round(time.monotonic() - self.started, 3),
                "threads": self.threads,
                "under_way": self.admitted,
                **self.counters,
            }
        )

    async def _list(self, _: web.Request) -> web.Response:
        models = [
            {
                "id": model.name,
                "object": "model",
                "max_model_len": model.max_length,
                "has_chat_template": model.has_template,
            }
            for model in self.models.values()
        ]
        return _json({"object": "list", "data": models})

    async def _work(self, request: web.Request, work: Callable[[dict[str, Any]], Answer]) -> web.Response:
        """The answer of `work` to the body, made on a thread."""
        size = request.content_length if request.content_length is not None else self.most_body
        if size > self.most_body:
            raise RequestError(f"The body has {size} bytes, more than {self.most_body}.", 413)
        held = size if size > LARGE else 0
        if self.admitted >= self.most_admitted or self.held + held > max(MOST_HELD * self.most_body, LARGE):
            raise RequestError("Too many requests wait already.", 503)
        self.held += held
        self.admitted += 1
        try:
            data = await request.read()
            lane = self._large if len(data) > LARGE else self._small
            answer = await asyncio.get_running_loop().run_in_executor(lane, self._answered, data, work)
        finally:
            self.held -= held
            self.admitted -= 1
        return web.Response(body=answer, content_type="application/json")

    # MARK: Work, on threads

    def _answered(self, data: bytes, work: Callable[[dict[str, Any]], Answer]) -> bytes:
        with self._counting:
            self._running += 1
        try:
            answer = "".join(work(read(data))).encode()
            with self._counting:
                self.counters["requests"] += 1
            return answer
        except RecursionError:
            raise RequestError("The body is nested too deeply.") from None
        except MemoryError:
            raise RequestError("There is not enough memory for the request.", 503) from None
        finally:
            with self._counting:
                self._running -= 1

    def _tokenized(self, body: dict[str, Any], endpoint: str | None) -> Answer:
        model, with_tokens = self._model(body), flag(body, "return_tokens", True)
        found = []
        for prompt in prompts(body, endpoint, model):
            found.append(model.encode(prompt.text, prompt.special_tokens) if isinstance(prompt, Text) else prompt)
        count = sum(map(len, found))
        self._add_tokens(count)
        yield f'{{"count": {count}, "max_model_len": {json.dumps(model.max_length)}'
        if with_tokens:
            yield ', "tokens": '
            if len(found) == 1:
                yield from _list_of(found[0])
            else:
                for index, ids in enumerate(found):
                    yield ", " if index else "["
                    yield from _list_of(ids)
                yield "]"
        yield f', "model": {json.dumps(model.name)}}}'

    def _counted(self, body: dict[str, Any]) -> Answer:
        text = body.get("text")
        if not isinstance(text, str):
            raise RequestError("text is missing, or no text.")
        count = len(self._model(body).encode(text, False))
        self._add_tokens(count)
        yield f'{{"count": {count}}}'

    def _tokenized_each(self, body: dict[str, Any]) -> Answer:
        requests = body.get("requests")
        if not isinstance(requests, list):
            raise RequestError("requests is missing, or no list.")
        if len(requests) > MOST_IN_BATCH:
            raise RequestError(f"There are {len(requests)} requests, more than {MOST_IN_BATCH}.", 413)
        yield '{"results": ['
        for index, one in enumerate(requests):
            yield ", " if index else ""
            try:
                if not isinstance(one, dict):
                    raise RequestError("The request is not an object.")
                yield "".join(self._tokenized(one, None))
            except RecursionError:
                yield json.dumps(RequestError("The request is nested too deeply.").document())
            except RequestError as error:
                yield json.dumps(error.document())
        yield "]}"

    def _model(self, body: dict[str, Any]) -> Model:
        name = body.get("model")
        if len(self.models) == 1 or name is None:
            return self.first
        if not isinstance(name, str):
            raise RequestError("model is not a text.")
        if name not in self.models:
            raise RequestError(f"There is no model {name[:200]}; there are {', '.join(self.models)}.", 404)
        return self.models[name]

    def _add_tokens(self, count: int) -> None:
        with self._counting:
            self.counters["tokens"] += count

    # MARK: Errors

    @web.middleware
    async def _errors_as_json(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """All that goes wrong as {"error": {...}}, and a line in the log that has nothing of a prompt in it."""
        began = time.monotonic()
        try:
            answer = await handler(request)
        except RequestError as error:
            answer = self._refusal(error)
        except web.HTTPException as error:
            answer = self._refusal(RequestError(_reason(error, request), error.status))
            answer.headers.extend({key: value for key, value in error.headers.items() if key == "Allow"})
        except Exception as error:
            log.error("%s: %s", request.path, _where(error))
            answer = self._refusal(RequestError("The service failed; its log says where.", 500))
        if self.stopping:
            answer.force_close()
        log.debug("%s %s %d, %.1f ms", request.method, request.path, answer.status, (time.monotonic() - began) * 1e3)
        return answer

    def _refusal(self, error: RequestError) -> web.Response:
        self.counters["refused" if error.status == 503 else "failed"] += 1
        answer = _json(error.document(), error.status)
        if error.status == 503:
            answer.headers["Retry-After"] = "1"
        return answer


async def serve(service: Service, listener: Listener, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """Until `stop`, and then until what is under way is answered or LAST_WORK_S are over."""
    # A client that goes away takes its request with it, if no thread has begun it.
    runner = web.AppRunner(
        service.application(), access_log=None, shutdown_timeout=CLOSING_S, handler_cancellation=True
    )
    await runner.setup()
    await web.SockSite(runner, listener.socket, backlog=BACKLOG).start()
    ready()
    await stop.wait()
    service.stopping = True
    listener.remove()
    end = time.monotonic() + LAST_WORK_S
    quiet = 0
    # Twice quiet: between accepting a connection and the request on it the event loop goes around.
    while quiet < 2 and time.monotonic() < end:
        await asyncio.sleep(POLL_S)
        quiet = 0 if service.admitted or listener.has_waiting() else quiet + 1
    await runner.cleanup()


# MARK: Answers


def _list_of(ids: list[int]) -> Answer:
    """JSON, in pieces between which other threads get their turn."""
    yield "["
    for start in range(0, len(ids), IDS_AT_ONCE):
        yield ", " if start else ""
        yield str(ids[start : start + IDS_AT_ONCE])[1:-1]
    yield "]"


def _json(document: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(document).encode(), status=status, content_type="application/json")


def _reason(error: web.HTTPException, request: web.Request) -> str:
    if error.status == 404:
        return "There is no such path; there are /tokenize, /count, /batch, /health and /models."
    if error.status == 405:
        return f"{request.path} does not take {request.method}."
    if error.status == 413:
        return "The body is too large."
    return error.reason


def _where(error: BaseException) -> str:
    """The error's kind and place. Not its words: they may be a prompt's."""
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "?"
    return f"{type(error).__name__} at {place}"
