"""What an answer, an end and an account must be in the chaos run. No I/O."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

# The engine that wrote an answer says so in it.
MODEL = re.compile(rb'"model":"([^"]*)"')


class Wrong(Exception):
    """An answer that none may be."""


@dataclasses.dataclass
class Question:
    number: int
    # stream, plain, tokens, models or bad.
    kind: str
    data: bytes
    identity: bytes
    tokens: int
    # never, in the request, before the answer, in the answer.
    leaves: str
    delay: float


def read_head(head: bytes, question: Question) -> tuple[int, dict[bytes, bytes]]:
    """Status and fields, of `head` in lower case."""
    lines = head.split(b"\r\n")
    if not re.fullmatch(rb"http/1\.1 [1-5]\d\d .*", lines[0]):
        raise Wrong(f"no status line: {lines[0]!r}")
    fields: dict[bytes, bytes] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or name in fields:
            raise Wrong(f"{name!r} twice, or no field: {head!r}")
        fields[name] = value.strip()
    if fields.get(b"x-request-id") != question.identity:
        raise Wrong(f"the answer is not ours: {head!r}")
    return int(lines[0][9:12]), fields


def judge(question: Question, status: int, fields: dict[bytes, bytes], body: bytes) -> str:
    """How a request ended whose answer came as far as its framing says."""
    if status != 200:
        return _judge_error(question, status, fields, body)
    if question.kind == "bad":
        raise Wrong("half a body is taken")
    if question.kind == "stream":
        found = body.count(b'"delta":{"content":"')
        if not body.endswith(b"data: [DONE]\n\n") or body.count(b"[DONE]") != 1:
            raise Wrong(f"a complete stream without its end: {body[-200:]!r}")
        if not fields.get(b"content-type", b"").startswith(b"text/event-stream"):
            raise Wrong(f"a stream that says it is {fields.get(b'content-type')!r}")
    else:
        try:
            answer = json.loads(body)
            found = question.tokens if question.kind == "models" else answer["usage"]["completion_tokens"]
        except (ValueError, KeyError, TypeError):
            raise Wrong(f"not what was asked for: {body[-200:]!r}") from None
    if found != question.tokens:
        raise Wrong(f"{found} tokens and not {question.tokens}: {body[-200:]!r}")
    return "complete"


def _judge_error(question: Question, status: int, fields: dict[bytes, bytes], body: bytes) -> str:
    try:
        error = json.loads(body)["error"]
        message, code = error["message"], error["code"]
    except (ValueError, KeyError, TypeError):
        raise Wrong(f"status {status} without an error: {body[:200]!r}") from None
    if not message:
        raise Wrong(f"status {status} without words")
    if question.kind == "bad":
        if status != 400:
            raise Wrong(f"{status} to half a body: {body[:200]!r}")
        return "error 400 invalid_body, as it must be"
    is_engines = "asked for at /fault" in message
    if status not in (429, 500, 502, 503, 504) or (status == 500 and not is_engines):
        raise Wrong(f"status {status}: {body[:200]!r}")
    if status in (429, 503) and not is_engines and b"retry-after" not in fields:
        raise Wrong(f"status {status} without retry-after")
    return f"error {status} {'of an engine' if is_engines else code}"


def broken_engine(got: bytes) -> str | None:
    """The engine whose answer ended before its framing says; None: it does not say. Wrong: it had ended."""
    if b"[DONE]" in got:
        raise Wrong("broken, and yet it says that it is whole")
    named = MODEL.search(got.partition(b"\r\n\r\n")[2])
    return named[1].decode() if named else None


def left_over(status: dict[str, Any]) -> list[str]:
    """What a proxy still has under way, by its own status."""
    figures = {key: status[key] for key in ("open_tickets", "under_way", "queue_size")}
    figures |= {f"at {server['id']}": server["proxy_tracked_running"] for server in status["servers"]}
    return [f"{name} is {value}" for name, value in figures.items() if value != 0]


def uneven(status: dict[str, Any]) -> list[str]:
    """Every request has ended in one way."""
    ends = {end: status[f"total_{end}"] for end in ("forwarded", "rejected", "failed", "cancelled")}
    if status["total_handled"] == sum(ends.values()):
        return []
    return [f"{status['total_handled']} requests were handled, and ended: {ends}"]


def ended_badly(name: str, code: int | None, words: str) -> list[str]:
    """A proxy that was asked to end has said that nothing was left, and then ended with 0."""
    lines = words.splitlines()
    last = lines[-1] if lines else ""
    if code == 0 and last.endswith("stopped requests=0 tickets=0 waiting=0"):
        return []
    return [f"{name} ended with {code}: {last!r}"]
