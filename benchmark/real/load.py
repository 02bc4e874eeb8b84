"""Sends a trace's requests at their times to one router, as chat requests that stream, and records what came back when.

Times count from when a request should have been sent, so a late client flatters nobody, and how late it was is recorded.
Connections to the router are kept.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import pathlib
import sys
import time
from typing import Any, Sequence

import aiohttp

HERE = pathlib.Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "validity"), str(HERE.parent / "peers")]

import model  # noqa: E402
import workload  # noqa: E402
from processes import BenchError  # noqa: E402

LEAD_S = 0.5  # from the beginning of a run to the zero of its schedule
REQUEST_S = 120.0

# Conversations as short as three tiny engines can serve, shaped like Mooncake's: a first block that all share, growing prompts.
PLAN = workload.Plan(
    seed=0,
    seconds=60,
    sessions=18,
    burstiness=1.0,
    turns=(3, 8),
    think_s=(4.0, 4.0),
    system_blocks=1,
    openings=[(0.7, 180), (0.3, 700)],
    question=80,
    spread=0.8,
    answer=(4, 20),
)


@dataclasses.dataclass
class Record:
    """One request. `ttft_ms` is None if it failed, and `error` says why."""

    due_ms: float
    late_ms: float = 0.0
    ttft_ms: float | None = None
    e2e_ms: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    error: str = ""


def own_trace(seed: int) -> list[workload.Request]:
    return workload.make(dataclasses.replace(PLAN, seed=seed))


def read_trace(path: pathlib.Path) -> list[workload.Request]:
    """Mooncake's JSON lines with blocks of 32 tokens."""
    requests: list[workload.Request] = []
    names = {field.name for field in dataclasses.fields(workload.Request)}
    try:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            requests.append(workload.Request(**{name: row[name] for name in names}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path} is no trace in Mooncake's format: {type(error).__name__}: {error}") from None
    if not requests or any(each.input_length > len(each.hash_ids) * workload.BLOCK for each in requests):
        raise BenchError(f"{path} is empty, or its blocks are not of {workload.BLOCK} tokens")
    return requests


def text(request: workload.Request, salt: int) -> str:
    """As many words as the prompt has tokens. Prompts that begin alike in the trace begin with the same words."""
    return "".join(model.word(number) for number in workload.prompt(request, 0, model.WORDS, salt))


def body(request: workload.Request, salt: int) -> bytes:
    """Greedy, so every answer has its whole length. The second block is the conversation's; a lone one is its own."""
    session = request.hash_ids[min(1, len(request.hash_ids) - 1)]
    fields = {
        "model": "tiny-random",
        "messages": [{"role": "user", "content": text(request, salt)}],
        "max_tokens": request.output_length,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": f"session-{salt}-{session}",
    }
    return json.dumps(fields).encode()


def replay(url: str, requests: Sequence[workload.Request], bodies: Sequence[bytes]) -> list[Record]:
    gc.collect()
    gc.disable()  # a pause of the client would be taken for one of the router
    try:
        return asyncio.run(send_all(url, requests, bodies))
    finally:
        gc.enable()


async def send_all(url: str, requests: Sequence[workload.Request], bodies: Sequence[bytes]) -> list[Record]:
    timeout = aiohttp.ClientTimeout(total=REQUEST_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        zero = time.perf_counter() + LEAD_S
        tasks: list[asyncio.Task[Record]] = []
        for request, data in zip(requests, bodies, strict=True):
            await asyncio.sleep(zero + request.timestamp / 1000 - time.perf_counter())
            tasks.append(asyncio.create_task(send(session, url, float(request.timestamp), data, zero)))
        return await asyncio.gather(*tasks)


async def send(session: aiohttp.ClientSession, url: str, due_ms: float, data: bytes, zero: float) -> Record:
    def now_ms() -> float:
        return (time.perf_counter() - zero) * 1000 - due_ms

    record = Record(due_ms, late_ms=now_ms())
    usage: dict[str, Any] = {}
    try:
        headers = {"Content-Type": "application/json"}
        async with session.post(f"{url}/v1/chat/completions", data=data, headers=headers) as answer:
            if answer.status != 200:
                record.error = f"status {answer.status}: {(await answer.text())[:200]}"
                return record
            async for line in answer.content:
                if not line.startswith(b"data: {"):
                    continue
                event = json.loads(line[6:])
                usage = event.get("usage") or usage
                if record.ttft_ms is None and event.get("choices") and event["choices"][0]["delta"].get("content"):
                    record.ttft_ms = now_ms()
        record.e2e_ms = now_ms()
        record.prompt_tokens = usage["prompt_tokens"]
        record.cached_tokens = usage["prompt_tokens_details"]["cached_tokens"]
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        record.error = f"{type(error).__name__}: {error}"
        record.ttft_ms = record.e2e_ms = None
    return record
