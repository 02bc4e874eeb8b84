"""Makes the model: a tiny llama with random weights, the same file for the same seed.

Its answers mean nothing, and that is all that is wanted: the engine does the work of a real model of this shape. Only the
rows of the output matrix that belong to whole words are not zero. Greedy decoding then always picks a word, so every token
is text of its own in the stream, no answer ends early, and the number of answer tokens is exactly what was asked for.

    python model.py tiny.gguf
"""

from __future__ import annotations

import argparse
import pathlib

import gguf
import numpy

WIDTH = 256
LAYERS = 4
FEED_FORWARD = 1024
HEADS = 8
KV_HEADS = 2
CONTEXT = 8192
SEED = 20261

SPACE = "\u0120"  # how GPT-2's vocabulary writes a space
BYTES = 256
CONTROLS = 2  # <begin> and <end>
SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnpqrstvwxz" for vowel in "aeiou"]
WORDS = 8192
FIRST_WORD = CONTROLS + BYTES + 2 * len(SYLLABLES)  # syllables, alone and behind a space, come before the words
VOCABULARY = FIRST_WORD + WORDS
CHAT_TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=pathlib.Path, help="where the GGUF file goes")
    write_model(parser.parse_args().path)


def write_model(path: pathlib.Path) -> None:
    writer = gguf.GGUFWriter(str(path), "llama")
    describe(writer)
    add_vocabulary(writer)
    add_weights(writer, numpy.random.default_rng(SEED))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def describe(writer: gguf.GGUFWriter) -> None:
    writer.add_name("tiny-random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def add_vocabulary(writer: gguf.GGUFWriter) -> None:
    """A byte-level BPE vocabulary in which every word is one token, whether a prompt comes as token ids or as text."""
    spaced = [SPACE + syllable for syllable in SYLLABLES]
    words = [SPACE + word(number)[1:] for number in range(WORDS)]
    tokens = ["<begin>", "<end>", *byte_letters(), *SYLLABLES, *spaced, *words]
    kinds = [gguf.TokenType.CONTROL] * CONTROLS + [gguf.TokenType.NORMAL] * (len(tokens) - CONTROLS)
    # In this order: letters to syllables, the space to the first of them, that to the second.
    merges = [f"{a} {b}" for a, b in SYLLABLES]
    merges += [f"{SPACE} {syllable}" for syllable in SYLLABLES]
    merges += [f"{each[:3]} {each[3:]}" for each in words]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_chat_template(CHAT_TEMPLATE)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)


def word(number: int) -> str:
    """The text of token FIRST_WORD + number: a space and two syllables."""
    first, second = divmod(number, len(SYLLABLES))
    return " " + SYLLABLES[first] + SYLLABLES[second]


def byte_letters() -> list[str]:
    """The 256 letters that stand for bytes in GPT-2's vocabulary: printable ones for themselves, the rest from 256 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    unprintable = iter(range(256, 512))
    return [chr(byte if byte in printable else next(unprintable)) for byte in range(BYTES)]


def add_weights(writer: gguf.GGUFWriter, chance: numpy.random.Generator) -> None:
    def matrix(name: str, rows: int, columns: int) -> None:
        values = chance.standard_normal((rows, columns), dtype=numpy.float32) / columns**0.5
        writer.add_tensor(name, values.astype(numpy.float16))

    def ones(name: str) -> None:
        writer.add_tensor(name, numpy.ones(WIDTH, dtype=numpy.float32))

    matrix("token_embd.weight", VOCABULARY, WIDTH)
    ones("output_norm.weight")
    output = chance.standard_normal((VOCABULARY, WIDTH), dtype=numpy.float32) / WIDTH**0.5
    output[:FIRST_WORD] = 0
    writer.add_tensor("output.weight", output.astype(numpy.float16))
    kv_width = WIDTH // HEADS * KV_HEADS
    for layer in range(LAYERS):
        prefix = f"blk.{layer}."
        ones(prefix + "attn_norm.weight")
        matrix(prefix + "attn_q.weight", WIDTH, WIDTH)
        matrix(prefix + "attn_k.weight", kv_width, WIDTH)
        matrix(prefix + "attn_v.weight", kv_width, WIDTH)
        matrix(prefix + "attn_output.weight", WIDTH, WIDTH)
        ones(prefix + "ffn_norm.weight")
        matrix(prefix + "ffn_gate.weight", FEED_FORWARD, WIDTH)
        matrix(prefix + "ffn_up.weight", FEED_FORWARD, WIDTH)
        matrix(prefix + "ffn_down.weight", WIDTH, FEED_FORWARD)


if __name__ == "__main__":
    main()
