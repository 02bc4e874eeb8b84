"""Ids of real vocabularies are those of `tokenizers`, of tiktoken and of mistral-common."""

from __future__ import annotations

import importlib.util
import itertools
import json
import unicodedata

import tiktoken

import corpus
import grammar
from context import SEED, Comparison, by, chance, native, real, reference, specials
from native import Native
from vocabularies import Vocabulary, read_ranks, tekken_ranks

# Texts of characters that every library's Unicode has, for libraries that are compared beside `tokenizers`.
OLD = ("prose", "licence", "code", "c", "languages", "mixed", "windows", "numbers", "base64", "json")


def _by_reference() -> list[list[Vocabulary]]:
    """Those that must give the same ids."""
    rows = sorted(real(), key=lambda row: str(row.reference))
    return [list(group) for _, group in itertools.groupby(rows, key=lambda row: row.reference)]


class Groups(Comparison):
    """Compares all vocabularies of a group with their reference, which is asked once."""

    def compare(self, group: list[Vocabulary], name: str, text: str) -> None:
        theirs = by(reference(group[0].reference))
        known = theirs(text)
        for vocabulary in group:
            ours = by(native(vocabulary.native))
            self.add(f"{vocabulary.name}, {name}", text, ours, lambda part: known if part is text else theirs(part))


def whole_texts() -> None:
    with Groups() as groups:
        for group in _by_reference():
            for name, text in corpus.all_texts(SEED).items():
                groups.compare(group, name, text)


def random_slices() -> None:
    with Groups() as groups:
        for group in _by_reference():
            random = chance(f"slices {group[0].name}")
            for name, text in corpus.all_texts(SEED).items():
                for part in corpus.slices(text, random, 60):
                    groups.compare(group, name, part)


def random_boundaries() -> None:
    with Groups() as groups:
        for group in _by_reference():
            random = chance(f"boundaries {group[0].name}")
            added = specials(reference(group[0].reference))
            for _ in range(1500):
                groups.compare(group, "boundaries", grammar.text(random, added))


def every_scalar_value_in_order() -> None:
    """In texts of 4,096, and each before and behind a letter, a space and a digit."""
    with Groups() as groups:
        scalars = corpus.scalars()
        for group in _by_reference():
            for start in range(0, len(scalars), 4096):
                groups.compare(group, f"scalars from {start}", "".join(scalars[start : start + 4096]))
        for group in _by_reference():
            for start in range(0, 0x32000, 2048):
                text = "".join(f"a{c}b {c}1{c}\n{c}'s{c}" for c in scalars[start : start + 2048])
                groups.compare(group, f"neighbours of scalars from {start}", text)


def special_tokens_in_texts() -> None:
    with Groups() as groups:
        for group in _by_reference():
            random = chance(f"specials {group[0].name}")
            added = specials(reference(group[0].reference))
            for token in added[:300]:
                for text in (
                    token,
                    f"a{token}b",
                    f" {token} ",
                    f"{token}{token}",
                    f"x\n{token}\n",
                    token[:-1],
                    token[1:],
                ):
                    groups.compare(group, "special token", text)
            parts = corpus.slices(corpus.all_texts(SEED)["mixed"], random, 300)
            for token in added:
                parts += [token, token[: len(token) // 2], token[len(token) // 2 :]]
            random.shuffle(parts)
            groups.compare(group, "special tokens", "".join(parts[:2000]))


def tokens_around_a_prompt() -> None:
    with Comparison() as comparison:
        for row in (row for row in real() if row.native == row.reference):
            for text in ("", "Hello", "a b\n" * 99):
                comparison.add(row.name, text, by(native(row.native), special=True), by(reference(row.reference), True))


def tokens_around_a_prompt_by_the_configuration() -> None:
    """What LlamaTokenizerFast does: DeepSeek's files as they are."""
    (vocabulary,) = (row for row in real() if row.name == "deepseek")
    config = vocabulary.native.with_name("tokenizer_config.json").read_bytes()
    tokenizer = Native.of(vocabulary.native, config=config)
    said = json.loads(config)
    plain = reference(vocabulary.reference).encode("Hello\n", add_special_tokens=False).ids
    first = [reference(vocabulary.reference).token_to_id(said["bos_token"]["content"])] if said["add_bos_token"] else []
    assert tokenizer.encode("Hello\n", special=True).tolist() == first + plain
    assert tokenizer.encode("Hello\n").tolist() == plain


def ids_of_tokens() -> None:
    for vocabulary in real():
        tokenizer, theirs = native(vocabulary.native), reference(vocabulary.reference)
        for token in specials(theirs):
            assert _id(tokenizer, token.encode()) == theirs.token_to_id(token), (vocabulary.name, token)
        for ids in (
            theirs.encode(text[:5000], add_special_tokens=False).ids for text in corpus.all_texts(SEED).values()
        ):
            for id in set(ids):
                decoded = theirs.decode([id])
                if "\ufffd" not in decoded:
                    assert _id(tokenizer, decoded.encode()) == id, (vocabulary.name, id, decoded)
        assert _id(tokenizer, b"no such token, surely") is None


def _id(tokenizer: Native, token: bytes) -> int | None:
    from native import abi

    id = abi.gotoni_tokenizer_id(tokenizer.handle, token, len(token))
    return None if id == 0xFFFF_FFFF else id


def ids_of_tiktoken() -> None:
    with Comparison() as comparison:
        for row in real():
            if row.ranks:
                ranks, first, pattern = read_ranks(row.ranks), 0, row.pattern
            elif row.native.name == "tekken.json":
                ranks, first, pattern = tekken_ranks(row.native)
            else:
                continue
            encoding = tiktoken.Encoding(row.name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
            form = "NFC" if "qwen" in row.name else None

            def theirs(text: str) -> list[int]:
                normal = unicodedata.normalize(form, text) if form else text
                return [id + first for id in encoding.encode_ordinary(normal)]

            for name in OLD:
                text = corpus.all_texts(SEED)[name]
                comparison.add(f"{row.name} by tiktoken, {name}", text, by(native(row.native)), theirs)


def ids_of_mistral_common() -> None:
    """Where it is installed; what it does, tiktoken with tekken's ranks, is compared above."""
    if not importlib.util.find_spec("mistral_common"):
        print("          (mistral-common is not installed)")
        return
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    with Comparison() as comparison:
        for row in real():
            if row.native.name == "tekken.json":
                tekken = Tekkenizer.from_file(row.native)
                for name in OLD:
                    text = corpus.all_texts(SEED)[name]
                    comparison.add(
                        f"{row.name} by mistral-common, {name}",
                        text,
                        by(native(row.native)),
                        lambda part: tekken.encode(part, bos=False, eos=False),
                    )
