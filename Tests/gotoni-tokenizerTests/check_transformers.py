"""Beside `transformers` itself, where it is installed."""

from __future__ import annotations

import copy
import importlib
import json
from typing import Any

import model_files
from model_files import PLAIN, TALK, TEXTS, TOOL, TOOLS
from service_process import shared

MAKES = (
    model_files.chatml,
    model_files.llama3,
    model_files.mistral,
    model_files.deepseek,
    model_files.unigram,
    model_files.wordpiece,
)


def _loaded() -> dict[Any, Any] | None:
    """Its tokenizer for each model, or None and a line that says so."""
    try:
        library = importlib.import_module("transformers")
    except ImportError:
        print("  SKIPPED comparison with transformers: it is not installed")
        return None
    library.logging.set_verbosity_error()
    # The class that takes tokenizer.json as it is; Llama's own since version 5 makes another of its vocabulary.
    name = "PreTrainedTokenizerFast"
    found = {}
    for make in MAKES:
        config = json.loads((make() / "tokenizer_config.json").read_text())
        is_llama = config["tokenizer_class"].startswith("Llama") and int(library.__version__.split(".")[0]) < 5
        found[make] = getattr(library, "LlamaTokenizerFast" if is_llama else name).from_pretrained(make())
        # Since version 5 it leaves the ends to tokenizer.json, which this one does not have them from.
        if config["tokenizer_class"].startswith("Llama") and not is_llama:
            found[make].add_bos_token = config["add_bos_token"]
    print(f"  beside transformers {library.__version__}")
    return found


def texts_are_tokenized_as_transformers_does() -> None:
    for make, reference in (_loaded() or {}).items():
        service = shared(make())
        for text in TEXTS:
            assert service.tokens({"prompt": text}) == reference(text)["input_ids"], (make.__name__, text)
            want = reference(text, add_special_tokens=False)["input_ids"]
            assert service.tokens({"prompt": text, "add_special_tokens": False}) == want, (make.__name__, text)


def _prepared(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As engines prepare messages for it."""
    messages = copy.deepcopy(messages)
    for message in messages:
        message["content"] = message["content"] or ""
        for call in message.get("tool_calls", []):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return messages


def chats_are_rendered_as_transformers_does() -> None:
    compared = 0
    for make, reference in (_loaded() or {}).items():
        if not reference.chat_template:
            continue
        service = shared(make())
        kwargs = {"date_string": "1 May", "enable_thinking": False}
        answer = {"role": "assistant", "content": "The answer is "}
        for messages in (PLAIN, TALK, TOOLS, [*TALK, answer]):
            for tools in (None, [TOOL]):
                for options in (
                    {"add_generation_prompt": True},
                    {"add_generation_prompt": False},
                    {"continue_final_message": True},
                ):
                    body = {"messages": messages, "tools": tools, **options, "chat_template_kwargs": kwargs}
                    found = service.ask("POST", "/tokenize?endpoint=chat", body)
                    try:
                        want = reference.apply_chat_template(
                            _prepared(messages), tools=tools, tokenize=True, return_dict=False, **options, **kwargs
                        )
                    except Exception:
                        assert found.status == 400, (make.__name__, body, found)
                        continue
                    assert found.status == 200 and found.json()["tokens"] == want, (make.__name__, body, found)
                    compared += 1
    if compared:
        print(f"  {compared} chats alike")
