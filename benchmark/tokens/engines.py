"""Starts and stops the engines and the router, each a process of its own on 127.0.0.1.

    with engines.llama_cpp(folder, log) as url: ...
    with engines.vllm(folder, log, venv) as url: ...
    with engines.router(program, url, tokenizer, log) as url: ...
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "validity"))
import engine

MODEL = "tiny-random"
CONTEXT = 16384
VLLM_BLOCK = 32  # 16 is not possible on the CPU
VLLM_STARTED_WITHIN_S = 400.0
ROUTER_STARTED_WITHIN_S = 30.0


@contextlib.contextmanager
def llama_cpp(folder: pathlib.Path, log: pathlib.Path) -> Iterator[str]:
    """One slot: what it has cached is always the prompt and answer of the last request."""
    port = engine.free_port()
    url = f"http://127.0.0.1:{port}"
    with log.open("ab") as output:
        command = [sys.executable, __file__, str(folder / "model.gguf"), str(port)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output)
        try:
            engine.wait_until_healthy(url, process, log)
            yield url
        finally:
            engine.stop(process)


@contextlib.contextmanager
def vllm(folder: pathlib.Path, log: pathlib.Path, venv: pathlib.Path, extra: tuple[str, ...] = ()) -> Iterator[str]:
    """The CPU build, from a virtual environment of its own, with weights that it makes up."""
    port = engine.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(venv / "bin" / "vllm"), "serve", str(folder.resolve())]
    command += ["--served-model-name", MODEL, "--load-format", "dummy", "--dtype", "float32", "--enforce-eager"]
    command += ["--max-model-len", str(CONTEXT), "--max-num-batched-tokens", "512", "--max-num-seqs", "4"]
    command += ["--enable-prefix-caching", "--enable-prompt-tokens-details", "--block-size", str(VLLM_BLOCK)]
    command += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]  # or a chat with tools is an error
    command += ["--host", "127.0.0.1", "--port", str(port), *extra]
    settings = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
    }
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | settings)
        try:
            wait_until_up("vLLM", f"{url}/health", process, log, VLLM_STARTED_WITHIN_S)
            yield url
        finally:
            engine.stop(process)


@contextlib.contextmanager
def router(
    program: pathlib.Path, upstream: str, tokenizer: str | None, block: int, log: pathlib.Path
) -> Iterator[str]:
    """`tokenizer` is what its option of that name gets; without one it estimates."""
    port = engine.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(program), "--listen", f"127.0.0.1:{port}", "--server", f"engine={upstream}"]
    command += ["--block-tokens", str(block), "--retries", "0"]
    if tokenizer is not None:
        command += ["--tokenizer", tokenizer]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            wait_until_up(program.name, f"{url}/proxy/status", process, log, ROUTER_STARTED_WITHIN_S)
            yield url
        finally:
            engine.stop(process)


def wait_until_up(
    name: str, url: str, process: subprocess.Popen[bytes], log: pathlib.Path, seconds: float
) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended with status {process.returncode}; see {log}.")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"{name} was not ready within {seconds:.0f} s; see {log}.")


def serve(model: str, port: int) -> None:
    """llama.cpp's own process: serves until its standard input ends, so it never outlives who started it."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.model_alias = {MODEL}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_parallel = 1
    parameters.n_ctx = CONTEXT
    parameters.cache_ram_mib = 0
    parameters.slot_prompt_similarity = 0.0
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.n_threads_http = 8
    parameters.endpoint_metrics = True
    parameters.endpoint_slots = True
    parameters.endpoint_props = True
    parameters.fit_params = False
    parameters.use_jinja = True
    parameters.verbosity = 1
    server = xllamacpp.Server(parameters)
    print(f"listening on {server.listening_address}", flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
