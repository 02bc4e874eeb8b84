"""Chat templates: what a conversation looks like to a model."""

from __future__ import annotations

import copy
import functools
from typing import Any

import jinja2
from gotoni_tokenizer import models
from gotoni_tokenizer.errors import RequestError
from gotoni_tokenizer.prompts import Text, prompts
from gotoni_tokenizer.templates import ChatTemplate

import model_files
from model_files import CALL, PLAIN, TALK, TOOL, TOOLS
from service_process import shared

MOST = 1 << 20


@functools.cache
def _model(make: Any) -> models.Model:
    return models.load(str(make()), MOST)


def _text(make: Any, endpoint: str = "chat", **body: Any) -> str:
    before = copy.deepcopy(body)
    (prompt,) = prompts(body, endpoint, _model(make))
    assert isinstance(prompt, Text) and not prompt.special_tokens and body == before
    return prompt.text


def _refused(words: str, make: Any, **body: Any) -> None:
    try:
        text = _text(make, **body)
    except RequestError as error:
        assert words in str(error), error
        return
    raise AssertionError(f"taken as {text!r}")


def chatml_looks_like_this() -> None:
    assert _text(model_files.chatml, messages=TALK) == (
        "<|im_start|>system\nYou are brief.<|im_end|>\n"
        "<|im_start|>user\nSay größer, 漢字 and 👩‍👩‍👧.<|im_end|>\n"
        "<|im_start|>assistant\ngrößer 漢字 👩‍👩‍👧<|im_end|>\n"
        "<|im_start|>user\nAnd again?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def tools_are_json_as_python_writes_it() -> None:
    """Not escaped for HTML, keys in their order, characters as they are; a call's arguments are read first."""
    text = _text(model_files.chatml, messages=TOOLS, tools=[TOOL])
    assert (
        '{"type": "function", "function": {"name": "weather", "description": "Tells the weather <now> & here: ' in text
    )
    assert "'übermorgen'\"" in text
    assert '<tool_call>\n{"name": "weather", "arguments": {"city": "Zürich", "days": 2}}\n</tool_call>' in text
    assert '<tool_response>\n{"sun": true}\n</tool_response>' in text


def arguments_that_are_no_json_are_none() -> None:
    for arguments in ("", "{", None, 3, "[" * 50):
        call = {"function": {"name": "f", "arguments": arguments}}
        text = _text(model_files.chatml, messages=[*PLAIN, {"role": "assistant", "tool_calls": [call]}])
        assert '"arguments": {}}' in text, text


def content_in_parts_is_joined_where_a_template_wants_text() -> None:
    parts = [
        {"type": "text", "text": "one"},
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"type": "text", "text": "two"},
    ]
    assert "user\none\ntwo<|im_end|>" in _text(model_files.chatml, messages=[{"role": "user", "content": parts}])
    text = _text(
        model_files.llama3, messages=[{"role": "user", "content": parts}], chat_template_kwargs={"date_string": "x"}
    )
    assert text.endswith("\n\none<|image|>two<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"), text


def parts_are_found_where_templates_go_through_them() -> None:
    for takes, source in (
        (True, "{% for m in messages %}{% for part in m['content'] %}{% endfor %}{% endfor %}"),
        (True, "{% for m in messages %}{% set c = m.content %}{% for part in c %}{% endfor %}{% endfor %}"),
        (True, "{% macro show(content) %}{% for part in content | list %}{% endfor %}{% endmacro %}"),
        (True, "{% for m in messages %}{% for part in m.content[1:] %}{% endfor %}{% endfor %}"),
        (False, "{% for m in messages %}{{ m.content }}{% endfor %}"),
        (False, "{% for m in messages %}{% for line in m.content.split('x') %}{% endfor %}{% endfor %}"),
        (False, "{% for m in messages %}{% for call in m.tool_calls %}{{ m.content }}{% endfor %}{% endfor %}"),
    ):
        assert ChatTemplate(source, MOST).takes_parts == takes, source


def named_templates_and_files_have_their_order() -> None:
    assert "not this one" not in _text(model_files.chatml, messages=PLAIN)
    assert _text(model_files.llama3, messages=PLAIN, tools=[TOOL]).startswith(
        '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nFunctions:\n{\n    "type": "function",'
    )
    text = _text(model_files.llama3, messages=PLAIN, tools=[], chat_template_kwargs={"date_string": "1 May"})
    assert "Today: 1 May" in text and "Functions" not in text


def options_of_a_request_reach_the_template() -> None:
    closed = _text(model_files.chatml, messages=PLAIN, add_generation_prompt=False)
    assert closed.endswith("<|im_end|>\n")
    opened = _text(model_files.chatml, messages=PLAIN, chat_template_kwargs={"enable_thinking": False})
    assert opened == closed + "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert _text(model_files.chatml, messages=PLAIN, reasoning_effort="none") == opened
    assert _text(model_files.chatml, messages=PLAIN, reasoning_effort="low") == closed + "<|im_start|>assistant\n"
    documents = [{"title": "One", "text": "first"}]
    assert "One: first\n" in _text(model_files.llama3, messages=PLAIN, documents=documents)
    # What is the request's own cannot be replaced, and a client's template is never rendered.
    same = _text(
        model_files.chatml,
        messages=PLAIN,
        add_generation_prompt=False,
        chat_template="{{ 1 / 0 }}",
        chat_template_kwargs={"messages": [], "tools": [TOOL], "chat_template": "no"},
    )
    assert same == closed


def a_final_message_is_continued() -> None:
    for text in ("The answer is", "The answer is \n"):
        talk = [*PLAIN, {"role": "assistant", "content": text}]
        for make, header in ((model_files.chatml, "assistant\n"), (model_files.deepseek, "<｜Assistant｜>")):
            assert _text(make, messages=talk, continue_final_message=True).endswith(header + text)
    # A template that trims what it is given trims the end.
    assert _text(model_files.mistral, messages=talk, continue_final_message=True).endswith("[/INST] The answer is")
    parts = [
        *PLAIN,
        {"role": "assistant", "content": [{"type": "text", "text": "So"}, {"type": "text", "text": "far "}]},
    ]
    assert _text(model_files.chatml, messages=parts, continue_final_message=True).endswith("assistant\nSo\nfar ")
    assert _text(model_files.llama3, messages=parts, continue_final_message=True).endswith("Sofar")
    _refused(
        "exclude each other", model_files.chatml, messages=talk, continue_final_message=True, add_generation_prompt=True
    )
    _refused("no text to continue", model_files.llama3, messages=[{"role": "user"}], continue_final_message=True)


def absent_content_is_empty() -> None:
    assert "user\n<|im_end|>" in _text(model_files.chatml, messages=[{"role": "user", "content": None}])
    assert "<|end_header_id|>\n\n<|eot_id|>" in _text(model_files.llama3, messages=[{"role": "user"}])


def responses_become_messages() -> None:
    given = [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather in Zürich?"}]},
        {"type": "reasoning", "summary": []},
        {
            "type": "function_call",
            "call_id": "call00001",
            "name": "weather",
            "arguments": '{"city": "Zürich", "days": 2}',
        },
        {"type": "function_call_output", "call_id": "call00001", "output": '{"sun": true}'},
        {"type": "message", "role": "user", "content": "Thanks. And in Bern?"},
    ]
    flat = {"type": "function", **TOOL["function"]}
    system = [{"role": "system", "content": "Be brief."}]
    for make in (model_files.chatml, model_files.mistral, model_files.deepseek):
        want = _text(make, messages=system + TOOLS, tools=[TOOL])
        assert _text(make, "responses", instructions="Be brief.", input=given, tools=[flat]) == want
    # One turn of a model is several items.
    second = {"type": "function_call", "call_id": "c2", "name": "time", "arguments": "{}"}
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]}
    thought = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}], "summary": []}
    turn = {
        "role": "assistant",
        "content": "I look.",
        "reasoning": "hm",
        "tool_calls": [CALL, {"id": "c2", "type": "function", "function": {"name": "time", "arguments": "{}"}}],
    }
    want = _text(model_files.chatml, messages=[*PLAIN, turn])
    assert "<think>\nhm\n</think>\n\nI look.\n<tool_call>" in want and want.count("<tool_call>") == 2
    items = [{"role": "user", "content": PLAIN[0]["content"]}, thought, said, given[2], second]
    assert _text(model_files.chatml, "responses", input=items) == want
    assert _text(model_files.chatml, "responses", input="Hi") == _text(
        model_files.chatml, messages=[{"role": "user", "content": "Hi"}]
    )


def embedded_conversations_do_not_prompt() -> None:
    assert _text(model_files.chatml, "embeddings", messages=PLAIN) == _text(
        model_files.chatml, messages=PLAIN, add_generation_prompt=False
    )


def what_a_template_refuses_is_refused_in_its_words() -> None:
    _refused("Only user, assistant and tool roles", model_files.mistral, messages=[{"role": "robot", "content": "x"}])
    _refused(
        "This model calls one tool",
        model_files.llama3,
        messages=[{"role": "assistant", "tool_calls": TOOLS[1]["tool_calls"] * 2}],
    )
    _refused("no chat template", model_files.wordpiece, messages=PLAIN)


def templates_cannot_leave_the_sandbox() -> None:
    for source in (
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception.__globals__ }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{% include '/etc/passwd' %}",
    ):
        try:
            text = ChatTemplate(source, MOST).render(PLAIN)
        except RequestError:
            continue
        assert text in ("", "None"), (source, text)


def a_template_that_does_not_end_is_stopped() -> None:
    long = (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = messages[0].role %}{% endfor %}{% endfor %}"
    )
    for source, status, words in (
        (long, 400, "takes more than 2 s"),
        ("{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}", 413, "writes more than"),
        ("{% macro again(n) %}{{ again(n + 1) }}{% endmacro %}{{ again(0) }}", 400, "too deeply"),
    ):
        try:
            ChatTemplate(source, MOST).render(PLAIN)
        except RequestError as error:
            assert error.status == status and words in str(error), (source, error)
        else:
            raise AssertionError(source)


def generation_is_rendered_as_it_is() -> None:
    source = "{% set x = 1 %}{% generation %}{{ x }}{% set x = 2 %}{% endgeneration %}{{ x }}"
    assert ChatTemplate(source, MOST).render(PLAIN) == "11"
    try:
        ChatTemplate("{% generation %}", MOST)
    except jinja2.TemplateError:
        return
    raise AssertionError("a template without an end was taken")


def the_service_encodes_what_is_rendered() -> None:
    for make in (model_files.chatml, model_files.llama3, model_files.mistral, model_files.deepseek):
        service = shared(make())
        for messages in (PLAIN, TALK):
            body = {"messages": messages, "chat_template_kwargs": {"date_string": "1 May"}}
            want = service.tokens({"prompt": _text(make, **body), "add_special_tokens": False})
            assert service.tokens(body) == want
            with_ends = service.tokens({**body, "add_special_tokens": True})
            assert with_ends == service.tokens({"prompt": _text(make, **body)})
