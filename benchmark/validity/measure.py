"""Sends requests at their times, whatever became of those before, and records what came back when.

Every latency counts from the scheduled time, so a late client cannot flatter the engine; and a run in which the client was
late is an error, not a result. Connections are kept and reused.

    run = measure.replay(server, measure.jobs_of(requests), "replay")
"""

from __future__ import annotations

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

import engine
import model
import workload

LATEST_DISPATCH_MS = 50.0
LONGEST_RUN_S = 180.0
LEAD_S = 0.25  # from the beginning of a run to the zero of its schedule
CONNECTIONS_TRIED = 3
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
    seconds: float
    late_p95_ms: float
    load_before: float
    load_after: float
    engine_cpu: float  # processors in use, on average over the run: 1 is one of them all the time
    others_cpu: float  # the same of whatever else runs on this machine


def jobs_of(requests: Sequence[workload.Request]) -> list[Job]:
    return [
        Job(float(request.timestamp), workload.prompt(request, model.FIRST_WORD, model.WORDS), request.output_length)
        for request in requests
    ]


def replay(server: engine.Engine, jobs: Sequence[Job], title: str) -> Run:
    begin = Usage.now(server)
    gc.collect()
    gc.disable()  # a pause of the client would be taken for one of the engine
    try:
        records = asyncio.run(asyncio.wait_for(send_all(server.url, jobs, title), LONGEST_RUN_S))
    except TimeoutError:
        raise RunError(f"{title}: it took more than {LONGEST_RUN_S:.0f} s. Is the machine busy?") from None
    except (aiohttp.ClientError, ValueError, KeyError) as error:
        raise RunError(f"{title}: a request failed ({type(error).__name__}: {error}).") from None
    finally:
        gc.enable()
    end = Usage.now(server)
    late = percentile([record.late_ms for record in records], 95)
    if late > LATEST_DISPATCH_MS:
        raise RunError(f"{title}: the client was late; the 95th percentile is {late:.0f} ms. Is the machine busy?")
    seconds = end.clock - begin.clock
    return Run(
        records=records,
        seconds=seconds,
        late_p95_ms=late,
        load_before=begin.load,
        load_after=end.load,
        engine_cpu=(end.engine - begin.engine) / seconds,
        others_cpu=max(end.others() - begin.others(), 0) / seconds,
    )


@dataclasses.dataclass(frozen=True)
class Usage:
    """Processor seconds used so far by the engine, by this process, and by all together."""

    clock: float
    engine: float
    client: float
    machine: float
    load: float

    @staticmethod
    def now(server: engine.Engine) -> Usage:
        return Usage(
            clock=time.perf_counter(),
            engine=server.cpu_seconds(),
            client=time.process_time(),
            machine=machine_cpu_seconds(),
            load=os.getloadavg()[0],
        )

    def others(self) -> float:
        return self.machine - self.engine - self.client


def machine_cpu_seconds() -> float:
    """What all processes have used since the machine started, and what its host took away from it."""
    times = [int(field) for field in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _, _, interrupt, soft_interrupt, stolen = times
    return (user + nice + system + interrupt + soft_interrupt + stolen) / os.sysconf("SC_CLK_TCK")


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
    for _ in range(CONNECTIONS_TRIED - 1):
        try:
            return await exchange(session, url, index, job, data, zero, late_ms)
        except aiohttp.ClientConnectionError:
            pass  # the server closed a kept connection just as this request was written to it
    return await exchange(session, url, index, job, data, zero, late_ms)


async def exchange(
    session: aiohttp.ClientSession, url: str, index: int, job: Job, data: bytes, zero: float, late_ms: float
) -> Record:
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

