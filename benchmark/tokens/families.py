"""What a family of models does to a chat before it is tokens: template, special tokens, and how text is split.

All families share one byte-level BPE, so only the rest differs, and each rest is that of the published models. `split`
is the regular expression of their tokenizer.json; `pre` is llama.cpp's name for it.
"""

from __future__ import annotations

import dataclasses
import pathlib

TEMPLATES = pathlib.Path(__file__).resolve().parent / "templates"

CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
ENDS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
SPLIT_LLAMA3 = rf"{CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{ENDS}"
SPLIT_QWEN2 = rf"{CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{ENDS}"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SPLIT_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*"
    rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{ENDS}"
)

# Every family's special tokens are in everyone's vocabulary: a text that names another's is then a hard one for all.
CONTROL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|python_tag|>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
]
ADDED = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]  # tokens of their own, but not special


@dataclasses.dataclass(frozen=True)
class Family:
    name: str
    bos: str | None
    eos: str
    pre: str
    split: str | None = None  # None: as the vocabulary's own tokenizer.json has it
    nfc: bool = False
    whole_words: bool = False  # a piece that is a token is that token, whatever the merges say
    bos_in_processor: bool = False  # tokenizer.json puts it before text that is no chat
    add_bos: bool | None = None  # what tokenizer_config.json says of it, if anything

    @property
    def template(self) -> str:
        return (TEMPLATES / f"{self.name}.jinja").read_text().removesuffix("\n")

    @property
    def begins_with_bos(self) -> bool:
        """Whether text that is no chat begins with it."""
        return self.bos_in_processor or bool(self.add_bos)


def _qwen(name: str) -> Family:
    return Family(name, None, "<|im_end|>", "qwen2", SPLIT_QWEN2, nfc=True, add_bos=False)


def _llama3(name: str) -> Family:
    return Family(
        name, "<|begin_of_text|>", "<|eot_id|>", "llama-bpe", SPLIT_LLAMA3, whole_words=True, bos_in_processor=True
    )


FAMILIES = {
    family.name: family
    for family in (
        _qwen("chatml"),
        _qwen("qwen2.5"),
        _qwen("qwen3"),
        _llama3("llama3"),
        _llama3("llama3.1"),
        _llama3("llama3.2"),
        Family("mistral-tekken", "<s>", "</s>", "tekken", SPLIT_TEKKEN, whole_words=True, bos_in_processor=True),
        Family("deepseek-v3", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "deepseek-v3", add_bos=True),
    )
}
