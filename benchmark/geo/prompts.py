"""What the proxy reads in a request's body: whose prompt it is, its tokens, and what goes to the node."""

from __future__ import annotations

import dataclasses
import json
from array import array
from typing import Any, Callable

from keys import Message, conversation_in, conversation_key, key_of, prompt_key, text_of

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"

Tokens = Callable[[str], "array[int]"]
# Before each role and each text of a conversation. Neither is likely in a text, and equal beginnings stay equal.
ROLE, TEXT = "\x1e", "\x1f"


class BodyError(Exception):
    """One sentence for the client."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request. `prompt` is what its place is looked up by; `text` is all that the node will read, for the router."""

    body: bytes
    prompt: str
    key: str
    text: str
    model: str


def read(body: bytes, path: str) -> Asked:
    """`body` stays as it is, unless its prompt is a whole conversation, which then takes the place of the messages.

    Errors: BodyError if the body is no JSON object.
    """
    try:
        request: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BodyError(f"The body is no JSON: {error}") from error
    if not isinstance(request, dict):
        raise BodyError("The body is no JSON object.")
    model = request["model"] if isinstance(request.get("model"), str) else ""
    if path == COMPLETIONS:
        prompt = _completion_prompt(request.get("prompt"))
        return Asked(body, prompt, key_of(prompt), prompt, model)
    given = request.get("messages")
    messages = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    prompt = next((text_of(each) for each in messages if each.get("role") == "user"), "")
    conversation = conversation_in(prompt)
    if conversation is None:
        return Asked(body, prompt, prompt_key(prompt), _written(messages), model)
    body = json.dumps({**request, "messages": conversation}, separators=(",", ":")).encode()
    return Asked(body, prompt, conversation_key(conversation), _written(conversation), model)


def estimated_tokens(text: str) -> array[int]:
    """Four bytes of UTF-8 are one token, the last one padded with zeros: what all of gotoni estimates by."""
    data = text.encode("utf-8", "replace")
    return array("I", data + bytes(-len(data) % 4))


def _completion_prompt(prompt: Any) -> str:
    """Of a batch the first, which is enough to say who asks. Token ids have no text."""
    if isinstance(prompt, list) and prompt:
        prompt = prompt[0]
    return prompt if isinstance(prompt, str) else ""


def _written(messages: list[Message]) -> str:
    """A conversation as one text that begins with the same words when the conversation goes on."""
    return "".join(f"{ROLE}{each.get('role')}{TEXT}{_all_text(each)}" for each in messages)


def _all_text(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(text_of({"content": [part]}) for part in content)
    return content if isinstance(content, str) else ""
