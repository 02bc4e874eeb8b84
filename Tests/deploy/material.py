"""What lies in deploy/, and what the programs say of themselves."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import tempfile
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BIN = pathlib.Path()


def said(command: list[str], environment: dict[str, str] | None = None, status: int = 0) -> str:
    """What a program prints that ends by itself, with that status."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **(environment or {})}
    )
    assert done.returncode == status, f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def help_of(program: str) -> str:
    return said([str(BIN / program), "--help"])


def flags_are_known(program: str, words: list[str]) -> None:
    flags = [word for word in words if word.startswith("-")]
    known = set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", help_of(program), re.M))
    assert set(flags) <= known, f"{program} has no {set(flags) - known}"


def in_force(program: str, words: list[str], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """The configuration with these options. Wrong ones are an error of the program's."""
    return yaml.safe_load(said([str(BIN / program), *words, "--print-config"], environment))


def seconds(text: str) -> float:
    """Of a time as the programs print it."""
    found = re.fullmatch(r"([\d.]+)(ms|s)", text)
    assert found, text
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def temporary(name: str, text: str) -> pathlib.Path:
    """A file of that name with this text, in a folder of its own."""
    path = pathlib.Path(tempfile.mkdtemp()) / name
    path.write_text(text)
    return path
