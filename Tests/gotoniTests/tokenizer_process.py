"""The tokenizer service, and models for it."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import socket
import sys
from typing import Any

import tokenizers
from home import LIMIT_S, folder

SERVICE = pathlib.Path(os.environ["SERVICE"])


def model(name: str = "tiny", words: tuple[str, ...] = ("hello", "world", ",", "!")) -> pathlib.Path:
    """A tokenizer of few words, beside weights that nobody should send."""
    place = folder() / name
    place.mkdir()
    vocabulary = {word: index for index, word in enumerate(("[UNK]", *words))}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.Lowercase()
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(place / "tokenizer.json"))
    (place / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 4096}))
    (place / "model.safetensors").write_bytes(bytes(1 << 20))
    return place


def program(source: str = "") -> pathlib.Path:
    """The service as a program, or one of `source` in its place."""
    path = folder() / "gotoni-tokenizer"
    source = source or "import sys\nfrom gotoni_tokenizer.command import main\nsys.exit(main())\n"
    path.write_text(f"#!{sys.executable}\n{source}")
    path.chmod(0o755)
    return path


def listener(path: pathlib.Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    made.listen()
    return made


def asked(path: pathlib.Path, where: str, body: Any) -> Any:
    """The service's own answer."""
    made = http.client.HTTPConnection("localhost", timeout=LIMIT_S)
    made.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.sock.connect(str(path))
    made.request("POST", where, json.dumps(body))
    return json.loads(made.getresponse().read())
