"""Chat templates, rendered as `transformers` renders them: `ChatTemplate(source).render(messages, ...)`.

Two things are added to Jinja's sandbox: what a template writes and the processor time it takes are bounded. Its memory
is not, so templates are trusted as much as the model they came with, and one from a client is never rendered.
"""

from __future__ import annotations

import datetime
import json
import threading
import time
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from gotoni_tokenizer.errors import RequestError

LONGEST_RENDERING_S = 2.0
# The clock is read once for so many things that a template looks up; it costs more than a look-up.
STEPS_PER_LOOK = 64
CONTINUED = "CONTINUE_FINAL_MESSAGE_TAG "
# A message's reasoning has several names; the first is the one that templates read.
REASONING = ("reasoning_content", "thinking", "reasoning")
# What `chat_template_kwargs` must not replace.
OWN_VARIABLES = frozenset(["messages", "tools", "add_generation_prompt", "continue_final_message", "chat_template"])


class ChatTemplate:
    """One compiled template. Thread-safe.

    `takes_parts`: it goes through a message's content part by part, so that a list may stay a list.
    """

    def __init__(self, source: str, most_characters: int) -> None:
        """Raises jinja2.TemplateError, if `source` is no template."""
        self.source = source
        self.most_characters = most_characters
        self.takes_parts = _takes_parts(_ENVIRONMENT.parse(source))
        self._template = _ENVIRONMENT.from_string(source)

    def render(
        self,
        messages: list[dict[str, Any]],
        tools: list[Any] | None = None,
        documents: list[Any] | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        variables: dict[str, Any] | None = None,
    ) -> str:
        """The prompt. `variables`: special tokens and what a client adds. Raises RequestError; changes no argument."""
        messages = [_named_reasoning(message) for message in messages]
        final = _mark_end(messages) if continue_final_message else ""
        free = {name: value for name, value in (variables or {}).items() if name not in OWN_VARIABLES}
        values = {"documents": documents, **free, "messages": messages, "tools": tools}
        text = self._write(values, add_generation_prompt)
        return _cut_at_mark(text, final) if continue_final_message else text

    def _write(self, values: dict[str, Any], add_generation_prompt: bool) -> str:
        pieces: list[str] = []
        size = 0
        _clock.start()
        try:
            for piece in self._template.generate(**values, add_generation_prompt=add_generation_prompt):
                pieces.append(piece)
                size += len(piece)
                if size > self.most_characters:
                    raise RequestError(f"The chat template writes more than {self.most_characters} characters.", 413)
        except RequestError:
            raise
        except RecursionError:
            raise RequestError("The request is nested too deeply for the chat template.") from None
        # Whatever else a template raises is about the request: it has been shown to render.
        except Exception as error:
            raise RequestError(f"The chat template refuses the request: {error}") from None
        return "".join(pieces)


# MARK: Jinja


class _Clock(threading.local):
    """The processor time of the rendering under way in this thread."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.steps = 0
        self.end = time.thread_time() + LONGEST_RENDERING_S

    def step(self) -> None:
        self.steps += 1
        if self.steps % STEPS_PER_LOOK == 0 and time.thread_time() > self.end:
            raise RequestError(f"The chat template takes more than {LONGEST_RENDERING_S:g} s.")


_clock = _Clock()


class _Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """Looks at the clock wherever a template looks up or calls something, which the loops of real templates do."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        _clock.step()
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        _clock.step()
        return super().getitem(obj, argument)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, as in Jinja
        _clock.step()
        return super().call(__context, __obj, *args, **kwargs)


class _Generation(jinja2.ext.Extension):
    """{% generation %} marks, for training, what the model wrote. What is inside is rendered as it is."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes for HTML and sorts keys."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _environment() -> jinja2.Environment:
    made = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols])
    made.filters["tojson"] = _to_json
    made.globals.update(raise_exception=_raise, strftime_now=_now)
    return made


_ENVIRONMENT = _environment()


def _takes_parts(tree: jinja2.nodes.Template) -> bool:
    """Whether some loop goes over a message's content, or over a variable that was set to it.

    As vLLM looks at it, but that any variable named `content` counts: templates hand it to a macro.
    """
    named = {"content"}
    for assigned in tree.find_all(jinja2.nodes.Assign):
        if isinstance(assigned.target, jinja2.nodes.Name) and _is_content(assigned.node, named):
            named.add(assigned.target.name)
    return any(_is_content(loop.iter, named) for loop in tree.find_all(jinja2.nodes.For))


def _is_content(node: Any, named: set[str]) -> bool:
    while isinstance(node, jinja2.nodes.Filter) or (
        isinstance(node, jinja2.nodes.Getitem) and isinstance(node.arg, jinja2.nodes.Slice)
    ):
        node = node.node
    if isinstance(node, jinja2.nodes.Getitem):
        return isinstance(node.arg, jinja2.nodes.Const) and node.arg.value == "content"
    if isinstance(node, jinja2.nodes.Getattr):
        return node.attr == "content"
    return isinstance(node, jinja2.nodes.Name) and node.name in named


# MARK: Messages


def _named_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """Without the keys that are null, and its reasoning under the name that templates know."""
    message = {key: value for key, value in message.items() if value is not None}
    reasoning = next((message[name] for name in REASONING if name in message), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _mark_end(messages: list[dict[str, Any]]) -> str:
    """Marks where the last message ends, and gives its text. What a template writes after that is cut away."""
    message = dict(messages[-1])
    content = message.get("content")
    if isinstance(content, list):
        parts = [dict(part) if isinstance(part, dict) else part for part in content]
        last = next((part for part in reversed(parts) if isinstance(part, dict) and "text" in part), None)
        if last is None or not isinstance(last["text"], str):
            raise RequestError("continue_final_message: the last message has no text to continue.")
        text, last["text"] = last["text"], last["text"] + CONTINUED
        message["content"] = parts
    elif isinstance(content, str):
        text, message["content"] = content, content + CONTINUED
    else:
        raise RequestError("continue_final_message: the last message has no text to continue.")
    messages[-1] = message
    return text


def _cut_at_mark(text: str, final: str) -> str:
    at = text.rfind(CONTINUED.strip())
    if at < 0 or final.strip() not in text:
        raise RequestError("continue_final_message: the chat template does not keep the last message.")
    # A template that trims messages has trimmed the space that ends the mark; the text's own end is trimmed with it.
    return text[:at] if text.startswith(CONTINUED, at) else text[:at].rstrip()
