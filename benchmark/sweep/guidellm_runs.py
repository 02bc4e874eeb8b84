"""One run of GuideLLM: its command, its end, and whether its file is what was asked for."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import sys
import time
from typing import Any, Iterator

from control import HERE
from plan import Levels, Load, benchmarks_of, profile_argument
from processes import Program

START_S = 180.0  # imports take GuideLLM four seconds, and much longer on a busy machine without bytecode
POLL_S = 0.2


class RunError(Exception):
    """One sentence about a run that did not end well; the others can go on."""


@dataclasses.dataclass(frozen=True)
class Client:
    """What all runs of a sweep have in common."""

    entry: str
    levels: Levels
    tokenizer: str
    model: str | None
    max_tokens: int | None
    request_timeout_s: float
    workers: int
    ca: pathlib.Path | None
    offline: bool  # the tokenizer is a folder, so nothing is to be asked of Hugging Face
    cache: pathlib.Path  # of the data sets that GuideLLM reads


def arguments(client: Client, load: Load, seed: int, data: dict[str, Any], output: pathlib.Path) -> list[str]:
    """Of `guidellm run`."""
    # GuideLLM itself would not verify certificates.
    backend: dict[str, Any] = {"kind": "openai_http", "target": client.entry, "verify": True}
    backend["timeout"] = client.request_timeout_s
    if client.model is not None:
        backend["model"] = client.model
    if client.max_tokens is not None:
        backend["max_tokens"] = client.max_tokens
    words = [
        "run",
        "--backend", json.dumps(backend),
        "--profile", json.dumps(profile_argument(load, client.levels)),
        "--constraint", json.dumps({"kind": "max_duration", "seconds": client.levels.seconds}),
        "--tokenizer", json.dumps({"kind": "hf_auto", "model": client.tokenizer}),
        "--data", json.dumps(data),
        "--seed", json.dumps({"kind": "static", "value": seed}),
        "--output", json.dumps({"kind": "json", "path": str(output)}),
        "--disable-console-interactive",
    ]  # fmt: skip
    if client.levels.requests is not None:
        words += ["--constraint", json.dumps({"kind": "max_requests", "count": client.levels.requests})]
    return words


@contextlib.contextmanager
def environment(client: Client) -> Iterator[None]:
    """GuideLLM's settings. Its default of ten processes would fight with small machines for cores."""
    wanted = {
        # One process imports everything and the others are its copies; by default each would do it itself.
        "GUIDELLM__MP_CONTEXT_TYPE": "forkserver",
        "GUIDELLM__MAX_WORKER_PROCESSES": str(client.workers),
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_DATASETS_CACHE": str(client.cache),
    }
    if client.offline:
        wanted["HF_HUB_OFFLINE"] = "1"
    if client.ca is not None:
        wanted["SSL_CERT_FILE"] = str(client.ca)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def run(client: Client, load: Load, seed: int, data: dict[str, Any], folder: pathlib.Path) -> float:
    """Writes benchmarks.json and guidellm.log into the folder; the seconds it took. Errors: RunError, BenchError."""
    output = folder / "benchmarks.json"
    output.unlink(missing_ok=True)  # of an attempt before this one
    log = folder / "guidellm.log"
    words = [sys.executable, HERE / "guidellm_cli.py", *arguments(client, load, seed, data, output)]
    limit_s = START_S + benchmarks_of(load, client.levels) * (client.levels.seconds + client.request_timeout_s + 30)
    start = time.monotonic()
    with environment(client):
        program = Program("guidellm", words, log)
    try:
        while program.process.poll() is None:
            if time.monotonic() - start > limit_s:
                raise RunError(f"GuideLLM had not ended after {limit_s:.0f} s: see {log}")
            time.sleep(POLL_S)
    finally:
        program.stop()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.process.pid, signal.SIGKILL)  # its own processes, if it left some
    if program.process.returncode != 0:
        raise RunError(f"GuideLLM ended with status {program.process.returncode}: {last_words(log)}")
    if not output.exists():
        raise RunError(f"GuideLLM wrote no {output}: {last_words(log)}")
    return time.monotonic() - start


def last_words(log: pathlib.Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-3:])[-500:]
