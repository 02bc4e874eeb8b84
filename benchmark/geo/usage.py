"""What an engine says in its answer about the tokens of the prompt."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

KEPT_BYTES = 256 * 1024


@dataclasses.dataclass(frozen=True)
class Usage:
    """Tokens, as the engine counts them; None where it says nothing."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None


class UsageReader:
    """Keeps the end of an answer, where the usage stands, and reads it there.

    A whole JSON answer longer than what is kept tells nothing.
    """

    def __init__(self, streams: bool) -> None:
        self._streams = streams
        self._kept = bytearray()
        self._cut = False

    def feed(self, piece: bytes) -> None:
        self._kept += piece
        if len(self._kept) > 2 * KEPT_BYTES:
            del self._kept[:-KEPT_BYTES]
            self._cut = True

    def usage(self) -> Usage:
        if not self._streams:
            return Usage() if self._cut else _usage_in(bytes(self._kept))
        for line in reversed(self._kept.splitlines()):
            if line.startswith(b"data:"):
                found = _usage_in(bytes(line[5:]))
                if found != Usage():
                    return found
        return Usage()


def _usage_in(text: bytes) -> Usage:
    try:
        answer: Any = json.loads(text)
    except (ValueError, RecursionError):
        return Usage()
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("prompt_tokens_details")
    return Usage(_count(usage, "prompt_tokens"), _count(details, "cached_tokens"))


def _count(row: Any, name: str) -> int | None:
    value = row.get(name) if isinstance(row, dict) else None
    return value if type(value) is int and value >= 0 else None
