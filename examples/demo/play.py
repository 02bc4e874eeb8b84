"""Plays a workload through the proxy, as its users would: who has an answer goes on with it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from typing import Any, Callable, Sequence

from client import Answer, AnswerError, Client
from workload import Conversation, Workload

CONNECTIONS = 8  # to each engine before it is measured; more are hardly ever in use


@dataclasses.dataclass(frozen=True)
class Sample:
    request_id: str
    answer: Answer | None
    error: str
    late_ms: float  # after it should have been sent, which is this program's doing
    # What the proxy has written about it, if anything.
    server: str | None = None
    proxy_ttft_ms: float | None = None


def body_of(conversation: str, messages: list[dict[str, str]], answer_tokens: int) -> bytes:
    return json.dumps(
        {
            "model": "simulated",
            "messages": messages,
            "max_tokens": answer_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "prompt_cache_key": conversation,  # what session-affinity goes by
        }
    ).encode()


async def play(
    workload: Workload, host: str, port: int, tag: str, told: Callable[[Sample], None] = lambda sample: None
) -> list[Sample]:
    """All conversations, each from its start on. `told` hears of every request when it is over."""
    client = Client(host, port)
    samples: list[Sample] = []
    begin = time.perf_counter() + 0.05

    def over(sample: Sample) -> None:
        samples.append(sample)
        told(sample)

    try:
        await asyncio.gather(
            *(converse(client, each, begin + each.start_s, tag, over) for each in workload.conversations)
        )
    finally:
        client.close()
    return samples


async def converse(
    client: Client, conversation: Conversation, start: float, tag: str, over: Callable[[Sample], None]
) -> None:
    """A failed turn ends its conversation: its user has nothing to answer to."""
    name = f"{tag}-{conversation.number}"
    messages = [{"role": "system", "content": conversation.system}]
    due = start
    for number, turn in enumerate(conversation.turns):
        messages.append({"role": "user", "content": turn.text})
        # Before the wait, so that it does not delay anybody's first token.
        body = body_of(name, messages, turn.answer_tokens)
        due += turn.pause_s
        await asyncio.sleep(due - time.perf_counter())
        late = max(time.perf_counter() - due, 0) * 1000
        request_id = f"{name}-{number}"
        try:
            answer = await client.chat(body, request_id)
        except AnswerError as error:
            over(Sample(request_id, None, str(error), late))
            return
        due = time.perf_counter()
        over(Sample(request_id, answer, "", late))
        messages.append({"role": "assistant", "content": answer.text})


def joined(samples: Sequence[Sample], log: dict[str, dict[str, Any]]) -> list[Sample]:
    """With what the proxy's log says of each."""
    found = []
    for sample in samples:
        row = log.get(sample.request_id, {})
        server, ttft = row.get("selected_server_id"), row.get("ttft_ms")
        found.append(dataclasses.replace(sample, server=server, proxy_ttft_ms=ttft))
    return found


async def connect(regions: int, host: str, port: int, tag: str) -> None:
    """Under round-robin: every engine gets connections, for a new one costs a round trip, which is not routing."""
    await in_turn((), regions * CONNECTIONS, host, port, tag)


async def warm(systems: tuple[str, ...], regions: int, host: str, port: int, tag: str) -> None:
    """Under round-robin: every engine gets what each assistant is told."""
    for index, system in enumerate(systems):
        await in_turn(({"role": "system", "content": system},), regions, host, port, f"{tag}-s{index}")


async def in_turn(begin: tuple[dict[str, str], ...], count: int, host: str, port: int, tag: str) -> None:
    """The same short question `count` times at once."""
    client = Client(host, port)
    body = body_of(tag, [*begin, {"role": "user", "content": "hello"}], 1)
    try:
        await asyncio.gather(*(client.chat(body, f"{tag}-{number}") for number in range(count)))
    finally:
        client.close()
