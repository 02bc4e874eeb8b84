"""The key under which a prompt's place is kept. Lengths count code points, as the published data files have it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

KEY_CHARACTERS = 16
HEAD_CHARACTERS = 100

Message = dict[str, Any]


def prompt_key(prompt: str) -> str:
    """Of a prompt alone: 16 hexadecimal digits."""
    return _digest(f"{prompt[:HEAD_CHARACTERS]}:{len(prompt)}")


def conversation_key(messages: list[Message]) -> str:
    """Of a conversation, by its last user message and how many messages it has."""
    last = next((text_of(each) for each in reversed(messages) if each.get("role") == "user"), "")
    return _digest(f"{last[:HEAD_CHARACTERS]}:{len(messages)}:{len(last)}")


def key_of(prompt: str) -> str:
    """Of what stands in a data file as `prompt`: a text, or a conversation as JSON."""
    messages = conversation_in(prompt)
    return prompt_key(prompt) if messages is None else conversation_key(messages)


def conversation_in(prompt: str) -> list[Message] | None:
    """The messages of a prompt that is a JSON array of objects with roles; None if it is a text."""
    if not (prompt.startswith("[") and prompt.endswith("]")):
        return None
    try:
        found: Any = json.loads(prompt)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, list) and found and all(isinstance(each, dict) and "role" in each for each in found):
        return found
    return None


def text_of(message: Message) -> str:
    """The text of a message, or its first part that is one; else nothing."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
                return part["text"]
    return ""


def _digest(text: str) -> str:
    # A lone surrogate, which JSON can carry, is no UTF-8: it gets the bytes it would have.
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.md5(data, usedforsecurity=False).hexdigest()[:KEY_CHARACTERS]
