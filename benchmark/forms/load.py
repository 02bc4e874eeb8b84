"""The clients: conversations behind shared system prompts, open loop, and when their first tokens came.

Conversations begin as Poisson and turns follow answers. Everything that is sent is drawn from a seed before the first request
leaves, but for the answers, which are sent again as they came; they always have the same length.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import time
from typing import Any

import aiohttp

BYTES_PER_TOKEN = 4  # as gotoni-engine counts without a tokenizer
REQUEST_S = 90.0
WARM_CONNECTIONS = 12


@dataclasses.dataclass(frozen=True)
class Shape:
    """Lengths in tokens, drawn log-normally as (median, sigma of the logarithm), and cut."""

    system_prompts: int = 4
    system_tokens: int = 2000
    first: tuple[float, float] = (2000, 0.8)
    later: tuple[float, float] = (800, 0.8)
    longest: int = 8000
    answer: tuple[float, float] = (40, 0.5)
    answer_range: tuple[int, int] = (12, 96)
    mean_turns: float = 4.0
    most_turns: int = 6
    think_s: tuple[float, float] = (0.8, 0.5)


@dataclasses.dataclass(frozen=True)
class Turn:
    text: str
    answer_tokens: int
    think_s: float  # before it


@dataclasses.dataclass(frozen=True)
class Conversation:
    number: int
    begins_s: float
    system: str
    turns: list[Turn]


@dataclasses.dataclass
class Answer:
    conversation: int
    turn: int
    due_s: float = 0.0  # since the run began
    prompt_tokens: int = 0
    cached_tokens: int = 0
    ttft_ms: float | None = None
    e2e_ms: float | None = None
    late_ms: float = 0.0  # of the client itself: from when it should have sent to when it did
    error: str = ""
    text: str = ""


def conversations(per_second: float, seconds: float, seed: int, shape: Shape = Shape()) -> list[Conversation]:
    chance = random.Random(f"forms-{seed}")

    def text(tokens: int) -> str:
        return chance.randbytes(tokens * BYTES_PER_TOKEN // 2).hex()

    def drawn(median: float, sigma: float, least: float, most: float) -> float:
        return min(max(median * 2.718281828 ** chance.gauss(0, sigma), least), most)

    systems = [text(shape.system_tokens) for _ in range(shape.system_prompts)]
    result: list[Conversation] = []
    begins = chance.expovariate(per_second)
    while begins < seconds:
        turns: list[Turn] = []
        while True:
            length = shape.later if turns else shape.first
            turns.append(
                Turn(
                    text=text(int(drawn(*length, 8, shape.longest))),
                    answer_tokens=int(drawn(*shape.answer, *shape.answer_range)),
                    think_s=drawn(*shape.think_s, 0.1, 10),
                )
            )
            if len(turns) == shape.most_turns or chance.random() < 1 / shape.mean_turns:
                break
        result.append(Conversation(len(result), begins, chance.choice(systems), turns))
        begins += chance.expovariate(per_second)
    return result


def ideal_tokens(plan: list[Conversation]) -> tuple[int, int]:
    """Prompt tokens, and those of them that no cache could have had."""
    asked = fresh = 0
    seen: set[str] = set()
    for conversation in plan:
        system = len(conversation.system) // BYTES_PER_TOKEN
        context = system
        fresh += 0 if conversation.system in seen else system
        seen.add(conversation.system)
        for turn in conversation.turns:
            own = len(turn.text) // BYTES_PER_TOKEN
            asked += context + own
            fresh += own
            context += own + turn.answer_tokens
    return asked, fresh


class Clients:
    """Sends each conversation of a plan to the entry of its region, and keeps what came back."""

    def __init__(
        self, plan: list[Conversation], regions: list[int], entries: list[str], fresh_connections: bool = False
    ) -> None:
        self.plan = plan
        self.regions = regions
        self.entries = entries
        self.fresh_connections = fresh_connections
        self.answers: list[Answer] = []
        self.opened = 0
        self.loop_late_ms: list[float] = []

    async def run(self) -> None:
        trace = aiohttp.TraceConfig()

        async def opened(*_: Any) -> None:
            self.opened += 1

        trace.on_connection_create_end.append(opened)
        if self.fresh_connections:
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
        else:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        limit = aiohttp.ClientTimeout(total=REQUEST_S)
        async with aiohttp.ClientSession(connector=connector, timeout=limit, trace_configs=[trace]) as session:
            if not self.fresh_connections:
                await asyncio.gather(*(self.warm(session, entry) for entry in self.entries * WARM_CONNECTIONS))
            self.opened = 0
            watch = asyncio.create_task(self.watch())
            start = time.monotonic() + 0.2
            await asyncio.gather(*(self.converse(session, each, start) for each in self.plan))
            watch.cancel()

    async def warm(self, session: aiohttp.ClientSession, entry: str) -> None:
        async with session.get(f"{entry}/health") as response:
            await response.read()

    async def watch(self) -> None:
        """How late this loop comes to what is due."""
        while True:
            due = time.monotonic() + 0.02
            await asyncio.sleep(0.02)
            self.loop_late_ms.append(1000 * (time.monotonic() - due))

    async def converse(self, session: aiohttp.ClientSession, conversation: Conversation, start: float) -> None:
        entry = self.entries[self.regions[conversation.number]]
        messages = [{"role": "system", "content": conversation.system}]
        due = start + conversation.begins_s
        for number, turn in enumerate(conversation.turns):
            messages.append({"role": "user", "content": turn.text})
            answer = Answer(conversation.number, number, due - start)
            self.answers.append(answer)
            await asyncio.sleep(max(0, due - time.monotonic()))
            try:
                await self.ask(session, entry, messages, turn, due, answer)
            except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as error:
                answer.error = answer.error or f"{type(error).__name__}: {error}"[:200]
            if answer.error:
                return
            messages.append({"role": "assistant", "content": answer.text})
            if number + 1 < len(conversation.turns):
                due = time.monotonic() + conversation.turns[number + 1].think_s

    async def ask(
        self,
        session: aiohttp.ClientSession,
        entry: str,
        messages: list[dict[str, str]],
        turn: Turn,
        due: float,
        answer: Answer,
    ) -> None:
        request = {
            "model": "simulated",
            "messages": messages,
            "max_tokens": turn.answer_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        body = json.dumps(request, separators=(",", ":")).encode()
        answer.late_ms = 1000 * (time.monotonic() - due)
        headers = {"Content-Type": "application/json"}
        async with session.post(f"{entry}/v1/chat/completions", data=body, headers=headers) as response:
            received = bytearray()
            if response.status != 200:
                answer.error = f"status {response.status}: {(await response.text())[:160]}"
                return
            async for piece in response.content.iter_any():
                received += piece
                if answer.ttft_ms is None and has_content(received):
                    answer.ttft_ms = 1000 * (time.monotonic() - due)
        answer.e2e_ms = 1000 * (time.monotonic() - due)
        read(bytes(received), turn, answer)


def has_content(received: bytes | bytearray) -> bool:
    """A whole event with words of the answer, not only its role."""
    return any(content(event) for event in events(bytes(received)))


def events(received: bytes) -> list[dict[str, Any]]:
    whole = received[: received.rfind(b"\n\n") + 2] if b"\n\n" in received else b""
    lines = (event.removeprefix(b"data: ") for event in whole.split(b"\n\n"))
    return [json.loads(line) for line in lines if line.startswith(b"{")]


def content(event: dict[str, Any]) -> str:
    choices = event.get("choices") or []
    return (choices[0]["delta"].get("content") or "") if choices else ""


def read(received: bytes, turn: Turn, answer: Answer) -> None:
    """What an answer was, and that all of it came."""
    found = events(received)
    answer.text = "".join(content(event) for event in found)
    usage = next((event["usage"] for event in found if event.get("usage")), None)
    if not received.rstrip().endswith(b"data: [DONE]") or usage is None or answer.ttft_ms is None:
        answer.error = "the stream ended early"
        return
    if usage["completion_tokens"] != turn.answer_tokens:
        answer.error = f"{usage['completion_tokens']} tokens instead of {turn.answer_tokens}"
        return
    answer.prompt_tokens = usage["prompt_tokens"]
    answer.cached_tokens = usage["prompt_tokens_details"]["cached_tokens"]
