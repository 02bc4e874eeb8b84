"""Writes the folders of tiny models that vLLM fills with weights of its own making: one tokenizer, several shapes.

    python shapes.py build/vllm

The tokenizer is that of benchmark/tokens: byte-level BPE of 128,000 tokens with the ChatML template, as gotoni-proxy reads it too.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Any

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "tokens"))

import models  # noqa: E402
from families import FAMILIES  # noqa: E402

FAMILY = FAMILIES["chatml"]
WIDTH = 64
HEADS = 2
CONTEXT = 2048
WINDOW = 256

# Every second layer of `window` sees the last tokens only, so vLLM keeps two groups of layers, and evicts each on its own.
SHAPES: dict[str, dict[str, Any]] = {
    "full": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "num_hidden_layers": 2,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
    },
    "window": {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "hidden_activation": "gelu_pytorch_tanh",
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "sliding_window": WINDOW,
        "query_pre_attn_scalar": WIDTH // HEADS,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
        "tie_word_embeddings": True,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="where the folders go")
    folder = parser.parse_args().folder
    for name in SHAPES:
        print(folder_of(name, folder))


def folder_of(name: str, cache: pathlib.Path) -> pathlib.Path:
    """The shape's folder, written anew."""
    folder = cache / name
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = models.tokenizer_of(FAMILY, models.downloaded(cache))
    models.write_json(folder / "tokenizer.json", tokenizer)
    models.write_json(folder / "tokenizer_config.json", models.configuration(FAMILY, FAMILY.template))
    models.write_json(folder / "config.json", configuration(name, models.ids_of(tokenizer)))
    return folder


def configuration(name: str, ids: dict[str, int]) -> dict[str, Any]:
    return {
        "bos_token_id": None,
        "eos_token_id": ids[FAMILY.eos],
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "head_dim": WIDTH // HEADS,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "torch_dtype": "float32",
        "vocab_size": 1 + max(ids.values()),
        **SHAPES[name],
    }


if __name__ == "__main__":
    main()
