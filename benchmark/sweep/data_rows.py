"""What GuideLLM sends: rows of a file in an order drawn per seed, or texts that it makes up."""

from __future__ import annotations

import json
import pathlib
import random
from typing import Any

from control import BenchError

MOST_BYTES = 1 << 30
SYNTHETIC = tuple(
    f"{kind}_tokens{suffix}" for kind in ("prompt", "output") for suffix in ("", "_stdev", "_min", "_max")
) + ("turns",)


def synthetic(text: str) -> dict[str, Any]:
    """GuideLLM's data of `prompt_tokens=256,output_tokens=16`. Errors: BenchError."""
    data: dict[str, Any] = {"kind": "synthetic_text"}
    for word in text.split(","):
        name, _, value = word.partition("=")
        if name not in SYNTHETIC:
            raise BenchError(f"--synthetic has no {name or 'word without a name'}; there are {', '.join(SYNTHETIC)}")
        if name in data or not value.isascii() or not value.isdigit() or int(value) < 1:
            raise BenchError(f"--synthetic {word}: give each name once, with a whole number from 1")
        data[name] = int(value)
    if not {"prompt_tokens", "output_tokens"} <= data.keys():
        raise BenchError("--synthetic wants prompt_tokens and output_tokens")
    return data


def prompts(path: pathlib.Path) -> list[str]:
    """The lines of a file of JSON objects with a `prompt`. Errors: BenchError names the line."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BenchError(f"{path} has more than {MOST_BYTES >> 20} MiB: take a part of it")
        # Not splitlines(), which also cuts at U+2028 and others that JSON allows within a text.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path} cannot be read: {error}") from error
    found: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BenchError(f"{path}, line {number} is not JSON: {error.msg}") from error
        if not isinstance(row, dict) or not isinstance(row.get("prompt"), str) or not row["prompt"]:
            raise BenchError(f'{path}, line {number} is not an object with a "prompt" that is a text')
        found.append(row["prompt"])
    if not found:
        raise BenchError(f"{path} has no lines")
    return found


def write_shuffled(texts: list[str], repeat: int, seed: int, path: pathlib.Path) -> None:
    """Each text `repeat` times, in an order that is the seed's and the same for every policy."""
    drawn = texts * repeat
    random.Random(f"rows-{seed}").shuffle(drawn)
    with path.open("w", encoding="utf-8") as file:
        for text in drawn:
            file.write(json.dumps({"prompt": text}) + "\n")
