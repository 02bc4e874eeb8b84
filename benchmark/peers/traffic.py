"""What is sent and what is answered: the same bytes for every router.

48 chat bodies of exactly one size, in 8 groups; the first 55 % of a prompt is its group's, the rest is its own.
"""

from __future__ import annotations

import json
import random
from typing import Mapping

MODEL = "mock"
GROUPS = 8
BODIES_PER_GROUP = 6
SHARED = 0.55
ANSWER_BYTES = 240
WORDS = "the of router server prompt cache token prefix queue first block long short answer user system model".split()


# What the mocker cells ask for. One token is the least that there is.
ONE_TOKEN = {"max_tokens": 1}
STREAM_TOKENS = 16
WITH_USAGE = {"max_tokens": STREAM_TOKENS, "stream_options": {"include_usage": True}}


def bodies(
    size: int, seed: int | str, stream: bool = False, fields: Mapping[str, object] | None = None, groups: int = GROUPS
) -> list[bytes]:
    """In the order in which they are sent, which is shuffled, so that no group comes in a row. `fields` go into each."""
    chance = random.Random(f"{seed}-{size}")
    result = []
    for _ in range(groups):
        shared = words(chance, int(size * SHARED))
        result += [body(shared, chance, size, {"stream": stream, **(fields or {})}) for _ in range(BODIES_PER_GROUP)]
    chance.shuffle(result)
    return result


def body(shared: str, chance: random.Random, size: int, fields: Mapping[str, object]) -> bytes:
    def encoded(own: str) -> bytes:
        messages = [{"role": "system", "content": shared}, {"role": "user", "content": own}]
        request = {"model": MODEL, "messages": messages, "max_tokens": 100, **fields}
        return json.dumps(request, separators=(",", ":")).encode()

    return encoded(words(chance, size - len(encoded(""))))


def words(chance: random.Random, length: int) -> str:
    text = ""
    while len(text) < length:
        text += f"{chance.choice(WORDS)}{chance.randrange(1000)} "
    return text[:length]


def answer() -> bytes:
    """The chat completion that every overhead request is answered with."""

    def encoded(content: str) -> bytes:
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 200, "completion_tokens": 1, "total_tokens": 201}
        completion = {"id": "chatcmpl-0", "object": "chat.completion", "created": 1, "model": MODEL}
        return json.dumps({**completion, "choices": [choice], "usage": usage}, separators=(",", ":")).encode()

    return encoded("x" * (ANSWER_BYTES - len(encoded(""))))


def is_answer(text: bytes) -> bool:
    return text == answer()


def has_one_token(answer: bytes) -> bool:
    """Whether it is the chat completion that ONE_TOKEN asks for."""
    try:
        completion = json.loads(answer)
        return completion["object"] == "chat.completion" and completion["usage"]["completion_tokens"] == 1
    except (ValueError, KeyError, TypeError):
        return False


def other_answers() -> dict[str, str]:
    """What routers ask servers for when they start, and in between: path to JSON."""
    models = {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1700000000, "owned_by": "vllm"}]}
    info = {"model_path": MODEL, "served_model_name": MODEL, "tokenizer_path": "", "is_generation": True}
    server = {"model_path": MODEL, "served_model_name": MODEL, "tp_size": 1, "dp_size": 1, "version": "0"}
    loads = {"loads": [{"dp_rank": 0, "num_running_reqs": 0, "num_waiting_reqs": 0, "num_tokens": 0}]}
    answers = {
        "/health": {"status": "ok"},
        "/health_generate": {"status": "ok"},
        "/v1/models": models,
        "/get_model_info": info,
        "/model_info": info,
        "/get_server_info": server,
        "/server_info": server,
        "/v1/loads": loads,
        "/version": {"version": "0"},
    }
    return {path: json.dumps(value, separators=(",", ":")) for path, value in answers.items()}
