"""From a client's request to what a model gets: texts and token ids.

`prompts(body, endpoint, model)` takes the body that an engine would get, of OpenAI's endpoints or SGLang's /generate,
and does to it what engines do: messages through the chat template, without special tokens; prompts as they are, with
them.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from gotoni_tokenizer.errors import RequestError
from gotoni_tokenizer.models import Model

ENDPOINTS = ("chat", "completions", "responses", "embeddings", "generate")
# Where an endpoint may keep its prompt, in the order they are looked for.
FIELDS = {"completions": ("prompt",), "embeddings": ("input",), "generate": ("text", "input_ids")}
TEXT_PARTS = ("text", "input_text", "output_text", "refusal", "thinking")
# Numbers and brackets take thirty times their length once read; a text with so many commas is over the limit of texts.
MOST_VALUES = 4_000_000


@dataclasses.dataclass(frozen=True)
class Text:
    """To be tokenized."""

    text: str
    special_tokens: bool


# A prompt whose tokens the client has sent itself is a list of their ids.
Prompt = Any


# MARK: JSON


def read(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`. Raises RequestError for all else."""
    try:
        # Strictly: json would also take other encodings, and halves of surrogate pairs as if they were characters.
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"The body is not UTF-8: byte {error.start}.") from None
    if data.count(b",") + data.count(b"[") + data.count(b"{") > MOST_VALUES:
        raise RequestError(f"The body has more than {MOST_VALUES} values.", 413)
    try:
        body = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise RequestError("The body is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise RequestError(f"The body is not JSON: {error.msg} at character {error.pos}.") from None
    except ValueError as error:
        raise RequestError(f"The body is not JSON: {error}.") from None
    if not isinstance(body, dict):
        raise RequestError("The body is not a JSON object.")
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON's")


def flag(body: dict[str, Any], name: str, otherwise: bool) -> bool:
    value = body.get(name)
    if value is None:
        return otherwise
    if not isinstance(value, bool):
        raise RequestError(f"{name} is not true or false.")
    return value


def listed(body: dict[str, Any], name: str, kind: type) -> list[Any] | None:
    """A list of `kind`, or None where there is none."""
    value = body.get(name)
    if value is not None and not (isinstance(value, list) and all(isinstance(item, kind) for item in value)):
        raise RequestError(f"{name} is not a list of {'objects' if kind is dict else 'texts'}.")
    return value


# MARK: Prompts


def endpoint_of(body: dict[str, Any], named: str | None) -> str:
    """`named`, or what the fields of the body tell."""
    named = named or body.get("endpoint")
    if named is not None:
        if named not in ENDPOINTS:
            raise RequestError(f"endpoint is not one of {', '.join(ENDPOINTS)}.")
        return str(named)
    if body.get("messages") is not None:
        return "chat"
    given = body.get("input")
    if body.get("instructions") is not None or (isinstance(given, list) and given and isinstance(given[0], dict)):
        return "responses"
    for endpoint, fields in FIELDS.items():
        if any(body.get(field) is not None for field in fields):
            return endpoint
    raise RequestError("The request has no messages, prompt, input, text or input_ids.")


def prompts(body: dict[str, Any], named: str | None, model: Model) -> list[Prompt]:
    """At least one Text or list of ids. Raises RequestError."""
    endpoint = endpoint_of(body, named)
    # Engines embed conversations too, and then nothing is to be generated.
    if endpoint == "chat" or (endpoint == "embeddings" and body.get("messages") is not None):
        messages = listed(body, "messages", dict)
        return [_rendered(body, messages or [], body.get("tools"), endpoint == "chat", model)]
    if endpoint == "responses":
        return [_rendered(body, _of_responses(body), _tools_of_responses(body), True, model)]
    field = next((field for field in FIELDS[endpoint] if body.get(field) is not None), None)
    if field is None:
        raise RequestError(f"The request has no {' or '.join(FIELDS[endpoint])}.")
    given, special_tokens = body[field], flag(body, "add_special_tokens", True)
    # One prompt, or several: each a text or the ids of one.
    several = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    return [_one(prompt, field, special_tokens) for prompt in several]


def _one(prompt: Any, field: str, special_tokens: bool) -> Prompt:
    if isinstance(prompt, str):
        return Text(prompt, special_tokens)
    if isinstance(prompt, list) and prompt and all(type(token) is int and 0 <= token < 1 << 32 for token in prompt):
        return prompt
    raise RequestError(f"{field} is neither a text, a list of token ids, nor a list of such.")


def _rendered(
    body: dict[str, Any], messages: list[dict[str, Any]], tools: Any, generates: bool, model: Model
) -> Prompt:
    if not messages:
        raise RequestError("The conversation has no message.")
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise RequestError("tools is not a list of objects.")
    more = body.get("chat_template_kwargs")
    if more is not None and not isinstance(more, dict):
        raise RequestError("chat_template_kwargs is not an object.")
    # Engines let these be set in either place.
    options = {**body, **(more or {})}
    continues = flag(options, "continue_final_message", False)
    prompts_model = flag(options, "add_generation_prompt", generates and not continues)
    if continues and prompts_model:
        raise RequestError("continue_final_message and add_generation_prompt exclude each other.")
    variables = {**model.special_tokens, **(more or {})}
    if body.get("reasoning_effort") is not None:
        variables.setdefault("reasoning_effort", body["reasoning_effort"])
        variables.setdefault("enable_thinking", body["reasoning_effort"] != "none")
    tools = tools or None
    template = model.template(tools is not None)
    text = template.render(
        [_message(message, template.takes_parts) for message in messages],
        tools=tools,
        documents=listed(options, "documents", dict),
        add_generation_prompt=prompts_model,
        continue_final_message=continues,
        variables=variables,
    )
    return Text(text, flag(body, "add_special_tokens", False))


# MARK: Messages


def _message(message: dict[str, Any], takes_parts: bool) -> dict[str, Any]:
    """As engines hand it to templates: arguments of tool calls read, content as text where no list is expected."""
    if not isinstance(message.get("role"), str):
        raise RequestError("A message has no role.")
    message = dict(message)
    # Engines make an absent content an empty one: templates write it without looking.
    content = message.get("content")
    if content is None:
        content = [] if takes_parts and message["role"] != "tool" else ""
    if isinstance(content, list):
        content = _content(content, takes_parts, message["role"])
    elif not isinstance(content, str):
        raise RequestError("A message's content is neither a text nor a list of parts.")
    message["content"] = content
    calls = message.pop("tool_calls", None)
    if calls:
        message["tool_calls"] = _calls(calls)
    return message


def _content(parts: list[Any], takes_parts: bool, role: str) -> Any:
    """A list of {"type": "text", "text": ...} and {"type": "image"}, or the texts alone, a line each.

    Pictures and sound are as many tokens as the engine makes of them; only their place is kept here.
    """
    found: list[dict[str, Any]] = []
    for part in parts:
        part = {"type": "text", "text": part} if isinstance(part, str) else part
        if not isinstance(part, dict):
            raise RequestError("A part of a message's content is not an object.")
        kind = part.get("type", "text")
        if kind in TEXT_PARTS:
            text = part.get("text", part.get(kind) if isinstance(kind, str) else None)
            if not isinstance(text, str):
                raise RequestError("A part of a message's content has no text.")
            found.append({"type": "text", "text": text})
        elif isinstance(kind, str):
            found.append({"type": next((medium for medium in ("image", "audio", "video") if medium in kind), kind)})
        else:
            raise RequestError("A part of a message's content has no type.")
    texts = [part["text"] for part in found if part["type"] == "text"]
    if not takes_parts or (role == "tool" and len(texts) == len(found)):
        return "\n".join(texts)
    return found


def _calls(calls: Any) -> list[dict[str, Any]]:
    """Clients send a call's arguments as JSON in a string; templates expect them read, and engines do it."""
    if not isinstance(calls, list):
        raise RequestError("tool_calls is not a list.")
    found = []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise RequestError("A tool call has no function.")
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except RecursionError:
                raise RequestError("A tool call's arguments are nested too deeply.") from None
            except ValueError:
                arguments = {}
        elif not isinstance(arguments, (dict, list)):
            arguments = {}
        found.append({**call, "function": {**function, "arguments": arguments}})
    return found


# MARK: Responses


def _of_responses(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of OpenAI's Responses, as engines make them; what an earlier response holds is not known here."""
    given, instructions = body.get("input"), body.get("instructions")
    messages: list[dict[str, Any]] = []
    if isinstance(instructions, str):
        messages.append({"role": "system", "content": instructions})
    elif instructions is not None:
        raise RequestError("instructions is not a text.")
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    if not (isinstance(given, list) and all(isinstance(item, dict) for item in given)):
        raise RequestError("input is neither a text nor a list of objects.")
    for item in given:
        _add_item(messages, item)
    return messages


def _add_item(messages: list[dict[str, Any]], item: dict[str, Any]) -> None:
    """What a model wrote in one turn is several items, and one message."""
    kind = item.get("type", "message")
    if kind == "function_call_output":
        messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")})
        return
    if kind == "message" and item.get("role") != "assistant":
        messages.append({"role": item.get("role"), "content": item.get("content")})
        return
    if kind not in ("message", "function_call", "reasoning"):
        # References to what is stored elsewhere, calls of tools that the engine runs itself.
        return
    latest: dict[str, Any] = messages[-1] if messages and messages[-1]["role"] == "assistant" else {}
    field = {"message": "content", "function_call": "tool_calls", "reasoning": "reasoning"}[kind]
    if not latest or (kind != "function_call" and latest.get(field) is not None):
        latest = {"role": "assistant"}
        messages.append(latest)
    if kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        latest.setdefault(field, []).append({"id": item.get("call_id"), "type": "function", "function": function})
    else:
        latest[field] = item.get("content") if kind == "message" else _reasoning(item)


def _reasoning(item: dict[str, Any]) -> str:
    """Its first text, or its summary's."""
    for parts in (item.get("content"), item.get("summary")):
        if isinstance(parts, list) and parts and isinstance(parts[0], dict) and isinstance(parts[0].get("text"), str):
            return str(parts[0]["text"])
    return ""


def _tools_of_responses(body: dict[str, Any]) -> Any:
    """With a name and its parameters in an object of their own, as in chat completions."""
    tools = body.get("tools")
    if not isinstance(tools, list):
        return tools
    return [
        {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}
        if isinstance(tool, dict) and tool.get("type") == "function" and "function" not in tool
        else tool
        for tool in tools
    ]
