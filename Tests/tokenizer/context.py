"""What `run` was asked for, and what all checks share."""

from __future__ import annotations

import functools
import os
import pathlib
import random
import time
from collections.abc import Callable

from tokenizers import Tokenizer

import vocabularies
from native import Native, Refused

Encode = Callable[[str], object]
NO_ANSWER = object()

BUILD = pathlib.Path(os.environ.get("TOKENIZER_BUILD", "."))
SEED = int(os.environ.get("TOKENIZER_SEED", "1"))


@functools.cache
def real() -> list[vocabularies.Vocabulary]:
    return vocabularies.prepare(BUILD / "vocabularies")


@functools.cache
def reference(path: pathlib.Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@functools.cache
def native(path: pathlib.Path) -> Native:
    return Native.of(path)


def chance(name: str) -> random.Random:
    return random.Random(f"{SEED} {name}")


def specials(tokenizer: Tokenizer) -> list[str]:
    """The added tokens."""
    return sorted({token.content for token in tokenizer.get_added_tokens_decoder().values()})


class Comparison:
    """Compares encoders of texts, goes on behind a difference, and says all at the end, each with a small text."""

    def __init__(self) -> None:
        self.texts = self.bytes = 0
        self.found: list[str] = []
        self.of: dict[str, int] = {}

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            assert not self.found, f"{len(self.found)} differences:\n" + "\n".join(self.found[:20])

    def add(self, name: str, text: str, ours: Encode, theirs: Encode) -> bool:
        """True: they are equal."""
        self.texts += 1
        self.bytes += len(text.encode())
        if _is_right(ours, theirs, text):
            return True
        self.of[name] = self.of.get(name, 0) + 1
        if self.of[name] > 2:  # enough of one kind
            return False
        small = minimised(text, lambda part: not _is_right(ours, theirs, part))
        self.found.append(f"{small!a} ({small}) becomes {ours(small)}, {theirs(small)} is right: {name}")
        assert len(self.found) < 100, "too many differences:\n" + "\n".join(self.found[:20])
        return False


def _is_right(ours: Encode, theirs: Encode, text: str) -> bool:
    """Equal, or there is nothing to be equal to."""
    mine, right = ours(text), theirs(text)
    return mine == right or right is NO_ANSWER


def by(tokenizer: Native | Tokenizer, special: bool = False) -> Encode:
    """Its ids as a list; of an error its name."""
    if isinstance(tokenizer, Tokenizer):
        return lambda text: _reference(tokenizer, text, special)

    def encode(text: str) -> object:
        try:
            return tokenizer.encode(text, special).tolist()
        except Refused as error:
            return error.status

    return encode


def _reference(tokenizer: Tokenizer, text: str, special: bool) -> object:
    try:
        return tokenizer.encode(text, add_special_tokens=special).ids
    except BaseException as error:
        # White space that two tokens take makes `tokenizers` itself fail ("AddedVocabulary bad split").
        if type(error).__name__ == "PanicException":
            return NO_ANSWER
        raise


def minimised(text: str, differs: Callable[[str], bool], seconds: float = 20) -> str:
    """A part of `text` that still differs, from which no character can be left out; what there is after `seconds`."""
    end, size = time.monotonic() + seconds, len(text) // 2
    while size:
        at = 0
        while at < len(text) and time.monotonic() < end:
            shorter = text[:at] + text[at + size :]
            if differs(shorter):
                text = shorter
            else:
                at += size
        size //= 2
    return text
