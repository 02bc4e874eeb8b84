"""Conversations drawn from a seed, sent as chat requests that stream; and what each answer and the router's log say of it."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import http.client
import json
import random
import time
from typing import Any, Callable, Iterator, Sequence

from fleet import MODEL, REQUEST_S, Engine, Proxy
from processes import BenchError

CHAT = "/v1/chat/completions"
LOGGED_S = 10.0
ANSWER_TOKENS = 8
WORDS = (
    "the of router server answer question about prefix cache while busy wait token cost time measure load slow path region "
    "near far machine model prompt block first last store evict event number message table queue client city river mountain "
    "paper letter window garden music bread water summer winter morning evening friend family teacher doctor engine bridge"
).split()


@dataclasses.dataclass(frozen=True)
class Plan:
    """Conversations in groups that share a system prompt; lengths are words, drawn between the two."""

    groups: int = 4
    each: int = 6
    turns: int = 4
    system: tuple[int, int] = (150, 350)
    question: tuple[int, int] = (30, 200)


@dataclasses.dataclass
class Conversation:
    name: str
    messages: list[dict[str, str]]
    questions: list[str]
    fields: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Seen:
    """A request as the router saw it and as vLLM answered it, in tokens."""

    id: str
    server: str
    tokens: int
    engine_tokens: int
    predicted: int
    cached: int
    ttft_ms: float
    predicted_ttft_ms: float | None

    def is_within(self, block: int) -> bool:
        return abs(self.predicted - self.cached) <= block


def draw(seed: int, name: str, plan: Plan = Plan(), salt: str | None = None) -> list[Conversation]:
    """In an order that mixes the groups. `salt`: the same words, in a part of the caches of their own."""
    chance = random.Random(f"{seed} {name}")
    systems = [words(chance, plan.system) for _ in range(plan.groups)]
    made: list[Conversation] = []
    label, fields = (name, {}) if salt is None else (f"{name}-{salt}", {"cache_salt": salt})
    for number in range(plan.groups * plan.each):
        system = {"role": "system", "content": systems[number % plan.groups]}
        questions = [words(chance, plan.question) for _ in range(plan.turns)]
        made.append(Conversation(f"{label}-{number}", [system], questions, fields))
    return made


def words(chance: random.Random, length: tuple[int, int]) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(chance.randint(*length)))


def body(messages: Sequence[dict[str, str]], **fields: Any) -> bytes:
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps({"model": MODEL, "messages": messages, "max_tokens": ANSWER_TOKENS, "temperature": 0} | usage | fields).encode()


def converse(proxy: Proxy, conversations: Sequence[Conversation], at_once: int) -> list[Seen]:
    """All conversations, turn after turn; a turn goes on with the answer to the one before. Errors: BenchError."""
    asked: dict[str, dict[str, Any]] = {}
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        for turn in range(max(len(each.questions) for each in conversations)):
            for id, usage in pool.map(lambda each: ask(proxy, each, turn), conversations):
                asked[id] = usage
    return seen(proxy, asked)


def ask(proxy: Proxy, conversation: Conversation, turn: int) -> tuple[str, dict[str, Any]]:
    conversation.messages.append({"role": "user", "content": conversation.questions[turn]})
    id = f"{conversation.name}-{turn}"
    text, usage = send(proxy.port, id, body(conversation.messages, **conversation.fields))
    conversation.messages.append({"role": "assistant", "content": text})
    return id, usage


def besides(engine: Engine, conversation: Conversation, turn: int) -> None:
    """A turn that goes past the router, straight to an engine."""
    conversation.messages.append({"role": "user", "content": conversation.questions[turn]})
    answer = json.loads(engine.post(CHAT, body(conversation.messages, stream=False, stream_options=None, **conversation.fields)))
    conversation.messages.append({"role": "assistant", "content": answer["choices"][0]["message"]["content"] or ""})


def again(proxy: Proxy, conversations: Sequence[Conversation], name: str) -> list[Seen]:
    """The last turn of each once more, the latest first, one after the other. Errors: BenchError."""
    asked: dict[str, dict[str, Any]] = {}
    for each in reversed(conversations):
        id = f"{each.name}-{name}"
        asked[id] = send(proxy.port, id, prompt(each))[1]
    return seen(proxy, asked)


def prompt(conversation: Conversation) -> bytes:
    """The last request of a conversation whose answer has come."""
    return body(conversation.messages[:-1], **conversation.fields)


def send(port: int, id: str, data: bytes) -> tuple[str, dict[str, Any]]:
    """The answer's text and its usage. Errors: BenchError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_S)
    try:
        connection.request("POST", CHAT, data, {"Content-Type": "application/json", "X-Request-ID": id})
        answer = connection.getresponse()
        if answer.status != 200:
            raise BenchError(f"{id}: status {answer.status}: {answer.read(400).decode(errors='replace')}")
        text, usage = "", None
        for event in events(answer):
            usage = event.get("usage") or usage
            text += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        raise BenchError(f"{id}: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
    if usage is None:
        raise BenchError(f"{id}: the stream ended without usage")
    return text, usage


def events(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    for line in answer:
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


def leave(port: int, id: str, data: bytes, when: Callable[[], Any]) -> None:
    """Sends a request and closes the connection when `when` returns, whatever has come by then."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_S)
    try:
        connection.request("POST", CHAT, data, {"Content-Type": "application/json", "X-Request-ID": id})
        when()
    finally:
        connection.close()


def seen(proxy: Proxy, asked: dict[str, dict[str, Any]]) -> list[Seen]:
    """What the router's log says of them, where a request appears a moment after its end. Errors: BenchError."""
    deadline = time.monotonic() + LOGGED_S
    while (missing := asked.keys() - (rows := proxy.records()).keys()) and time.monotonic() < deadline:
        time.sleep(0.1)
    if missing:
        raise BenchError(f"{len(missing)} requests are not in the router's log, {min(missing)} for one")
    found: list[Seen] = []
    for id, usage in asked.items():
        row, cached = rows[id], (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        if cached is None or cached != row["cached_tokens"]:
            raise BenchError(f"{id}: vLLM says {cached} cached tokens, the router's log {row['cached_tokens']}")
        server = row["selected_server_id"]
        found.append(
            Seen(id, server, row["tokens"], usage["prompt_tokens"], row["matched_tokens"], cached, row["ttft_ms"],
                 row.get(f"{server}_predicted_ttft_ms"))
        )  # fmt: skip
    return found


def believed(proxy: Proxy, conversation: Conversation) -> dict[str, int]:
    """Tokens of its last request that each server is believed to hold."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=REQUEST_S)
    try:
        connection.request("POST", f"/proxy/explain?endpoint={CHAT}", prompt(conversation))
        rows = json.loads(connection.getresponse().read())["decisions"][0]["candidates"]
        return {row["server"]: row["matched_tokens"] for row in rows}
    except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError) as error:
        raise BenchError(f"/proxy/explain: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
