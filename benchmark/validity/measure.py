"""Sends requests at their times, whatever became of those before, and records what came back when.

Every latency counts from the scheduled time, so a late client cannot flatter the engine; and a run in which the client was
late is an error, not a result. Connections are kept and reused.

    python measure.py http://127.0.0.1:8080 trace.jsonl records.json
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import json
import os
import pathlib
import sys
import time
from typing import Any, Sequence

import aiohttp

import model
import workload

LATEST_DISPATCH_MS = 50.0
LONGEST_RUN_S = 180.0
LEAD_S = 0.25  # from the beginning of a run to the zero of its schedule
IDLE_CONNECTION_S = 2.0  # the server closes connections that were idle for 5 s


class RunError(Exception):
    """One sentence about why a run is no measurement."""


@dataclasses.dataclass(frozen=True)
class Job:
    scheduled_ms: float
    prompt: list[int]
    output_tokens: int


@dataclasses.dataclass
class Record:
    index: int
    scheduled_ms: float
    late_ms: float  # from the schedule to the moment the request is handed to the connection
    ttft_ms: float
    e2e_ms: float
    itl_ms: float  # mean gap between tokens; 0 if there is but one
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    token_ms: list[float]  # when each token arrived, on the clock of the schedule


@dataclasses.dataclass
class Run:
    records: list[Record]
    late_p95_ms: float
    load_before: float
    load_after: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of the engine")
    parser.add_argument("trace", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    arguments = parser.parse_args()
    rows = [workload.Request(**json.loads(line)) for line in arguments.trace.read_text().splitlines()]
    run = replay(arguments.url, jobs_of(rows), "replay")
    arguments.out.write_text(json.dumps(dataclasses.asdict(run)) + "\n")


def jobs_of(requests: Sequence[workload.Request]) -> list[Job]:
    return [
        Job(float(request.timestamp), workload.prompt(request, model.FIRST_WORD, model.WORDS), request.output_length)
        for request in requests
    ]


def replay(url: str, jobs: Sequence[Job], title: str) -> Run:
    load_before = os.getloadavg()[0]
    gc.collect()
    gc.disable()  # a pause of the client would be taken for one of the engine
    try:
        records = asyncio.run(asyncio.wait_for(send_all(url, jobs, title), LONGEST_RUN_S))
    except (aiohttp.ClientError, asyncio.TimeoutError, ValueError, KeyError) as error:
        raise RunError(f"{title}: a request failed ({type(error).__name__}: {error}).") from None
    finally:
        gc.enable()
    late = percentile([record.late_ms for record in records], 95)
    if late > LATEST_DISPATCH_MS:
        raise RunError(f"{title}: the client was late; the 95th percentile is {late:.0f} ms. Is the machine busy?")
    return Run(records, late, load_before, os.getloadavg()[0])


async def send_all(url: str, jobs: Sequence[Job], title: str) -> list[Record]:
    bodies = [body(job) for job in jobs]
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_CONNECTION_S)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=1 << 20) as session:
        zero = time.perf_counter() + LEAD_S
        tasks: list[asyncio.Task[Record]] = []
        for index, job in enumerate(jobs):
            await asyncio.sleep(zero + job.scheduled_ms / 1000 - time.perf_counter())
            tasks.append(asyncio.create_task(send(session, url, index, job, bodies[index], zero)))
            progress(f"{title}: {index + 1} of {len(jobs)}")
        records = await asyncio.gather(*tasks)
    progress("")
    return records


def body(job: Job) -> bytes:
    """Greedy, and never tired of answering; written before the run, so it costs nothing in it."""
    fields = {
        "model": "tiny-random",
        "prompt": job.prompt,
        "max_tokens": job.output_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        "cache_prompt": True,
        "samplers": ["top_k"],
        "top_k": 1,
    }
    return json.dumps(fields).encode()


async def send(
    session: aiohttp.ClientSession, url: str, index: int, job: Job, data: bytes, zero: float
) -> Record:
    late_ms = (time.perf_counter() - zero) * 1000 - job.scheduled_ms
    token_ms: list[float] = []
    usage: dict[str, Any] = {}
    headers = {"Content-Type": "application/json"}
    async with session.post(f"{url}/v1/completions", data=data, headers=headers) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            arrived_ms = (time.perf_counter() - zero) * 1000
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if event["choices"] and event["choices"][0]["text"]:
                token_ms.append(arrived_ms)
            usage = event.get("usage") or usage
    return record(index, job, late_ms, token_ms, usage)


def record(index: int, job: Job, late_ms: float, token_ms: list[float], usage: dict[str, Any]) -> Record:
    counts = (usage["prompt_tokens"], usage["completion_tokens"], len(token_ms))
    if counts != (len(job.prompt), job.output_tokens, job.output_tokens):
        raise ValueError(f"request {index} gave {counts} tokens of prompt, answer and stream")
    return Record(
        index=index,
        scheduled_ms=job.scheduled_ms,
        late_ms=late_ms,
        ttft_ms=token_ms[0] - job.scheduled_ms,
        e2e_ms=token_ms[-1] - job.scheduled_ms,
        itl_ms=(token_ms[-1] - token_ms[0]) / (len(token_ms) - 1) if len(token_ms) > 1 else 0.0,
        prompt_tokens=usage["prompt_tokens"],
        cached_tokens=usage["prompt_tokens_details"]["cached_tokens"],
        output_tokens=usage["completion_tokens"],
        token_ms=token_ms,
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest rank: always one of the values."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
