"""More than a megabyte of texts of every kind, the same for the same seed and Python."""

from __future__ import annotations

import base64
import functools
import json
import pathlib
import random
import sys
import sysconfig
import unicodedata

import grammar

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "benchmark" / "tokenizer"))
import texts  # noqa: E402  # what is measured is compared as well

BLOCKS = (
    (0x20, 0x7F), (0xA0, 0x250), (0x250, 0x300), (0x300, 0x370), (0x370, 0x530), (0x530, 0x590), (0x590, 0x800),
    (0x900, 0xE00), (0xE00, 0x1100), (0x1100, 0x1400), (0x1400, 0x2000), (0x2000, 0x2C00), (0x2C00, 0x3100),
    (0x3100, 0x3400), (0x3400, 0x4E00), (0x4E00, 0xA000), (0xA000, 0xAC00), (0xAC00, 0xD7B0), (0xF900, 0xFE00),
    (0xFE00, 0x10000), (0x10000, 0x12000), (0x12000, 0x1B000), (0x1D000, 0x1E000), (0x1E000, 0x20000),
    (0x20000, 0x20400), (0x2F800, 0x2FA20), (0xE0000, 0xE01F0),
)  # fmt: skip


def scalars() -> list[str]:
    """Every scalar value."""
    return [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]


@functools.cache
def all_texts(seed: int) -> dict[str, str]:
    """By name. Special tokens are not in it: they differ between vocabularies."""
    chance = random.Random(seed)
    found = {
        "prose": texts.prose()[:250_000],
        "licence": (pathlib.Path(__file__).resolve().parents[2] / "LICENSE").read_text(),
        "code": texts.code()[:250_000],
        "c": _headers()[:120_000],
        "languages": texts.multilingual(chance, 100_000),
        "mixed": texts.mixed(chance, 120_000),
        "boundaries": "".join(grammar.text(chance) for _ in range(2500)),
        "blocks": _blocks(chance),
        "emoji": "".join(chance.choice(grammar.EMOJI + grammar.SPACES[:4]) for _ in range(8000)),
        "marks": "".join(chance.choice(grammar.WORDS) + _some(chance, grammar.MARKS, 6) for _ in range(6000)),
        "spaces": "".join(_some(chance, grammar.SPACES, 6) + chance.choice(grammar.WORDS) for _ in range(6000)),
        "new characters": "".join(chance.choice(grammar.NEW) + _some(chance, grammar.WORDS, 2) for _ in range(4000)),
        "windows": texts.prose()[:60_000].replace("\n", "\r\n"),
        "numbers": " ".join(str(chance.randrange(10 ** chance.randrange(1, 24))) for _ in range(5000)),
        "base64": base64.encodebytes(chance.randbytes(40_000)).decode()
        + base64.b64encode(chance.randbytes(20_000)).decode(),
        "json": json.dumps(_tree(chance, 6), indent=1) + json.dumps(_tree(chance, 6), ensure_ascii=False),
        "runs": "\n".join(chance.choice("a =-0._é漢😀\u0301") * chance.choice((5, 63, 300, 2000)) for _ in range(60)),
        "random": "".join(grammar.scalar(chance) for _ in range(40_000)),
        "shuffled scalars": "".join(chance.sample(scalars(), 120_000)),
    }
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        found[form] = unicodedata.normalize(form, found["languages"][:20_000] + found["marks"][:20_000])
    return found


def slices(text: str, chance: random.Random, count: int) -> list[str]:
    """Parts of a text, most of them short."""
    found = []
    for _ in range(count):
        start = chance.randrange(len(text) + 1)
        found.append(text[start : start + chance.choice((1, 3, 10, 40, 70, 200, 1000, 5000))])
    return found


def _some(chance: random.Random, pieces: tuple[str, ...], most: int) -> str:
    return "".join(chance.choice(pieces) for _ in range(chance.randrange(most)))


def _headers() -> str:
    """Python's own C headers."""
    folder = pathlib.Path(sysconfig.get_paths()["include"])
    return "".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.h"))) or texts.code()[-120_000:]


def _blocks(chance: random.Random) -> str:
    """Words of one block each: 2 to 9 of its characters."""
    lines = []
    for low, high in BLOCKS:
        words = ("".join(chr(chance.randrange(low, high)) for _ in range(chance.randrange(2, 10))) for _ in range(150))
        lines.append(" ".join(words))
    return "\n".join(lines)


def _tree(chance: random.Random, depth: int) -> object:
    kind = chance.randrange(6 if depth else 3)
    if kind == 0:
        return chance.choice(grammar.WORDS) + chance.choice(grammar.PUNCTUATION)
    if kind == 1:
        return chance.uniform(-1e6, 1e6)
    if kind == 2:
        return chance.choice((None, True, False, chance.randrange(10**9)))
    if kind == 3:
        return [_tree(chance, depth - 1) for _ in range(chance.randrange(6))]
    return {chance.choice(grammar.WORDS): _tree(chance, depth - 1) for _ in range(chance.randrange(8))}
