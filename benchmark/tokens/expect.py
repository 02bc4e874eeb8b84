"""What the engine ought to count: the template by Jinja itself, the tokens by Hugging Face's tokenizers.

    expect.published(folder).tokens(messages)
    expect.llama_cpp(folder).tokens(messages)

The two differ where llama.cpp does not do what a model's own files say. Found by comparing, all of it in 2026.10:

- no normalizer: Qwen's texts are not composed (NFC), so an e and its accent stay two;
- the filter `trim` takes white space of ASCII alone: a message of Llama 3 keeps a no-break space at its end;
- the pre-tokenizer `tekken` (Mistral) takes no marks (\\p{M}) for parts of words: Thai and Devanagari, for example.
"""

from __future__ import annotations

import datetime
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jinja2
import jinja2.ext
import jinja2.sandbox
import tokenizers

from chats import Message
from families import SPLIT_TEKKEN


LLAMA_CPP_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+"
    r"|[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ASCII_SPACE = " \t\n\r\v\f"


def published(folder: pathlib.Path) -> Reference:
    return Reference(folder, json.loads((folder / "tokenizer.json").read_text()))


def llama_cpp(folder: pathlib.Path) -> Reference:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"] = None
    split = tokenizer["pre_tokenizer"]["pretokenizers"][0]
    if split["pattern"]["Regex"] == SPLIT_TEKKEN:
        split["pattern"]["Regex"] = LLAMA_CPP_TEKKEN
    reference = Reference(folder, tokenizer)
    reference.environment.filters["trim"] = lambda text: str(text).strip(ASCII_SPACE)
    return reference


class Reference:
    """Renders as the transformers library does, whose settings of Jinja all published templates are written for."""

    def __init__(self, folder: pathlib.Path, tokenizer: dict[str, Any]) -> None:
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        self.tokenizer = tokenizers.Tokenizer.from_str(json.dumps(tokenizer))
        self.special = {key: settings[key] for key in ("bos_token", "eos_token", "pad_token") if settings.get(key)}
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = to_json
        environment.globals["raise_exception"] = raise_exception
        environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
        self.environment = environment
        self.source = settings["chat_template"]

    def render(self, messages: Sequence[Message], fields: dict[str, Any]) -> str:
        """`fields` are those of the body that templates see."""
        names = self.special | fields.get("chat_template_kwargs", {})
        template = self.environment.from_string(self.source)
        plain = [prepared(message) for message in messages]
        return template.render(messages=plain, tools=fields.get("tools"), add_generation_prompt=True, **names)

    def tokens(self, messages: Sequence[Message], fields: dict[str, Any]) -> list[int]:
        return self.tokenizer.encode(self.render(messages, fields), add_special_tokens=False).ids


def prepared(message: Message) -> Message:
    """As both engines hand a message to its template: text in one piece, the arguments of calls as objects."""
    result = message | {"content": joined(message["content"])}
    if "tool_calls" in message:
        result["tool_calls"] = [with_object(call) for call in message["tool_calls"]]
    return result


def with_object(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return call | {"function": function | {"arguments": json.loads(function["arguments"])}}


def joined(content: Any) -> Any:
    """Parts of text are lines: so do llama.cpp and vLLM where a template takes text alone."""
    if not isinstance(content, list):
        return content
    return "\n".join(part["text"] for part in content)


def to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return next((index for index, (a, b) in enumerate(zip(left, right)) if a != b), min(len(left), len(right)))


def cached(tokens: Sequence[int], earlier: Sequence[Sequence[int]], block: int) -> int:
    """What an engine that keeps whole blocks of all of `earlier` need not compute: never the last token."""
    longest = max((common(tokens, other) for other in earlier), default=0)
    return min(longest, len(tokens) - 1) // block * block
